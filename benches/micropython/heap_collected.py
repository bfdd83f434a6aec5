# The same behind a collection: what was freed lies before the lists.
import gc

live = [[number] for number in range(1400)]
gc.collect()
