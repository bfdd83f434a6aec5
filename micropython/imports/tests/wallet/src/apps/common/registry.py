from apps.common import coins
