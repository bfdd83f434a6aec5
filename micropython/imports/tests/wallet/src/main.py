import core
from core import utils

utils.presize_module(core, 6)

import storage
import core.log  # stays loaded, and nobody listed it

with utils.workflow():
    import boot

manager = utils.workflow()
while True:
    with manager:
        import session
