import storage.device
