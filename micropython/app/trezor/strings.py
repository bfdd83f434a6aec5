# Imported by workflows, and so entered into the package `trezor` in their middle.


def format_amount(amount, decimals):
    whole, part = divmod(amount, 10**decimals)
    text = "%d.%0*d" % (whole, decimals, part)
    return text.rstrip("0").rstrip(".")


def format_plural(text, count, word):
    return text.format(count=count, plural=word if count == 1 else word + "s")


def hexlify(data):
    return "".join("%02x" % byte for byte in data)
