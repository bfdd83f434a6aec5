# Always active: a table of values by application and key, which grows while workflows run.

from trezor.utils import keep

APP_DEVICE = 1
APP_FIDO2 = 4
APP_LABELS = 7

_values = {}


def set(app, key, value):
    _values[app << 16 | key] = keep(value)


def get(app, key, default=None):
    return _values.get(app << 16 | key, default)


def count():
    return len(_values)


def fingerprint():
    total = 0
    for key in sorted(_values):
        total = (total * 31 + key + len(str(_values[key]))) & 0xFFFFFF
    return total
