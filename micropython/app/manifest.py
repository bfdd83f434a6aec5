# Freezes the application into a firmware: its code takes flash, as in the device that it is modelled on.
package("trezor")
package("storage")
package("apps")
module("usb.py")
module("device.py")
