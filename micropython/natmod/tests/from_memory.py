# Makes `import knoll_heap` find a module whose bytes are in this script: the firmware has no file system.
# `cargo xtask natmod` puts the bytes in the place of MODULE below.

import io
import sys
import vfs

_MODULE = MODULE


class _File(io.IOBase):
    def __init__(self):
        self.at = 0

    def readinto(self, buffer):
        part = _MODULE[self.at : self.at + len(buffer)]
        buffer[: len(part)] = part
        self.at += len(part)
        return len(part)

    def ioctl(self, request, _):
        # Only 4, close, comes.
        return 0 if request == 4 else -1


class _Files:
    def mount(self, readonly, make):
        pass

    def umount(self):
        pass

    def stat(self, path):
        if path != "/knoll_heap.mpy":
            raise OSError(2)
        return (0x8000, 0, 0, 0, 0, 0, len(_MODULE), 0, 0, 0)

    def open(self, path, mode):
        return _File()


vfs.mount(_Files(), "/native")
sys.path.append("/native")
