# The emulator counts what stands between begin and end. The addresses are those of emu/firmware/mark.h.
from machine import mem32


def begin(number):
    mem32[0xE0000000] = number


def end():
    mem32[0xE0000020] = 0
