# An address of a key: enough to be a text of its own for each.

ALPHABET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


def address_of(node, prefix="bc1"):
    private, chain = node
    letters = [prefix]
    for a, b in zip(private, chain):
        letters.append(ALPHABET[(a * 7 + b) & 31])
    return "".join(letters)
