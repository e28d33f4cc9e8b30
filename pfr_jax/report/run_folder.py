"""The files of a run, each readable at any moment, also after an interruption.

config.json      every setting, and the environment it ran in
metrics.jsonl    a flat object per evaluated round; the same numbers from the same seeds
timings.jsonl    seconds per evaluated round, apart because they never repeat
per_user.csv     a row per user, at the end
summary.json     the run's figures, at the end
"""

import contextlib
import json
import math
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pfr_jax.errors import InputError

FILES = ("config.json", "metrics.jsonl", "timings.jsonl", "per_user.csv", "summary.json")


class RunFolder:
    """Creates the folder, refuses to touch an earlier run, and writes the files."""

    def __init__(self, path: Path, overwrite: bool = False) -> None:
        """Raises InputError if the folder holds a run or cannot be written."""
        self.path = path
        self._earlier = [name for name in FILES if (path / name).exists()]
        if self._earlier and not overwrite:
            raise InputError(
                f"--output_dir={path} already holds a run ({', '.join(self._earlier)}); choose "
                "another folder, or say --overwrite"
            )
        self._created = not path.exists()
        try:
            path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=path):
                pass
        except OSError as error:
            raise InputError(
                f"--output_dir={path} cannot be written: {error.strerror or error}"
            ) from error

    def begin(self, settings: dict[str, Any]) -> None:
        """Replaces an earlier run's files by this run's config.json and an empty log.

        Not before the data are read: a run that cannot begin leaves nothing and removes nothing.
        """
        for name in self._earlier:
            (self.path / name).unlink()
        self.write_json("config.json", settings)
        (self.path / "metrics.jsonl").touch()

    def discard_if_empty(self) -> None:
        """Removes the folder made for a run that never began; a folder with files stays."""
        if self._created:
            with contextlib.suppress(OSError):
                self.path.rmdir()

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Writes a whole JSON file at once; what is not finite becomes null."""
        partial = self.path / f"{name}.partial"
        partial.write_text(json.dumps(_plain(content), indent=2) + "\n")
        partial.replace(self.path / name)

    def append_line(self, name: str, content: dict[str, Any]) -> None:
        """Adds one line of JSON; on return it is in the file."""
        with (self.path / name).open("a") as file:
            file.write(json.dumps(_plain(content)) + "\n")

    def write_table(self, name: str, columns: dict[str, np.ndarray]) -> None:
        """Writes columns of equal length as csv."""
        partial = self.path / f"{name}.partial"
        pd.DataFrame(columns).to_csv(partial, index=False, float_format="%.6g")
        partial.replace(self.path / name)


def flat_figures(prefix: str, figures: Any) -> dict[str, float]:
    """A Figures record as ``{prefix}_rmse`` and so on; nothing for None."""
    if figures is None:
        return {}
    return {f"{prefix}_{name}": value for name, value in asdict(figures).items()}


def _plain(value: Any) -> Any:
    """JSON has no NaN or infinity: null instead."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
