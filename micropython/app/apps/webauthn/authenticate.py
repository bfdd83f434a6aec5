# Registers and uses a credential.

import storage.fido2
from apps.common.keychain import Keychain
from trezor.messages import Assertion


def run(session, numbers):
    rp_id = "site%d.example" % (next(numbers) % 50)
    keychain = Keychain(b"seed of " + rp_id.encode())
    candidates = storage.fido2.find(rp_id)
    if not candidates:
        public = keychain.derive([10022, 0, next(numbers) % 100])
        storage.fido2.add(rp_id, public[0] + b"%d" % next(numbers))
        candidates = storage.fido2.find(rp_id)
    counter = storage.fido2.count_up(rp_id)
    signatures = [keychain.sign([10022, i], candidates[0][:64]) for i in range(6 + next(numbers) % 8)]
    return Assertion(rp_id=rp_id, counter=counter, signature=b"".join(signatures))
