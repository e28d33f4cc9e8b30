"""The one exception a user of pfr_jax is meant to read."""


class InputError(Exception):
    """Bad input from the user.

    The message says what is wrong, where (file and line, or flag) and what to do next.
    """
