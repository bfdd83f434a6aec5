# A tenth of the heap alive, scattered among objects that die, until memory was short some eight times: each of these
# collections is started by an allocation, and its sweep is done by those that follow.
import gc

gc.collect()
room = gc.mem_free()
live = [None] * (room // 2500)


def work(amount):
    number = 0
    while amount > 0:
        size = number * 7 % 300
        item = [number, (number, str(number)), bytearray(size)]
        if number % 8 == 0:
            live[number // 8 % len(live)] = item
        if number % 100 == 99:
            bytearray(2000)
            amount -= 2000
        amount -= size + 100
        number += 1


begin(1)
work(8 * room)
end()
