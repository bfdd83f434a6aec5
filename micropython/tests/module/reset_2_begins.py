# Behind a soft reset that came in the middle of everything (reset_1_leaves.py): no scope is open, nothing is automatic,
# and the two sides are there.
import gc
import sys

try:
    import knoll
except ImportError:
    # Not this interpreter.
    print("SKIP")
    raise SystemExit

print(knoll.info()["scopes"], knoll.info()["workflows"], knoll.automatic())
try:
    knoll.lasting().__exit__(None, None, None)
except RuntimeError as error:
    print(error)
buffer = knoll.Counted(10)
buffer[:] = b"0123456789"
with knoll.workflow() as w:
    inside = bytearray(3000)
    with knoll.lasting():
        lasting = bytearray(3000)
    print(id(inside) > id(lasting), knoll.info()["scopes"])
    # no table of sys.modules is presized any more
    for i in range(100):
        sys.modules["module %d" % i] = sys
inside = None
print(buffer[:], buffer.count(), w.free > 0, knoll.info()["scopes"])
with knoll.workflow() as w:
    print(id(bytearray(3000)) > id(lasting))
print(knoll.check())
