from hardware import random

queue = []
