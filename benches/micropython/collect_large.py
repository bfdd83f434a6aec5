# The same in a heap of 2 MB.
import gc


def collect(mark):
    begin(mark)
    gc.collect()
    end()


gc.collect()
collect(0)

dead = bytearray(1024 * 1024)
dead = None
collect(1)

live = bytearray(1024 * 1024)
gc.collect()
collect(2)
live = None
gc.collect()

live = [[number] for number in range(10000)]
gc.collect()
collect(10000)
