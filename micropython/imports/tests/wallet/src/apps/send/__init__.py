# Applications import what they like.
from apps.common import registry
from apps.send import transaction
from core.ui import layouts
import hardware.missing
import gone

try:
    import hardware_debug
except ImportError:
    hardware_debug = None
