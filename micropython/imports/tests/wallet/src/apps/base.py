from core import strings, workflow
from core.ui.layouts import screen
from apps.common import confirm
