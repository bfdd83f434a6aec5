# Always active: the interfaces of the device.

interfaces = ("wire", "debug", "webauthn")
reports = {name: 0 for name in interfaces}


def sent(name, count):
    reports[name] += count
