# Numbers, JSON, the map; step, threshold, buffers that are not looked into.
import array
import gc
import struct

try:
    import knoll
except ImportError:
    # Not this interpreter.
    print("SKIP")
    raise SystemExit

try:
    import json
except ImportError:
    print("SKIP")
    raise SystemExit

gc.collect()
info = knoll.info()
print(sorted(info))
print(info["total"] == info["used"] + info["free"], info["largest"] <= info["free"], info["blocks"] > 10)
print(info["granule"] in (8, 16, 32), info["areas"] >= 1, info["scopes"], info["automatic"], info["workflows"])
print(gc.mem_free() <= info["free"], gc.mem_alloc() + gc.mem_free() == info["total"])
before = knoll.info()["collections"]
gc.collect()
print(knoll.info()["collections"] - before)

# what is allocated is counted
block = bytearray(5000)
after = knoll.info()
print(5000 <= after["used"] - info["used"] < 7500)
block = None

witness = json.loads(knoll.witness())
print(isinstance(witness, dict), len(witness) > 3)
info = knoll.info()
print("free" in knoll.witness(), "largest" in knoll.witness())

# the sweep by steps; nothing is left behind a whole collection
gc.collect()
while not knoll.step(100):
    pass
print(knoll.step(1), knoll.info()["unswept"])

# threshold
print(knoll.threshold(), gc.threshold())
print(knoll.threshold(32000), gc.threshold() == knoll.threshold())
collections = knoll.info()["collections"]
for i in range(200):
    bytearray(1000)
print(3 <= knoll.info()["collections"] - collections <= 9)
print(knoll.threshold(0), knoll.threshold(-1), gc.threshold())
# in whole granules, rounded up: the least is not none, and not a collection at every allocation
granule = knoll.info()["granule"]
print(knoll.threshold(1) == knoll.threshold(granule) == granule, knoll.threshold(granule + 1) == 2 * granule)
print(knoll.threshold(0))

# a buffer: a bytearray, but what is in it is no reference
buffer = knoll.buffer(100)
print(type(buffer).__name__, len(buffer), sum(buffer))
buffer[3] = 4
buffer.extend(b"more")
print(len(buffer), buffer[3], bytes(buffer[100:]))
print(knoll.buffer(0), len(memoryview(knoll.buffer(7))))
for i in range(50):
    buffer.extend(bytes(40))
print(len(buffer), buffer[3])



# what is there already is looked into until it is said that nothing is to be found
def clear_stack(depth=20):
    a = b = c = d = e = 0
    return depth and clear_stack(depth - 1)


def count_lists():
    clear_stack()
    gc.collect()
    return knoll.info()["blocks"]


def pack(into, count):
    for i in range(count):
        struct.pack_into("P", into, i * struct.calcsize("P"), id([None] * 5))


buffer = bytearray(400)
print(knoll.no_scan(buffer) is buffer)
blocks = count_lists()
pack(buffer, 50)
print(count_lists() - blocks < 10, len(buffer))
buffer.extend(bytes(400))
pack(buffer, 100)
print(count_lists() - blocks < 10, len(buffer))
for harmless in (bytearray(), b"", b"x" * 100, array.array("H", range(50)), array.array("d")):
    before = bytes(harmless)
    print(type(knoll.no_scan(harmless)).__name__, bytes(harmless) == before)
for wrong in ("text", array.array("P"), array.array("O"), memoryview(bytearray(5)), [], None, 5, bytearray):
    try:
        knoll.no_scan(wrong)
        print("accepted", wrong)
    except TypeError:
        print("TypeError")

for wrong in (
    lambda: knoll.buffer(),
    lambda: knoll.buffer(-1),
    lambda: knoll.buffer("5"),
    lambda: knoll.buffer(1 << 70),
    lambda: knoll.buffer(1 << 28),
    lambda: knoll.step(0),
    lambda: knoll.step(-1),
    lambda: knoll.step(None),
    lambda: knoll.threshold("5"),
    lambda: knoll.info(1),
):
    try:
        wrong()
        print("accepted")
    except (TypeError, ValueError, OverflowError, MemoryError) as error:
        print(type(error).__name__)
print(knoll.check())
