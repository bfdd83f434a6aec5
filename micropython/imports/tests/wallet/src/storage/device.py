import hardware


def show_label():
    from core.ui.layouts import screen

    return screen
