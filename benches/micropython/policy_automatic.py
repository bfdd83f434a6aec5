# Knoll's with a word at boot: from now on all is transient but what is said to stay, and the tables from before.
import gc
from knoll import boot_done, lasting

boot_done()


class workflow:
    def __enter__(self):
        pass

    def __exit__(self, *raised):
        gc.collect()
