# Signs a transaction: the workflow with the most messages at a time.

import storage.cache
import storage.common
from apps.common.address import address_of
from apps.common.keychain import Keychain
from trezor import strings, wire
from trezor.messages import TxInput, TxOutput, TxSigned


def run(session, numbers):
    keychain = Keychain(b"seed of session %s" % session)
    inputs = []
    for i in range(4 + next(numbers) % 12):
        path = [84, 0, 0, next(numbers) % 2, i]
        previous = bytes(next(numbers) & 255 for _ in range(32))
        inputs.append(TxInput(address_n=path, prev_hash=previous, amount=100000 + next(numbers)))
    total = sum(part.amount for part in inputs)
    outputs = []
    for i in range(2 + next(numbers) % 10):
        address = address_of(keychain.derive([84, 0, 0, 0, 100 + i]))
        outputs.append(TxOutput(address=address, amount=total // 20))
        if i == 1:
            # In the middle of the work something is remembered that outlives it.
            storage.cache.set(session, 0, (strings.format_amount(outputs[-1].amount, 8), address))
    lines = [strings.format_amount(output.amount, 8) + " to " + output.address for output in outputs]
    reports = [report for part in inputs + outputs for report in wire.write(part)]
    digest = b"%08x" % wire.checksum(wire.Reader(reports).message()) * 8
    signatures = []
    for part in inputs:
        signatures.append(keychain.sign(part.address_n, digest))
        if len(signatures) == 3:
            storage.common.set(storage.common.APP_LABELS, next(numbers) % 80, lines[0][: 16 + next(numbers) % 40])
    return TxSigned(signatures=signatures, serialized=b"".join(reports)[:1500])
