from core.ui.layouts import screen


def confirm(text):
    return screen
