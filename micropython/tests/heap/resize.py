# Lists, byte arrays and strings that grow and shrink among others keep their contents, moved or not.
import gc

seed = 12345


def random(below):
    global seed
    seed = (seed * 1103515245 + 12345) & 0x7FFFFFFF
    return (seed >> 8) % below


lists = [[] for _ in range(8)]
lengths = [0] * 8
buffers = [bytearray() for _ in range(8)]
sums = [0] * 8
for step in range(1500):
    i = random(8)
    what = random(6)
    if what < 3:
        for _ in range(random(20)):
            lists[i].append([lengths[i]])
            lengths[i] += 1
    elif what == 3 and lengths[i]:
        cut = random(lengths[i])
        del lists[i][cut:]
        lengths[i] = cut
    elif what == 4:
        more = random(60)
        buffers[i].extend(bytes([more] * more))
        sums[i] += more * more
    else:
        buffers[i] = bytearray()
        sums[i] = 0
    if step % 250 == 0:
        gc.collect()
for i in range(8):
    assert len(lists[i]) == lengths[i]
    assert all(lists[i][n] == [n] for n in range(lengths[i]))
    assert sum(buffers[i]) == sums[i]
text = ""
for n in range(200):
    text += str(n)
    if n % 50 == 0:
        gc.collect()
assert text == "".join(str(n) for n in range(200))
print("kept")
