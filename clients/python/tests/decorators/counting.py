"""A function that counts its calls."""


class Counted:
    """A function that counts its calls."""

    def __init__(self, answer=lambda *args: list(args)):
        self.calls = 0
        self.answer = answer

    def run(self, *args):
        self.calls += 1
        return self.answer(*args)
