"""Figures kept on disk, so that what is computed of a split is computed once.

An entry is a file of JSON, named after a hash of all that its content depends on. It holds that
key, too, and a hash of the content: an entry that is not exactly what was written is made again.
Nothing is ever deleted: the directory may be, at any time.
"""

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

FORMAT = 1  # another number for another layout of entries
_log = logging.getLogger(__name__)


def kept(
    folder: Path, key: Mapping[str, Any], compute: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """What ``compute`` returns, from ``folder`` where it has been computed with this key before.

    Args:
      folder: is made where it is not there.
      key: all that the content depends on, as JSON can hold it.
      compute: the content, likewise; numbers come back as they were, NaN too.

    Returns:
      The content. Raises only what ``compute`` raises; trouble with the folder is logged.
    """
    name = _text({"format": FORMAT, **key})
    entry = folder / f"{_hash(name)}.json"
    try:
        return _load(entry, name)
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        _log.warning("%s: unusable figures (%s); computing them again", entry, error)
    content = compute()
    try:
        _store(entry, name, content)
    except OSError as error:
        _log.warning("%s: cannot be written (%s); going on without", entry, error)
    return content


def _load(entry: Path, name: str) -> dict[str, Any]:
    """Raises OSError where it cannot be read, ValueError where it is not what was written."""
    found = json.loads(entry.read_bytes())
    if not isinstance(found, dict) or found.get("key") != json.loads(name):
        raise ValueError("of something else")
    content: dict[str, Any] = found.get("content", {})
    if found.get("sha256") != _hash(_text(content)):
        raise ValueError("damaged")
    return content


def _store(entry: Path, name: str, content: dict[str, Any]) -> None:
    """Writes under another name first: whoever reads it finds all of it or nothing."""
    whole = {"key": json.loads(name), "content": content, "sha256": _hash(_text(content))}
    entry.parent.mkdir(parents=True, exist_ok=True)
    descriptor, unfinished = tempfile.mkstemp(dir=entry.parent, suffix=".part")
    try:
        with open(descriptor, "w") as file:
            file.write(json.dumps(whole, indent=1))
        os.replace(unfinished, entry)
    finally:
        Path(unfinished).unlink(missing_ok=True)


def _text(content: Mapping[str, Any]) -> str:
    return json.dumps(content, sort_keys=True)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
