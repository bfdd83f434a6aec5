# Always active: its function is registered as a callback of the storage.

_shown = 0


def show_pin_timeout(seconds, progress):
    global _shown
    if progress == 0 or seconds != _shown:
        _shown = seconds
    return False
