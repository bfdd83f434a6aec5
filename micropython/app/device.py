# The device: boots, then runs one workflow after another, as a wallet does for months.
#
#   import device
#   device.run(1000)        1000 workflows; after each the figures of the heap; at the end a fingerprint of all that
#                           was answered and remembered, which must be the same on every collector
#
# Always active, as in the seed's list: trezor, trezor.utils, trezor.pin, storage and its modules, usb. Everything in apps,
# and trezor.messages, trezor.wire, trezor.strings are imported by a workflow and gone after it.

import micropython
import gc

import storage
import storage.cache
import storage.common
import storage.device
import storage.fido2
import trezor
import trezor.pin
import trezor.utils
import usb

WORKFLOWS = (
    "apps.bitcoin.get_address",
    "apps.bitcoin.sign_tx",
    "apps.management.get_features",
    "apps.webauthn.authenticate",
    "apps.bitcoin.sign_message",
    "apps.bitcoin.sign_tx",
    "apps.management.apply_settings",
)


def random_numbers(state):
    state %= 65537
    while True:
        state = (state * 75 + 74) % 65537
        yield state


def handle(number):
    """What a workflow does; all it makes is garbage when it returns, but what storage was given."""
    numbers = random_numbers(number * 4099 + 99)
    session = b"session %d" % (next(numbers) % 16)
    storage.cache.start_session(session)
    name = WORKFLOWS[number % len(WORKFLOWS)]
    parts = name.split(".")
    module = __import__(name)
    for part in parts[1:]:
        module = getattr(module, part)
    answer = module.run(session, numbers)
    import trezor.wire

    reports = trezor.wire.write(answer)
    usb.sent("wire", len(reports))
    return trezor.wire.checksum(trezor.wire.Reader(reports).message())


def guarded(number):
    with trezor.utils.workflow():
        return handle(number)


def boot():
    # The seed's rule: the tables of what is always active do not grow in the middle of a workflow.
    trezor.utils.presize_modules(48)
    trezor.utils.presize_module(trezor, 16)
    trezor.utils.presize_module(storage, 16)
    gc.collect()


def largest():
    """The largest buffer that can be allocated, found by trying."""
    low, high = 0, gc.mem_free()
    while high - low > 16:
        middle = (low + high) // 2
        try:
            bytearray(middle)
            low = middle
        except MemoryError:
            high = middle
        gc.collect()
    return low


def run(count, quiet=False):
    boot()
    print("boot", gc.mem_free(), largest())
    digest = 0
    failed = 0
    for number in range(count):
        try:
            digest = (digest * 31 ^ guarded(number)) & 0xFFFFFF
        except MemoryError:
            failed += 1
            gc.collect()
        print("workflow", number + 1)
        if not quiet:
            micropython.mem_info()
    gc.collect()
    print("largest", gc.mem_free(), largest())
    print("failed", failed)
    print("remembered", storage.common.fingerprint(), storage.cache.fingerprint(), storage.fido2.fingerprint())
    print("digest", digest)
    micropython.mem_info(1)
    print("end")
