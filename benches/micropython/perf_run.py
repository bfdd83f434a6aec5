# Behind one of MicroPython's tests/perf_bench: runs it with the parameters for a Cortex-M of 100 MHz with 100 KB of heap,
# and prints what it found. The mark is the run alone, without its set-up.


def run_benchmark(megahertz, kilobytes):
    fitting = [known for known in bm_params if 10 * known[0] <= 12 * megahertz and known[1] <= kilobytes]
    if not fitting:
        print("SKIP")
        return
    run, result = bm_setup(bm_params[max(fitting)])
    begin(1)
    run()
    end()
    print(result()[1])


run_benchmark(100, 100)
