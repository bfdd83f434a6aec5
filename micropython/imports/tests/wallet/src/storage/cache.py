from core import utils
from storage.cache_common import SessionlessCache

if utils.USE_THP:
    from storage import cache_thp as protocol
else:
    from storage import cache_codec as protocol

CACHE = SessionlessCache()
