# 1400 live lists, two blocks each, a third of the heap, as they were allocated one after the other.
live = [[number] for number in range(1400)]
