"""Parsed ratings kept on disk, so that an unchanged file is parsed once.

An entry is named after a hash of the files' content and of all that decides how they are read, so
it is never out of date. It holds MAGIC, the SHA-256 of all that follows, one line of JSON and
arrays in NumPy's own format. An entry that is not exactly what was written is built
again. Nothing is ever deleted: the directory may be, at any time.
"""

import dataclasses
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pfr_jax.data.formats.files import PARSER_VERSION
from pfr_jax.data.table import Ratings, Scale

MAGIC = b"pfr_jax ratings 1\n"  # another number for another layout of entries
_DIGEST_SIZE = hashlib.sha256().digest_size
_log = logging.getLogger(__name__)


def read_cached(
    paths: str | Path | Sequence[str | Path],
    read: Callable[[], Ratings],
    settings: Mapping[str, Any],
    cache_dir: str | Path,
) -> Ratings:
    """What `read` makes of the files `paths`, from the cache where it has been made before.

    `settings` is all that `read` depends on besides those files: columns, scale, name, filters.
    Values are what JSON can hold, or dataclasses of such. The code itself counts by
    PARSER_VERSION and the fields of Ratings. Raises only what `read` raises; trouble with the
    cache is logged as a warning.
    """
    files = [Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
    try:
        before = _stamps(files)
        key = _key(files, settings)
    except OSError:
        return read()  # which can say better what is wrong with the file
    entry = Path(cache_dir) / f"{key}.ratings"
    try:
        return _load(entry, key)
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        _log.warning("%s: unusable entry of the cache (%s); reading the data again", entry, error)
    ratings = read()
    try:
        if _stamps(files) == before:  # else the key may belong to other content
            _store(entry, key, ratings)
    except OSError as error:
        _log.warning("%s: cannot be written (%s); going on without the cache", entry, error)
    return ratings


def fingerprint(*arrays: np.ndarray) -> str:
    """A SHA-256 of the arrays' types, shapes and content."""
    total = hashlib.sha256()
    for array in arrays:
        total.update(f"{array.dtype}{array.shape}".encode())
        total.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return total.hexdigest()


def _stamps(paths: list[Path]) -> list[tuple[int, int, int]]:
    """What changes when a file is replaced or written to."""
    stats = [path.stat() for path in paths]
    return [(stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in stats]


def _key(paths: list[Path], settings: Mapping[str, Any]) -> str:
    """The name counts as well as the content: its ending says how to read, and it may be shown."""
    files = []
    for path in paths:
        with path.open("rb") as file:
            files.append([path.name, hashlib.file_digest(file, "sha256").hexdigest()])
    fields = [field.name for field in dataclasses.fields(Ratings)]
    parts = [MAGIC.decode(), PARSER_VERSION, fields, files, settings]
    text = json.dumps(parts, sort_keys=True, default=_from_dataclass)
    return hashlib.sha256(text.encode()).hexdigest()


def _from_dataclass(value: Any) -> list:
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        raise TypeError(f"{value!r} cannot be a setting of cached data")
    return [type(value).__name__, dataclasses.asdict(value)]


def _store(entry: Path, key: str, ratings: Ratings) -> None:
    """Write `entry` under another name first: whoever reads it finds all of it or nothing."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    descriptor, unfinished = tempfile.mkstemp(dir=entry.parent, suffix=".part")
    try:
        with open(descriptor, "w+b") as file:
            _write(file, key, ratings)
        os.replace(unfinished, entry)
    finally:
        Path(unfinished).unlink(missing_ok=True)


def _write(file: Any, key: str, ratings: Ratings) -> None:
    values = {field.name: getattr(ratings, field.name) for field in dataclasses.fields(ratings)}
    arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
    others = {name: value for name, value in values.items() if name not in arrays}
    others["scale"] = dataclasses.asdict(ratings.scale)
    head = {"key": key, "arrays": list(arrays), "others": others}
    file.write(MAGIC + bytes(_DIGEST_SIZE))
    file.write(json.dumps(head).encode() + b"\n")
    for array in arrays.values():
        np.save(file, array, allow_pickle=False)
    file.seek(len(MAGIC) + _DIGEST_SIZE)
    digest = hashlib.file_digest(file, "sha256").digest()
    file.seek(len(MAGIC))
    file.write(digest)


def _load(entry: Path, key: str) -> Ratings:
    """Raises OSError where it cannot be read, ValueError where it is not what was written."""
    with entry.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise ValueError("foreign, or of another version")
        digest = file.read(_DIGEST_SIZE)
        if hashlib.file_digest(file, "sha256").digest() != digest:
            raise ValueError("damaged")
        file.seek(len(MAGIC) + _DIGEST_SIZE)
        head = json.loads(file.readline())
        if head["key"] != key:
            raise ValueError("of other data")
        values: dict[str, Any] = head["others"]
        for name, value in values.items():
            values[name] = tuple(value) if isinstance(value, list) else value
        for name in head["arrays"]:
            values[name] = np.load(file, allow_pickle=False)
    values["scale"] = Scale(**values["scale"])
    return Ratings(**values)
