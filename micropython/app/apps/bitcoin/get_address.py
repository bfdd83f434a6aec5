# Shows an address, and remembers the last ones.

import storage.cache
from apps.common.address import address_of
from apps.common.keychain import Keychain
from trezor.messages import Address


def run(session, numbers):
    keychain = Keychain(b"seed of session %s" % session)
    addresses = []
    for i in range(6 + next(numbers) % 6):
        path = [44, 0, 0, 0, next(numbers) % 1000]
        addresses.append((path, address_of(keychain.derive(path), "1")))
    path, address = addresses[len(addresses) // 2]
    storage.cache.set(session, 1 + next(numbers) % 3, {"path": tuple(path), "address": address})
    return Address(address=",".join(text for _, text in addresses), path=path)
