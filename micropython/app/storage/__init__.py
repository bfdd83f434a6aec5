# Always active: what the device remembers. Presized at boot, by device.py.
