# Signs a text.

import storage.cache
from apps.common.keychain import Keychain
from trezor import wire
from trezor.messages import Success


def run(session, numbers):
    words = ["word%d" % (next(numbers) % 1000) for _ in range(60 + next(numbers) % 200)]
    text = " ".join(words)
    keychain = Keychain(b"seed of session %s" % session)
    digest = b"%08x" % wire.checksum(text.encode()) * 8
    storage.cache.set(session, 4, digest[: 16 + next(numbers) % 40])
    signature = keychain.sign([48, 0, next(numbers) % 4], digest)
    return Success(message=signature.hex() + ":" + text[:200])
