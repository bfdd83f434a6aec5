# Always active: credentials, and a counter for each.

from trezor.utils import keep

MOST = 40

_credentials = []
_counters = {}


def add(rp_id, credential):
    if len(_credentials) == MOST:
        old = _credentials.pop(0)
        _counters.pop(old[0], None)
    rp_id = keep(rp_id)
    _credentials.append(keep((rp_id, credential)))


def count_up(rp_id):
    value = _counters.get(rp_id, 0) + 1
    _counters[keep(rp_id)] = value
    return value


def find(rp_id):
    return [credential for name, credential in _credentials if name == rp_id]


def fingerprint():
    total = len(_counters)
    for name, credential in _credentials:
        total = (total * 31 + len(name) + len(credential)) & 0xFFFFFF
    return total
