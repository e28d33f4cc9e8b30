"""The exceptions a user of pfr_jax is meant to read."""


class InputError(Exception):
    """Bad input from the user.

    The message says what is wrong, where (file and line, or flag) and what to do next.
    """


class Stopped(Exception):
    """A run that was asked to stop has saved all it needs to go on; ``signal`` asked for it."""

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = signal
