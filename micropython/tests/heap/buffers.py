# Large buffers of every kind, filled with what looks like addresses, beside objects: nothing of either is lost, and
# what only a buffer of bytes refers to is not kept by it.
import gc

try:
    from array import array
except ImportError:
    print("SKIP")
    raise SystemExit

gc.collect()
start = gc.mem_free()
buffers = [bytearray(4096), bytes(4096), memoryview(bytearray(2048))]
buffers += [array(code, [1] * 512) for code in "bBhHiIlLqQfd"]
objects = [[i, [i]] for i in range(300)]
buffers[0][:] = b"\x10" * 4096
for i in range(len(buffers[2])):
    buffers[2][i] = i & 255
for _ in range(3):
    gc.collect()
    [bytearray(64) for _ in range(30)]
assert bytes(buffers[0]) == b"\x10" * 4096
assert buffers[1] == bytes(4096)
assert all(buffers[2][i] == i & 255 for i in range(2048))
for kind in buffers[3:]:
    assert len(kind) == 512 and all(item == 1 for item in kind)
assert objects == [[i, [i]] for i in range(300)]
# They grow, and are cut.
for n in range(40):
    buffers[0].extend(b"more")
    buffers[5].append(n)
gc.collect()
assert len(buffers[0]) == 4096 + 160 and buffers[0][-4:] == b"more"
assert len(buffers[5]) == 552 and buffers[5][551] == 39
# An array of objects is looked into.
held = array("O", [[n] for n in range(100)])
gc.collect()
[[0] for _ in range(200)]
assert all(held[n] == [n] for n in range(100))
print("kept")
