import hardware
