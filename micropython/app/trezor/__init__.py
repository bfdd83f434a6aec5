# Always active. Modules of this package that a workflow imports are entered here as names, in the middle of the workflow:
# so this module's table is presized at boot, by device.py.
