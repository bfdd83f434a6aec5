# Always active: sessions, each with values that workflows put there; the oldest goes when there are too many.

from trezor.utils import keep

MOST_SESSIONS = 12
SLOTS = 6

_sessions = {}
_order = []


def start_session(session_id):
    if session_id in _sessions:
        _order.remove(session_id)
    else:
        if len(_order) == MOST_SESSIONS:
            del _sessions[_order.pop(0)]
        session_id = keep(session_id)
        _sessions[session_id] = keep([None] * SLOTS)
    _order.append(session_id)


def set(session_id, slot, value):
    _sessions[session_id][slot] = keep(value)


def get(session_id, slot):
    return _sessions[session_id][slot]


def count():
    return len(_order)


def fingerprint():
    total = 0
    for session_id in _order:
        for value in _sessions[session_id]:
            total = (total * 31 + len(str(value))) & 0xFFFFFF
    return total
