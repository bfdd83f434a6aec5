# Tells what the device is.

import storage.cache
import storage.common
import storage.device
from trezor.messages import Features
from trezor.strings import format_plural


def run(session, numbers):
    texts = [format_plural("{count} {plural}", n, "setting") for n in range(next(numbers) % 40)]
    storage.cache.set(session, 5, next(numbers) << 20)
    return Features(
        label=storage.device.label() + "".join(texts[-3:]),
        sessions=storage.cache.count(),
        settings=storage.common.count(),
    )
