# A full heap: MemoryError, and everything that lives is whole; afterwards all of it is there again.
import gc

gc.collect()
before = gc.mem_free()
chain = None
length = 0
spare = bytearray(4000)
try:
    while True:
        chain = (chain, [length, "item"])
        length += 1
except MemoryError:
    pass
try:
    bytearray(before)
    print("too much was given")
except MemoryError:
    print("MemoryError")
# What is checked below needs a little.
spare = None
link = chain
n = length
while link is not None:
    n -= 1
    link, item = link
    assert item == [n, "item"]
assert n == 0
chain = link = item = None
gc.collect()
after = gc.mem_free()
print("free again:", after > before - before // 50)
# In one piece, or nearly.
try:
    bytearray(after * 9 // 10)
    print("in one piece")
except MemoryError:
    print("in pieces")
