"""absl flags of the experiments: one per setting of ``pfr_jax.config``, made from it."""

import contextlib
import dataclasses
import sys
import typing
from collections.abc import Iterator, Sequence
from typing import Any

from absl import flags

from pfr_jax.config import Config
from pfr_jax.errors import InputError, Stopped

SECTIONS: dict[str, Any] = typing.get_type_hints(Config)  # name of the section -> its class


def define_config_flags() -> None:
    """Defines a flag for every field of every section of ``Config``."""
    for section in SECTIONS.values():
        hints = typing.get_type_hints(section)
        for setting in dataclasses.fields(section):
            _define(setting.name, hints[setting.name], setting.default, setting.metadata["help"])


def config_from_flags(values: flags.FlagValues) -> Config:
    """The settings that the parsed flags describe. Raises InputError for values out of range."""
    sections = {}
    for name, section in SECTIONS.items():
        chosen = {}
        hints = typing.get_type_hints(section)
        for setting in dataclasses.fields(section):
            value = values[setting.name].value
            if isinstance(value, list):
                value = _to_tuple(setting.name, value, typing.get_args(hints[setting.name])[0])
            chosen[setting.name] = value
        sections[name] = section(**chosen)
    return Config(**sections)


def parse_flags(argv: Sequence[str]) -> Sequence[str]:
    """absl's parser, but a bad flag ends in one line on stderr and status 1."""
    try:
        rest = flags.FLAGS(argv)
    except (flags.Error, OSError) as error:
        sys.exit(f"error: {error}")
    if len(rest) > 1:
        sys.exit(f"error: {rest[1]!r} is not a flag; settings are given as --name=value")
    return rest


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Ends the program with one line and a non-zero status instead of a traceback."""
    try:
        yield
    except InputError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        sys.exit(f"error: {where}{error.strerror or error}")
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(128 + stopped.signal)
    except KeyboardInterrupt:
        print("interrupted; what was written so far stays", file=sys.stderr)
        sys.exit(130)


def _define(name: str, hint: Any, default: Any, help: str) -> None:
    if typing.get_origin(hint) is typing.Literal:
        flags.DEFINE_enum(name, default, list(typing.get_args(hint)), help)
    elif typing.get_origin(hint) is tuple:
        flags.DEFINE_list(name, [str(value) for value in default], help)
    else:
        define: Any = {
            bool: flags.DEFINE_bool,
            int: flags.DEFINE_integer,
            float: flags.DEFINE_float,
            float | None: flags.DEFINE_float,
            str: flags.DEFINE_string,
        }[hint]
        define(name, default, help)


def _to_tuple(name: str, texts: list[str], kind: type) -> tuple[Any, ...]:
    try:
        return tuple(kind(text) for text in texts)
    except ValueError:
        raise InputError(
            f"--{name}={','.join(texts)}: want {kind.__name__} values with commas between"
        ) from None
