names = {}
