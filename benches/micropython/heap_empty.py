# The heap as it is after boot.
import gc

gc.collect()
