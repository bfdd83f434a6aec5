from core import loop

WORDS = ("abandon", "ability")
