# run_patiently.py RUN_TESTS ARGUMENT...: MicroPython's tests/run-tests.py, which waits longer for a board.
#
# It gives up on a serial line that says nothing for ten seconds. An emulated board on a busy machine may compute
# longer than that before it prints; whether it hangs is for the emulator's own limit to say.

import os
import runpy
import sys

script = os.path.abspath(sys.argv[1])
sys.path.insert(0, os.path.join(os.path.dirname(script), "..", "tools"))
sys.argv = sys.argv[1:]

import pyboard

LONGER = 12
read_until = pyboard.Pyboard.read_until


def patient_read_until(self, min_num_bytes, ending, timeout=10, data_consumer=None):
    return read_until(self, min_num_bytes, ending, timeout and timeout * LONGER, data_consumer)


pyboard.Pyboard.read_until = patient_read_until
runpy.run_path(script, run_name="__main__")
