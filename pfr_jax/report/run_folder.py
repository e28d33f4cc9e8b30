"""The files of a run, each readable at any moment, also after an interruption.

config.json      every setting, and the environment it ran in
metrics.jsonl    a flat object per evaluated round; the same numbers from the same seeds
timings.jsonl    seconds per evaluated round, apart because they never repeat
per_user.csv     a row per user, at the end
summary.json     the run's figures, at the end
checkpoints/     what the run can be resumed from (pfr_jax.checkpoint)
"""

import hashlib
import json
import math
import os
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pandas as pd

from pfr_jax.config import MAY_CHANGE
from pfr_jax.errors import InputError

LOGS = ("metrics.jsonl", "timings.jsonl")
FILES = ("config.json", *LOGS, "per_user.csv", "summary.json")
FOLDERS = ("checkpoints", "checkpoints_retrained")
LOCK = ".lock"  # held while a process writes here


class RunFolder:
    """Creates the folder, refuses to touch an earlier run, and writes the files.

    Of the processes of a run only the first writes; ``writes`` is False in the others.
    """

    def __init__(
        self,
        path: Path,
        overwrite: bool = False,
        resume: bool = False,
        writes: bool = True,
        output_dir: Path | None = None,
    ) -> None:
        """Raises InputError if the folder holds a run or cannot be written.

        ``overwrite`` replaces an earlier run, ``resume`` goes on with it. ``output_dir`` is what
        the command calls the folder, if not by its path.
        """
        self.output_dir = output_dir or path
        self.path, self.resume, self.writes = path, resume, writes
        self._lock: filelock.BaseFileLock | None = None
        self._created = False
        names = (*FILES, *FOLDERS)
        self._earlier = [name for name in names if (path / name).exists()] if writes else []
        if self._earlier and not overwrite and not resume:
            raise InputError(
                f"--output_dir={path} already holds a run ({', '.join(self._earlier)}); choose "
                "another folder, say --resume to go on with it, or --overwrite"
            )
        if not writes:
            return
        self._created = not path.exists()
        try:
            path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=path):
                pass
        except OSError as error:
            raise InputError(
                f"--output_dir={path} cannot be written: {error.strerror or error}"
            ) from error
        self._lock = filelock.FileLock(path / LOCK, timeout=0)
        try:
            self._lock.acquire()
        except filelock.Timeout:
            raise InputError(
                f"--output_dir={path}: another process is writing a run there"
            ) from None

    def begin(self, settings: dict[str, Any]) -> None:
        """Replaces an earlier run's files by this run's config.json and an empty log.

        Not before the data are read: a run that cannot begin leaves nothing and removes nothing.
        With ``resume`` only a run of the same settings (but for ``environment``) that is not
        finished is replaced; raises InputError for another.
        """
        if not self.writes:
            return
        if self.resume:
            self._same_run(settings)
        for name in self._earlier:
            path = self.path / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.write_json("config.json", settings)
        (self.path / "metrics.jsonl").touch()

    def _same_run(self, settings: dict[str, Any]) -> None:
        if "summary.json" in self._earlier:
            raise InputError(f"{self.path} holds a finished run and no checkpoint to go on from")
        if "config.json" in self._earlier:
            before = json.loads((self.path / "config.json").read_text())
            now = json.loads(json.dumps(_plain(settings)))
            free = MAY_CHANGE | {"environment"}
            names = [n for n in now if n not in free and before.get(n) != now[n]]
            if names:
                texts = (f"--{name} was {before.get(name)}, is {now[name]}" for name in names)
                raise InputError(f"{self.path} holds another run: {'; '.join(texts)}")

    def release(self) -> None:
        """Lets others write here. A folder made for a run that never began is removed."""
        if self._lock:
            self._lock.release()
        if self._created and [path.name for path in self.path.iterdir()] == [LOCK]:
            (self.path / LOCK).unlink()
            self.path.rmdir()

    def logged(self) -> dict[str, dict[str, Any]]:
        """Size and SHA-256 of each log as it stands; on return all of it is on the disk."""
        found = {}
        for name in LOGS:
            path = self.path / name
            path.touch()
            with path.open("rb") as file:
                total = hashlib.file_digest(file, "sha256").hexdigest()
                os.fsync(file.fileno())
            found[name] = {"bytes": path.stat().st_size, "sha256": total}
        return found

    def cut_back(self, logged: dict[str, dict[str, Any]]) -> None:
        """The logs as they were when ``logged``. Raises InputError for one that has changed since.

        What stands behind was written after the checkpoint, and will be written again.
        """
        if not self.writes:
            return
        for name, was in logged.items():
            path = self.path / name
            begin = path.read_bytes()[: was["bytes"]] if path.exists() else b""
            if hashlib.sha256(begin).hexdigest() != was["sha256"]:
                raise InputError(
                    f"{path} is not the log that the checkpoint belongs to: its first "
                    f"{was['bytes']} bytes have changed"
                )
            os.truncate(path, was["bytes"])

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Writes a whole JSON file at once; what is not finite becomes null."""
        if not self.writes:
            return
        partial = self.path / f"{name}.partial"
        partial.write_text(json.dumps(_plain(content), indent=2) + "\n")
        partial.replace(self.path / name)

    def append_line(self, name: str, content: dict[str, Any]) -> None:
        """Adds one line of JSON; on return it is in the file."""
        if not self.writes:
            return
        with (self.path / name).open("a") as file:
            file.write(json.dumps(_plain(content)) + "\n")

    def write_table(self, name: str, columns: dict[str, np.ndarray]) -> None:
        """Writes columns of equal length as csv."""
        if not self.writes:
            return
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
