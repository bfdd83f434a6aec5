from storage import cache, device
