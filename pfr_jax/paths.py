"""Paths as people write them."""

import os
from pathlib import Path


def expanded(path: str | Path) -> Path:
    """The path with ~ and $VARIABLES replaced; what nobody knows stays as it stands."""
    plain = Path(os.path.expandvars(path))
    try:
        return plain.expanduser()
    except RuntimeError:  # ~NAME of no user
        return plain


def is_file(path: Path) -> bool:
    """Whether there is such a file; not if the system will not even look for it."""
    try:
        return path.is_file()
    except OSError:  # too long a name, a folder that may not be read
        return False
