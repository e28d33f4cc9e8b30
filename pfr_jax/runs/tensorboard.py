"""Figures of evaluated rounds as TensorBoard events, in ``tensorboard/`` of a run's folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pfr_jax.errors import InputError

FOLDER = "tensorboard"
# What of a figure's name is shown as its group; the longer ones first.
GROUPS = ("validation_warm", "validation", "test_warm", "test", "new_users", "clients", "bytes")


class Events:
    """An open file of events. What earlier files say of rounds behind ``done`` does not count."""

    def __init__(self, folder: Path, done: int) -> None:
        """Raises InputError if tensorboardX is not installed."""
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise InputError(
                "--tensorboard needs the package tensorboardX: pip install 'pfr_jax[track]'"
            ) from None
        self._writer = SummaryWriter(str(folder / FOLDER), purge_step=done + 1)

    def add(self, line: Mapping[str, Any]) -> None:
        """The numbers of a line of metrics.jsonl."""
        for name, value in line.items():
            if name != "round" and isinstance(value, int | float):
                self._writer.add_scalar(tag_of(name), value, line["round"])
        self._writer.flush()

    def close(self) -> None:
        """All has been written."""
        self._writer.close()


def tag_of(name: str) -> str:
    """A figure's name with its group before a slash: validation/rmse for validation_rmse."""
    group = next((group for group in GROUPS if name.startswith(f"{group}_")), None)
    return f"{group}/{name.removeprefix(f'{group}_')}" if group else name
