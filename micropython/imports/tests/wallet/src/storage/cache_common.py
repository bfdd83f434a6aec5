class SessionlessCache:
    pass
