class Button:
    def draw(self):
        pass

    def touched(self, x, y):
        pass
