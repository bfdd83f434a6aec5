import hardware as config

from . import utils
