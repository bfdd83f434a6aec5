# The best remedy there is without help from the heap: a collection before each value that stays.
import gc


class workflow:
    def __enter__(self):
        pass

    def __exit__(self, *raised):
        gc.collect()


class lasting:
    def __enter__(self):
        gc.collect()

    def __exit__(self, *raised):
        pass
