# Always active: the settings of the device.

import storage.common as common

LABEL = 1
HOMESCREEN = 2
PASSPHRASE = 3
UNLOCKS = 4


def label():
    return common.get(common.APP_DEVICE, LABEL, "my device")


def set_label(text):
    common.set(common.APP_DEVICE, LABEL, text)


def set_homescreen(data):
    common.set(common.APP_DEVICE, HOMESCREEN, data)


def unlocked():
    common.set(common.APP_DEVICE, UNLOCKS, common.get(common.APP_DEVICE, UNLOCKS, 0) + 1)
