# Keys by path, kept for the workflow: derived ones are found again.

from trezor.wire import checksum


class Keychain:
    def __init__(self, seed):
        self.seed = seed
        self.derived = {}

    def derive(self, path):
        path = tuple(path)
        node = self.derived.get(path)
        if node is None:
            parent = self.derive(path[:-1]) if path else (self.seed, b"")
            index = path[-1] if path else 0
            state = checksum(parent[0], index)
            node = (b"%08x" % state * 4, b"%08x" % checksum(parent[1], state) * 4)
            self.derived[path] = node
        return node

    def sign(self, path, digest):
        private, chain = self.derive(path)
        return bytes(a ^ b for a, b in zip(private, digest))
