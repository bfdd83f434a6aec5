# MicroPython's own remedy: gc.threshold, a collection at least every 20,000 bytes.
import gc

gc.threshold(20000)


class workflow:
    def __enter__(self):
        pass

    def __exit__(self, *raised):
        gc.collect()


class lasting:
    def __enter__(self):
        pass

    def __exit__(self, *raised):
        pass
