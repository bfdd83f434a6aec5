# Nothing is done for the heap but a collection at each workflow's end.
import gc


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
