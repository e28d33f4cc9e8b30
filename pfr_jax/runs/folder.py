"""The files of a run, each readable at any moment, also after an interruption.

config.json      every setting in force, the environment, sizes and a hash of the ratings, what was
                 found out and dropped when they were read and the scale in force; where a
                 run was resumed with others, what these were up to which round (``earlier``)
metrics.jsonl    a flat object per evaluated round; the same numbers from the same seeds
timings.jsonl    seconds per evaluated round, apart because they never repeat
attacks.jsonl    a figure of an attack per line, where --attack_every asks for them
per_user.csv     a row per user, at the end
summary.json     the run's figures, at the end
checkpoints/     what the run can be resumed from (pfr_jax.runs.checkpoints)
tensorboard/     the log's figures once more, where --tensorboard asks for them
best/            the model that the figures are of (pfr_jax.runs.kept)
"""

import contextlib
import hashlib
import itertools
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

from pfr_jax.errors import InputError
from pfr_jax.runs.checkpoints.identity import differing_ratings, differing_settings

LOGS = ("metrics.jsonl", "timings.jsonl", "attacks.jsonl")
FILES = ("config.json", *LOGS, "per_user.csv", "summary.json")
FOLDERS = ("checkpoints", "checkpoints_retrained", "best", "tensorboard")
LOCK = ".lock"  # held while a process writes here
AT_THE_END = ("per_user.csv", "summary.json")
NOT_CHOSEN = ("environment", "ratings", "data")  # what config.json holds besides settings


def new_folder(path: Path) -> Path:
    """Makes ``path``, or the first of path-2, path-3, ... that nobody has made yet."""
    for number in itertools.count(1):
        place = path if number == 1 else path.with_name(f"{path.name}-{number}")
        with contextlib.suppress(FileExistsError):
            place.mkdir(parents=True)
            break
    return place


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
        made: bool = False,
    ) -> None:
        """Raises InputError if the folder holds a run or cannot be written.

        ``overwrite`` replaces an earlier run, ``resume`` goes on with it. ``output_dir`` is what
        the command calls the folder, if not by its path; ``made``: it has just been made for this
        run, and nobody else knows it.
        """
        self.output_dir = output_dir or path
        self.path, self.resume, self.writes = path, resume, writes
        self._lock: filelock.BaseFileLock | None = None
        self._created: list[Path] = []  # folders, the innermost first
        names = (*FILES, *FOLDERS)
        self._earlier = [name for name in names if (path / name).exists()] if writes else []
        if self._earlier and not overwrite and not resume:
            raise InputError(
                f"--output_dir={path} already holds a run ({', '.join(self._earlier)}); choose "
                "another folder, say --resume to go on with it, or --overwrite"
            )
        if not writes:
            return
        own = itertools.takewhile(self._is_below_output_dir, (path, *path.parents))
        self._created = [place for place in own if made or not place.exists()]
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

    def _is_below_output_dir(self, place: Path) -> bool:
        return place == self.output_dir or self.output_dir in place.parents

    @property
    def finished(self) -> bool:
        """Whether it held a finished run, as far as this process knows."""
        return "summary.json" in self._earlier

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
        if self.finished:
            raise InputError(
                f"{self.path} holds a finished run and no checkpoint to go on from; --overwrite "
                "makes it anew, and --checkpoint_every has it leave one after its last round"
            )
        if "config.json" in self._earlier:
            before, now = self._config(), _as_read(settings)
            texts = differing_ratings(before.get("ratings"), now["ratings"])
            chosen = {name: now[name] for name in now if name not in NOT_CHOSEN}
            if texts := [*differing_settings(before, chosen), *texts]:
                raise InputError(f"{self.path} holds another run: {'; '.join(texts)}")

    def _config(self) -> dict[str, Any]:
        return json.loads((self.path / "config.json").read_text())

    def release(self) -> None:
        """Lets others write here. Folders made for a run that never began are removed."""
        if self._lock:
            self._lock.release()
        if self._created and {path.name for path in self.path.iterdir()} <= {LOCK}:
            (self.path / LOCK).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # another of this command's runs may be there
                for place in self._created:
                    place.rmdir()

    def logged(self) -> dict[str, dict[str, Any]]:
        """Size and SHA-256 of each log that there is; on return all of it is on the disk."""
        found = {}
        for name in LOGS:
            path = self.path / name
            if not path.exists():
                continue
            with path.open("rb") as file:
                total = hashlib.file_digest(file, "sha256").hexdigest()
                os.fsync(file.fileno())
            found[name] = {"bytes": path.stat().st_size, "sha256": total}
        return found

    def go_on(
        self, logged: dict[str, dict[str, Any]], round: int, settings: dict[str, Any]
    ) -> None:
        """Takes up the run that is here after ``round``, with its logs as they were ``logged``.

        config.json gets the settings that are in force from now on. What is written at the end
        goes, unless the end has been reached.
        """
        if not self.writes:
            return
        self._cut_back(logged)
        before = self._config() if "config.json" in self._earlier else {}
        now = _as_read(settings)
        replaced = {name: before[name] for name in now if before.get(name, now[name]) != now[name]}
        earlier = before.get("earlier", [])
        if replaced:
            earlier = [*earlier, {"up_to_round": round, **replaced}]
        self.write_json("config.json", {**now, "earlier": earlier} if earlier else now)
        if round < settings["rounds"]:
            for name in AT_THE_END:
                (self.path / name).unlink(missing_ok=True)

    def _cut_back(self, logged: dict[str, dict[str, Any]]) -> None:
        """Raises InputError for a log that has changed since it was ``logged``.

        What stands behind was written after the checkpoint, and will be written again.
        """
        for name, was in logged.items():
            path = self.path / name
            begin = path.read_bytes()[: was["bytes"]] if path.exists() else b""
            if hashlib.sha256(begin).hexdigest() != was["sha256"]:
                raise InputError(
                    f"{path} is not the log that the checkpoint belongs to: its first "
                    f"{was['bytes']} bytes have changed"
                )
            os.truncate(path, was["bytes"])
        for name in LOGS:
            if name not in logged:
                (self.path / name).unlink(missing_ok=True)

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

    def lines(self, name: str) -> list[dict[str, Any]]:
        """What has been appended to a log so far; [] where there is none."""
        path = self.path / name
        if not path.exists():
            return []
        return [json.loads(line) for line in path.read_text().splitlines()]

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


def _as_read(content: dict[str, Any]) -> dict[str, Any]:
    """As it comes back from a file."""
    return json.loads(json.dumps(_plain(content)))


def _plain(value: Any) -> Any:
    """JSON has no NaN or infinity: null instead."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
