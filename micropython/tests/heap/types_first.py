# Blocks whose first word is a type, like an object's of that type, and which hold objects nevertheless: the items
# of a list, the table of a dict or a set, arguments. All their contents must live on.
import gc

KINDS = (bytearray, str, bytes, tuple, list, dict, float, int)


def nested(n):
    return [[n, [n + 1]], {n: [n]}, "text %d" % n]


kept = []
for n, kind in enumerate(KINDS):
    kept.append([kind, nested(n), nested(n + 10), nested(n + 20)])
    kept.append([kind, 0, 63, nested(n)])
    kept.append([kind, 0, 50, nested(n), bytearray(200)])
    kept.append({kind: nested(n), n: nested(n + 30)})
    kept.append((kind, nested(n)))

# A list of 16 words right after a list that looks like an array whose buffer is missing.
for kind in (bytearray, str):
    short = [kind, 0, 31]
    long = [[i] for i in range(16)]
    kept.append([short, long])

for _ in range(3):
    gc.collect()
    # What was freed is used again.
    waste = [bytearray(100) for _ in range(50)]
    waste = None

for n, kind in enumerate(KINDS):
    at = 5 * n
    assert kept[at] == [kind, nested(n), nested(n + 10), nested(n + 20)]
    assert kept[at + 1] == [kind, 0, 63, nested(n)]
    assert kept[at + 2] == [kind, 0, 50, nested(n), bytearray(200)]
    assert kept[at + 3] == {kind: nested(n), n: nested(n + 30)}
    assert kept[at + 4] == (kind, nested(n))
for n, kind in enumerate((bytearray, str)):
    short, long = kept[5 * len(KINDS) + n]
    assert short == [kind, 0, 31]
    assert long == [[i] for i in range(16)]
print("kept")
