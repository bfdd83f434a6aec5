# The messages of the wire, as classes that a workflow imports, uses and forgets.


class Message:
    FIELDS = ()

    def __init__(self, **values):
        for name, default in self.FIELDS:
            value = values.get(name, default)
            setattr(self, name, [] if value is list else value)

    def encode(self):
        parts = []
        for name, _ in self.FIELDS:
            value = getattr(self, name)
            for item in value if isinstance(value, list) else (value,):
                if isinstance(item, Message):
                    item = item.encode()
                elif isinstance(item, str):
                    item = item.encode()
                elif isinstance(item, int):
                    item = b"%d" % item
                if item is not None:
                    parts.append(b"%s=%s;" % (name.encode(), item))
        return b"".join(parts)


class Success(Message):
    FIELDS = (("message", ""),)


class Failure(Message):
    FIELDS = (("code", 0), ("message", ""))


class Features(Message):
    FIELDS = (("label", None), ("sessions", 0), ("settings", 0), ("passphrase", None))


class Address(Message):
    FIELDS = (("address", None), ("path", list))


class TxInput(Message):
    FIELDS = (("address_n", list), ("prev_hash", b""), ("amount", 0), ("sequence", 0xFFFFFFFF))


class TxOutput(Message):
    FIELDS = (("address", ""), ("amount", 0))


class TxSigned(Message):
    FIELDS = (("signatures", list), ("serialized", b""))


class Assertion(Message):
    FIELDS = (("rp_id", ""), ("counter", 0), ("signature", b""))
