# Threads that allocate, resize, free and collect at once, without a lock on the interpreter where there is none.
try:
    import _thread
    import gc
    import time
except ImportError:
    print("SKIP")
    raise SystemExit

THREADS = 4
ROUNDS = 60
lock = _thread.allocate_lock()
done = 0
wrong = 0


def work(number):
    global done, wrong
    bad = 0
    kept = []
    for step in range(ROUNDS):
        table = {}
        for n in range(20):
            table[n] = [number, n, bytearray(64 + 4 * n)]
        kept.append((step, table, array_like(number, step)))
        if len(kept) > 8:
            kept.pop(0)
        if step % 16 == number:
            gc.collect()
        for old, table, items in kept:
            bad += any(table[n][:2] != [number, n] or len(table[n][2]) != 64 + 4 * n for n in range(20))
            bad += items != [number, old] * 32
    with lock:
        wrong += bad
        done += 1


def array_like(number, step):
    # As many bytes as a buffer another thread may ask for.
    return [number, step] * 32


for number in range(THREADS):
    _thread.start_new_thread(work, (number,))
while True:
    with lock:
        if done == THREADS:
            break
    time.sleep(0.01)
print("wrong:", wrong)
