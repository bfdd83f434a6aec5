# Changes the settings: a label, an image.

import storage.device
from trezor import strings
from trezor.messages import Success


def run(session, numbers):
    image = bytearray(next(numbers) & 255 for _ in range(300 + next(numbers) % 500))
    if next(numbers) % 3 == 0:
        storage.device.set_homescreen(image[: 64 + next(numbers) % 200])
    storage.device.set_label("device %d of %s" % (next(numbers) % 10000, strings.hexlify(image[:12])))
    storage.device.unlocked()
    rows = [strings.hexlify(image[at : at + 16]) for at in range(0, len(image), 16)]
    return Success(message="\n".join(rows))
