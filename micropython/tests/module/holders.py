# who_holds(): the blocks that refer to an object, and the path to it.
import gc
import sys
from collections import OrderedDict, deque

try:
    import knoll
except ImportError:
    # Not this interpreter.
    print("SKIP")
    raise SystemExit


class Box:
    shelf = None


def show(object):
    print(sorted((kind, path) for kind, _, path in knoll.who_holds(object) if path is not None))


def make(n):
    return b"an object that nobody else has: %d" % n


in_module = make(1)
show(in_module)
in_list = [0, 1, make(2)]
show(in_list[2])
in_dict = {"key": make(3), 5: [make(4)]}
show(in_dict["key"])
show(in_dict[5][0])
in_tuple = (0, (1, make(5)))
show(in_tuple[1][1])
box = Box()
box.inside = make(6)
show(box.inside)
Box.shelf = make(7)
show(Box.shelf)
sys.modules["other"] = sys.modules.get("other", Box())
twice = make(8)
again = [twice]
show(twice)
# what is no block
print(knoll.who_holds(5), knoll.who_holds("x"), knoll.who_holds(None), knoll.who_holds(len))
# addresses are those of id()
print(knoll.who_holds(in_tuple[1][1])[0][1] == id(in_tuple[1]))
# garbage is no holder
def drop():
    loose = [in_module, in_module]
    loose = None


def clear_stack(depth=20):
    a = b = c = d = e = 0
    return depth and clear_stack(depth - 1)


drop()
clear_stack()
print([path for _, _, path in knoll.who_holds(in_module) if path] == ["__main__.in_module"])
# many holders, a long chain
many = [[in_module] for i in range(100)]
print(len(knoll.who_holds(in_module)))
many = None
chain = [make(9)]
for i in range(200):
    chain = [chain]
inner = chain
while isinstance(inner[0], list):
    inner = inner[0]
print([path for _, _, path in knoll.who_holds(inner[0])])
try:
    knoll.who_holds()
except TypeError:
    print("TypeError")
# what only looks like a dict, or like an instance, by its first word: the items of a deque whose first is a class
class Class:
    pass


def deceive():
    for first in (dict, list, tuple, str, Class, type, OrderedDict, 1):
        for length in range(1, 9):
            text = "looked for %d" % length
            inner = [text] + [0] * (length - 1)
            Box.shelf = deque((first, length, inner, length), 5)
            Box.shelf.append([first, 0, [first, 1, 2, (first, [text])], {length: (first, text)}])
            for what in (text, inner, Box.shelf):
                found = knoll.who_holds(what)
                if not found or any(path is not None and type(path) is not str for _, _, path in found):
                    print(found)
    Box.shelf = None


deceive()
print(knoll.check())
