import gc
import sys
from typing import TYPE_CHECKING

from hardware import random

if TYPE_CHECKING:
    from core.ui.layouts import Layout


def presize_module(module, slots):
    pass


def workflow():
    pass
