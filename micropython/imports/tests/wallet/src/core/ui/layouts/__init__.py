from core.ui.layouts import widgets

screen = widgets.Button
