"""Paths as people write them."""

import os
from pathlib import Path


def expanded(path: str | Path) -> Path:
    """The path with ~ and $VARIABLES replaced; a variable that is not set stays as it stands."""
    return Path(os.path.expandvars(path)).expanduser()
