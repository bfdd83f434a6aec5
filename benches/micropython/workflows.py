# 1000 workflows as a hardware wallet has them: each takes half the heap for modules, messages, texts and buffers that
# die with it; in the middle of every fifth a value is put into a table that stays. At the end the tables and their values
# are a tenth of the heap.
# Printed after some workflows: what the heap says of itself, behind a collection. The mark is the workflows alone.
import gc
import micropython

WORKFLOWS = 1000


class Message:
    def __init__(self, number):
        self.number = number
        self.name = "field %d of a message" % number
        self.payload = bytes(16 + number % 48)
        self.parts = [number, number + 1]


sessions = {}
owners = {}


def messages(count):
    return [Message(number) for number in range(count)]


def modules(count):
    return [bytearray(400 + 40 * (number % 32)) for number in range(count)]


def remember(number):
    with lasting():
        sessions["session %d" % number] = (number, bytes(20 + number % 13))
        owners[number] = number // 7


def sign(number):
    code = modules(60)
    request = messages(30)
    buffer = bytearray(1024 + 16 * (number % 64))
    half = sum(message.number for message in request)
    if number % 5 == 0:
        remember(number)
    answer = messages(20)
    text = ", ".join(message.name for message in answer)
    buffer[: len(text)] = text.encode()
    return half + len(buffer) + len(code)


def is_looked_at(number):
    return number in (1, 10, 100) or number % 20 == 0


def run():
    for number in range(1, WORKFLOWS + 1):
        begin(1)
        with workflow():
            sign(number)
        end()
        if is_looked_at(number):
            gc.collect()
            print("workflow", number, len(sessions))
            micropython.mem_info()


run()
