# The wire: a message in reports of 64 bytes, read and written by a workflow.

import binascii

REPORT = 64


def checksum(data, start=0):
    return binascii.crc32(data, start) & 0xFFFFFF


class Reader:
    def __init__(self, reports):
        self.reports = reports

    def message(self):
        data = bytearray()
        for report in self.reports:
            data.extend(memoryview(report)[1:])
        return bytes(data)


def write(message):
    data = message.encode()
    return [b"?" + data[at : at + REPORT - 1] for at in range(0, len(data), REPORT - 1)]
