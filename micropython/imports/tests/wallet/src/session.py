from core import utils
import apps.base
