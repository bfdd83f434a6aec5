# Finalisers in the middle of a call: a collection comes where memory is allocated, or at a workflow's end.
import gc

try:
    import knoll
    import vfs

    vfs.VfsFat
except (ImportError, AttributeError):
    # Not this interpreter.
    print("SKIP")
    raise SystemExit


# MicroPython has finalisers for few objects alone. Of these a file calls the program: it is closed, and written to its
# disk, which is one of ours. No memory is to be had at this time, so what is called was bound before.
class Disk:
    act = None
    done = refused = 0

    def __init__(self):
        self.data = bytearray(50 * 512)

    def readblocks(self, n, buffer):
        for i in range(len(buffer)):
            buffer[i] = self.data[n * 512 + i]

    def writeblocks(self, n, buffer):
        for i in range(len(buffer)):
            self.data[n * 512 + i] = buffer[i]

    def ioctl(self, op, arg):
        if op == 3 and Disk.act:
            try:
                Disk.act()
                Disk.done += 1
            except Exception:
                Disk.refused += 1
        return 50 if op == 4 else 512 if op == 5 else 0


disk = Disk()
vfs.VfsFat.mkfs(disk)
files = vfs.VfsFat(disk)


# The collector is conservative: what the stack still has from before is held. So it is overwritten.
def clear_stack(depth=20):
    a = b = c = d = e = 0
    return depth and clear_stack(depth - 1)


def drop(act):
    def make():
        for i in range(3):
            files.open("file%d" % i, "w").write("x")

    Disk.act = None
    make()
    clear_stack()
    Disk.act = act


# Each allocation of the call is one at which the dropped files are found.
def collecting(function):
    knoll.threshold(1)
    try:
        return function()
    except Exception as error:
        return type(error).__name__
    finally:
        knoll.threshold(0)


# When exactly a file is found is the stack's to say; that it is, and what must hold before and behind it, is not.
def told(name, *answer):
    info = knoll.info()
    print(name, *answer, info["scopes"], info["workflows"])
    Disk.act = None


# ---- at the end of a workflow: it is neither open nor closed, but __del__ closes it for good
for name in ("__exit__", "__enter__", "__del__"):
    for strict in (False, True):
        workflow = knoll.workflow(strict=strict)
        act = getattr(workflow, name)
        with workflow:
            drop(act)
        told(name, workflow.free > 0)

# ---- at its beginning
workflow = knoll.workflow(strict=True)
with workflow:
    pass
for name in ("__exit__", "__del__"):
    drop(getattr(workflow, name))
    with knoll.workflow(strict=True):
        entered = collecting(workflow.__enter__) is workflow
        workflow.__exit__()
    told(name, entered)

# ---- an arena is left while it gives memory
arena = knoll.Arena(600)
drop(arena.leave)
told("enter", collecting(arena.enter) is arena)
drop(arena.leave)
alloc = collecting(lambda: arena.alloc(64))
told("alloc", alloc == "ValueError" or len(alloc) in (0, 64))
arena.__exit__()
print(arena.used)

# ---- what is copied goes meanwhile
for name, source in (
    ("list", [[i] for i in range(100)]),
    ("dict", {i: [i] for i in range(100)}),
    ("set", set(range(100))),
):
    with knoll.workflow():
        holder = [0, source]
        drop(source.clear)
        kept = collecting(lambda: knoll.keep(holder))
        # before or behind the change, or refused, never between
        told(name, kept == "RuntimeError" or len(kept[1]) in (0, 100))
    kept = holder = None

# ---- a buffer goes while another is made, and while it is read
first = knoll.Counted(50)
drop(first.unref)
buffers = [collecting(lambda: knoll.Counted(3000 + i)) for i in range(3)]
for i, buffer in enumerate(buffers):
    buffer[:] = bytes([i + 1]) * len(buffer)
told("made", all(buffer[:] == bytes([i + 1]) * len(buffer) for i, buffer in enumerate(buffers)))
first = knoll.Counted(3000)
drop(first.unref)
read = collecting(lambda: first[:])
told("read", read == "ValueError" or read == bytes(3000))
buffers = first = None

# ---- whatever the module has, in the middle of a collection: it works, or there is no memory
lists = [[i] for i in range(200)]
buffer = bytearray(1000)
counted = knoll.Counted(50)
window = knoll.lasting()
workflow = knoll.workflow()


def sound():
    return all(lists[i] == [i] for i in range(200)) and len([[i] for i in range(200)]) == 200 and knoll.check()


for act in (
    lambda: knoll.step(100),
    lambda: knoll.check(),
    lambda: knoll.threshold(1),
    lambda: knoll.boot_done(),
    lambda: knoll.automatic(False),
    lambda: window.__enter__(),
    lambda: window.__exit__(),
    lambda: knoll.no_scan(buffer),
    lambda: counted.ref(),
    lambda: counted[3],
    lambda: counted[1:3],
    lambda: workflow.__enter__(),
    lambda: arena.enter(),
    lambda: knoll.info(),
    lambda: knoll.witness(),
    lambda: knoll.who_holds(lists),
    lambda: knoll.keep(lists),
    lambda: knoll.buffer(50),
    lambda: knoll.presize_modules(100),
    lambda: knoll.import_cost("sys"),
    lambda: gc.collect(),
):
    drop(act)
    gc.collect()
    knoll.threshold(0)
    Disk.act = None
    if not sound():
        print("not sound behind", act)
knoll.automatic(False)
told("all")
gc.collect()
print(Disk.done > 5, Disk.refused > 10)
print(knoll.check())
