from apps import send
