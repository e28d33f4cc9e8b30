"""A run's settings, read back from its folder."""

import dataclasses
import json
import typing
from pathlib import Path
from typing import Any

from pfr_jax.config import Config
from pfr_jax.errors import InputError


def config_of(folder: Path) -> Config:
    """The settings in a run's config.json.

    Raises:
      InputError: there is no run, or it was made by another version.
    """
    path = folder / "config.json"
    try:
        content = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise InputError(f"{folder} holds no run that can be read: config.json: {error}") from None
    sections: dict[str, Any] = {}
    for name, section in typing.get_type_hints(Config).items():
        missing = [f.name for f in dataclasses.fields(section) if f.name not in content]
        if missing:
            raise InputError(
                f"{path} has no {', '.join(missing)}: the run was made by another version of this "
                "program"
            )
        values = {f.name: _as_set(content[f.name]) for f in dataclasses.fields(section)}
        sections[name] = section(**values)
    return Config(**sections)


def _as_set(value: Any) -> Any:
    """JSON has lists where settings have tuples."""
    return tuple(value) if isinstance(value, list) else value
