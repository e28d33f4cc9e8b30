"""absl flags of the experiments: one per setting of ``pfr_jax.config``, made from it."""

import _thread
import contextlib
import dataclasses
import difflib
import os
import signal
import sys
import time
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from absl import flags
from absl import logging as absl_logging

import pfr_jax
from pfr_jax import programs
from pfr_jax.config import Config
from pfr_jax.errors import InputError, Stopped

SECTIONS: dict[str, Any] = typing.get_type_hints(Config)  # name of the section -> its class
PRESETS = Path(pfr_jax.__file__).with_name("presets")
NUMBERS = {int: "whole numbers", float: "numbers"}


def define_config_flags() -> None:
    """Defines a flag for every field of every section of ``Config``."""
    for section in SECTIONS.values():
        hints = typing.get_type_hints(section)
        for setting in dataclasses.fields(section):
            hint = hints[setting.name]
            if choices := setting.metadata["choices"]:
                hint = typing.Literal[choices]
            _define(setting.name, hint, setting.default, setting.metadata["help"])


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


def parse_flags(argv: Sequence[str], arguments: Sequence[str] = ()) -> Sequence[str]:
    """absl's parser, but a bad flag ends in one line on stderr and status 1.

    ``arguments`` are the names of what may stand beside the flags; with "..." at their end there
    may be more of the last one.
    """
    try:
        given = with_flagfiles(argv[1:])
        _check_that_values_are_given(given)
        rest = flags.FLAGS([argv[0], *given])
    except (flags.Error, ValueError) as error:
        sys.exit(f"error: {_in_our_words(error)}")
    if len(rest) > 1 + len(arguments) and "..." not in arguments:
        sys.exit(
            f"error: {rest[1 + len(arguments)]!r} is not a flag; settings are given as --name=value"
        )
    return rest


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Ends the program with one line and a non-zero status instead of a traceback."""
    absl_logging.set_verbosity(absl_logging.FATAL)  # Orbax logs every folder, and what it raises
    interrupts, handler = _Interrupts(), signal.getsignal(signal.SIGINT)
    if handler in (programs.end_at_once, signal.default_int_handler):
        signal.signal(signal.SIGINT, interrupts.handle)  # there is something to clear up
    before, sys.unraisablehook = sys.unraisablehook, _unless_interrupted
    try:
        yield
    except InputError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        sys.exit(f"error: {where}{error.strerror or error}")
    except RuntimeError as error:  # JAX has no class of its own for a device that is not there
        if not str(error).startswith("Unable to initialize backend"):
            raise
        sys.exit(f"error: {str(error).splitlines()[0]}")
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(128 + stopped.signal)
    except KeyboardInterrupt:
        interrupts.heard = True
        print(programs.INTERRUPTED, file=sys.stderr)
        _end_now(128 + signal.SIGINT)
    finally:
        interrupts.heard = True
        sys.unraisablehook = before
        if signal.getsignal(signal.SIGINT) == interrupts.handle:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _end_now(status: int) -> NoReturn:
    """Ends the process without what Python clears up at its end.

    Of some 200 interrupted runs on a busy machine one crashed: XLA's threads may still be at work
    then. What the program wrote is closed by now.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


