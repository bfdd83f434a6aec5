# 1400 live lists, and behind them 500 live blocks and 500 free ones, of 16 bytes, in turn.
import gc

live = [[number] for number in range(1400)]
gc.collect()
rows = [None] * 1000
for number in range(1000):
    rows[number] = (number,)
for number in range(0, 1000, 2):
    rows[number] = None
gc.collect()
