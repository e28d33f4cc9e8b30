"""Folders of checkpoints: a step is complete or absent, and damage is noticed before use.

    round_00000040/
      SHA256SUMS       of every file that the step needs, for ``sha256sum -c`` too; written last
      step.json        what is not an array
      common/          arrays that all processes have alike
      clients_0_00003/ a slice of the clients' states: of process 0, its fourth
    round_00000050.partial/    a step in the making, or what is left of one

A step may need slices of earlier steps, of clients that have not changed since; then its
SHA256SUMS names them, and ``prune`` leaves them. Arrays are written by Orbax, which reads many a
damaged file without a word: hence the sums.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from pfr_jax.errors import InputError

SUMS, CONTENT, COMMON, PARTIAL = "SHA256SUMS", "step.json", "common", ".partial"
NUMPY = "arrays.npz"
_NAME = re.compile(r"round_(\d{8})")
_LINE = re.compile(r"([0-9a-f]{64})  (\S+)")


class DamagedStep(InputError):
    """A step that must not be used; the message names the file."""


@dataclass(frozen=True)
class Step:
    """A step whose files have all been checked."""

    path: Path
    content: dict[str, Any]  # of step.json
    sums: dict[str, str]  # file, relative to the step's folder -> SHA-256

    @property
    def round(self) -> int:
        return int(self.content["round"])

    def common(self) -> dict[str, np.ndarray]:
        return load_arrays(self.path / COMMON)


def step_path(folder: Path, round: int) -> Path:
    return folder / f"round_{round:08d}"


def step_paths(folder: Path) -> list[Path]:
    """Folders of finished steps, the oldest first; not those that only lend slices."""
    if not folder.is_dir():
        return []
    named = (path for path in folder.iterdir() if _NAME.fullmatch(path.name))
    return sorted(path for path in named if (path / SUMS).exists() or (path / CONTENT).exists())


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes named arrays, this process alone; arrays without elements are left out.

    With Orbax, or by NumPy where there are several processes: Orbax has all of them write the same
    path, and arrays that are not JAX's are written by the first one only.
    """
    stored = {name: array for name, array in arrays.items() if array.size}
    if jax.process_count() == 1:
        from orbax.checkpoint import v1 as orbax  # here, since its import takes a quarter second

        context = orbax.Context()
        context.array.saving.use_compression = False  # what is learned hardly gets smaller
        with context:
            orbax.save(path.absolute(), stored)
    else:
        path.mkdir()
        np.savez(path / NUMPY, allow_pickle=False, **stored)  # type: ignore[arg-type]


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """What ``save_arrays`` wrote; every process calls it."""
    if (path / NUMPY).exists():
        with np.load(path / NUMPY, allow_pickle=False) as found:
            return dict(found)
    from orbax.checkpoint import v1 as orbax

    return {name: np.asarray(array) for name, array in orbax.load(path.absolute()).items()}


def partial_path(folder: Path, round: int) -> Path:
    """Where a step is made."""
    return folder / (step_path(folder, round).name + PARTIAL)


def begin_step(partial: Path) -> None:
    """An empty folder to fill; what earlier attempts left is removed."""
    remove_partial(partial.parent)
    partial.mkdir(parents=True)


def sums_of(folder: Path, part: str) -> dict[str, str]:
    """SHA-256 of the files of a part, which are on the disk (not only in its cache) then."""
    files = files_under(folder / part)
    return {str(path.relative_to(folder)): _sum(path, flush=True) for path in files}


def finish_step(partial: Path, content: Mapping[str, Any], sums: Mapping[str, str]) -> None:
    """Turns a filled folder into a step.

    ``sums``: those known already, among them those of the earlier slices that it needs.
    """
    _write(partial / CONTENT, json.dumps(content))
    known = {*sums, SUMS}
    parts = {
        path.relative_to(partial).parts[0]
        for path in files_under(partial)
        if str(path.relative_to(partial)) not in known
    }
    for part in sorted(parts):
        sums = {**sums, **sums_of(partial, part)}
    _write(partial / SUMS, "".join(f"{total}  {name}\n" for name, total in sums.items()))
    for place in (*(path for path in partial.rglob("*") if path.is_dir()), partial):
        _flush_folder(place)
    path = partial.with_name(partial.name.removesuffix(PARTIAL))
    if path.exists():  # of an attempt that was given up, or damaged
        shutil.rmtree(path)
    partial.rename(path)
    _flush_folder(path.parent)


def unverified(path: Path) -> Step:
    """The step in this folder, which has just been written."""
    return Step(path, json.loads((path / CONTENT).read_text()), _read_sums(path))


def verified(path: Path) -> Step:
    """The step in this folder, every byte of it checked. Raises DamagedStep."""
    sums = _read_sums(path)
    for name, expected in sums.items():
        file = path / name
        if not file.is_file():
            raise DamagedStep(f"{file}: is in {SUMS}, but missing")
        try:
            found = _sum(file)
        except OSError as error:
            raise DamagedStep(f"{file}: {error.strerror or error}") from error
        if found != expected:
            raise DamagedStep(f"{file}: its SHA-256 is not the one in {SUMS}")
    if CONTENT not in sums:
        raise DamagedStep(f"{path / SUMS}: does not name {CONTENT}")
    content = json.loads((path / CONTENT).read_text())
    parts = (COMMON, *content["slices"])
    needed = {f"{p}/{f.relative_to(path / p)}" for p in parts for f in files_under(path / p)}
    if unknown := sorted(needed - sums.keys()):
        raise DamagedStep(f"{path / SUMS}: does not name {unknown[0]}")
    return Step(path, content, sums)


def prune(folder: Path, kept: Sequence[Path]) -> None:
    """Removes all steps but these, and the slices that none of these needs."""
    needed = {(path / name).resolve() for path in kept for name in _slices(path)}
    for path in folder.iterdir():
        if not _NAME.fullmatch(path.name) or path in kept:
            continue
        (path / SUMS).unlink(missing_ok=True)  # first: from here on it is not a step
        for part in path.iterdir():
            if part.resolve() not in needed:
                shutil.rmtree(part) if part.is_dir() else part.unlink()
        if not any(path.iterdir()):
            path.rmdir()


def remove_partial(folder: Path) -> None:
    """Removes steps in the making; there is one process per run, so nobody is making them."""
    for path in folder.glob(f"*{PARTIAL}"):
        shutil.rmtree(path)


def files_under(folder: Path) -> Iterator[Path]:
    """All files of a folder; of a file itself."""
    paths = sorted(folder.rglob("*")) if folder.is_dir() else [folder]
    return (path for path in paths if path.is_file())


def _slices(path: Path) -> list[str]:
    """The slices that a step needs, relative to its folder."""
    try:
        return list(json.loads((path / CONTENT).read_text())["slices"])
    except (OSError, ValueError, KeyError):
        return []  # it is damaged, and nobody can go on from it


def _read_sums(path: Path) -> dict[str, str]:
    try:
        lines = (path / SUMS).read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        raise DamagedStep(f"{path / SUMS}: cannot be read") from None
    matches = [_LINE.fullmatch(line) for line in lines]
    if not all(matches) or not lines:
        raise DamagedStep(f"{path / SUMS}: not a list of sums")
    return {match[2]: match[1] for match in matches if match}


def _sum(path: Path, flush: bool = False) -> str:
    with path.open("rb") as file:
        total = hashlib.file_digest(file, "sha256").hexdigest()
        if flush:
            os.fsync(file.fileno())
    return total


def _write(path: Path, text: str) -> None:
    with path.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