class _Interrupts:
    """A Ctrl-C until the program has heard it.

    A KeyboardInterrupt is lost where nobody can be told of it, as in a callback at a garbage
    collection (JAX has one), and where somebody catches everything. Then it comes again.
    """

    def __init__(self) -> None:
        self.heard, self._begun = False, False

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Handles SIGINT."""
        del number, frame
        if not self._begun:
            self._begun = True
            # No threading.Thread: its locks may be held by what has been interrupted.
            _thread.start_new_thread(self._again, ())
        raise KeyboardInterrupt

    def _again(self) -> None:
        """Sends it every second, and a last time to who takes such signals instead of this."""
        taken = False
        while not taken:
            time.sleep(1.0)
            if self.heard:
                return
            taken = signal.getsignal(signal.SIGINT) != self.handle
            os.kill(os.getpid(), signal.SIGINT)


def _unless_interrupted(lost: "sys.UnraisableHookArgs") -> None:
    """Says nothing of a lost Ctrl-C, which comes again."""
    if lost.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(lost)


def with_flagfiles(arguments: Sequence[str]) -> list[str]:
    """The arguments with the lines of flag files in their place, those of presets before all."""
    for argument, after in zip(arguments, [*arguments[1:], ""], strict=False):
        if argument.lstrip("-") in ("flagfile", "flagfile=") and argument.startswith("-"):
            if argument.endswith("=") or not after or after.startswith("-"):
                raise flags.Error(f"--flagfile: name a file of flags; {_presets()}")
    # What is said beside a preset holds, on whichever side of it.
    given = sorted(arguments, key=lambda argument: not argument.startswith("--preset="))
    try:
        while True:
            given = flags.FLAGS.read_flags_from_files(given, force_gnu=False)
            if not any(argument.startswith("--preset") for argument in given):
                return given
            given = [_as_flagfile(argument) for argument in given]
    except flags.CantOpenFlagFileError as error:
        cause = error.__context__
        assert isinstance(cause, OSError)
        reason = (cause.strerror or "cannot be read").lower()
        raise flags.Error(f"--flagfile={cause.filename}: {reason}; {_presets()}") from None
    except UnicodeDecodeError:
        raise flags.Error(f"--flagfile: a file that is no text; {_presets()}") from None


def _as_flagfile(argument: str) -> str:
    """``--preset=NAME`` as the flag file it stands for; a preset may name another one."""
    flag, _, name = argument.partition("=")
    if flag != "--preset":
        return argument
    if not preset_path(name).is_file():
        raise flags.Error(f"{argument}: there is no such preset; {_presets()}")
    return f"--flagfile={preset_path(name)}"


def preset_path(name: str) -> Path:
    """The file of a preset that comes with the package."""
    return PRESETS / f"{name}.flags"


def _presets() -> str:
    """What flag files come with the program."""
    return (
        f"--preset=NAME takes one of {', '.join(sorted(p.stem for p in PRESETS.glob('*.flags')))}"
    )


def _check_that_values_are_given(arguments: Sequence[str]) -> None:
    """absl would take the flag after a bare ``--dataset`` for its value."""
    for argument, after in zip(arguments, [*arguments[1:], "--"], strict=False):
        name = argument.lstrip("-")
        if not argument.startswith("-") or name not in flags.FLAGS:
            continue
        if not flags.FLAGS[name].boolean and after.startswith("--"):
            raise flags.Error(f"--{name}: has no value; give one as --{name}=VALUE")


def _in_our_words(error: flags.Error | ValueError) -> str:
    """What is wrong with a flag, without absl's or Python's own messages."""
    text, cause = str(error), error.__context__
    if isinstance(error, flags.UnrecognizedFlagError):
        near = difflib.get_close_matches(error.flagname, list(flags.FLAGS), n=3)
        hint = f"did you mean {' or '.join(f'--{name}' for name in near)}? " if near else ""
        return f"--{error.flagname}: there is no such flag; {hint}--helpfull lists all"
    if not isinstance(error, flags.IllegalFlagValueError) or cause is None:
        return text.replace(" does not take an argument", ": takes no value")
    given = text.removeprefix("flag ").removesuffix(f": {cause}")
    flag = flags.FLAGS[given.removeprefix("--").partition("=")[0]]
    return f"{given}: want {_wanted(flag)}"


def _wanted(flag: flags.Flag) -> str:
    """The values that a flag takes."""
    if flag.boolean:
        return "true or false"
    if isinstance(flag, flags.EnumFlag):
        return f"one of {', '.join(flag.parser.enum_values)}"
    if isinstance(flag.parser, flags.BaseListParser):
        return "values with commas between"
    return flag.parser.syntactic_help.replace("an integer", "a whole number").replace(
        "integer", "whole number"
    )


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
            f"--{name}={','.join(texts)}: want {NUMBERS[kind]} with commas between"
        ) from None
