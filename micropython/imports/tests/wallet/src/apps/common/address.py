from apps.common.paths import check
from core import log
