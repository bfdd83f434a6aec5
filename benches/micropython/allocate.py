# Allocations of each size, eight of them; the mark is the size.

def allocate(size):
    begin(size)
    for _ in range(8):
        bytearray(size)
    end()


for size in (12, 30, 60, 120, 250, 1000, 4000, 16000):
    allocate(size)
