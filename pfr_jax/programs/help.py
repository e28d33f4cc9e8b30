"""--help: what a program does, its own flags, and the settings by topic."""

import inspect
import shutil
import textwrap
from types import ModuleType

from absl import flags

from pfr_jax.programs.flags import SECTIONS


def help_text(module: ModuleType) -> str:
    """Of a program: its docstring, then every flag under the topic it belongs to."""
    width = max(40, min(100, shutil.get_terminal_size().columns))
    defined = flags.FLAGS.flags_by_module_dict()
    own = [flag for flag in defined.get(module.__name__, []) if flag.help]
    parts = [inspect.getdoc(module) or "", _group("Of this program", own, width)]
    settings = {flag.name: flag for flag in defined.get("pfr_jax.programs.flags", [])}
    if settings:
        what = _wrapped("The flags of a file that comes with the package.", width)
        parts.append(f"Presets\n\n  --preset=NAME\n{what}")
    for section in SECTIONS.values() if settings else ():
        names = [name for name in section.__dataclass_fields__ if name in settings]
        title = (inspect.getdoc(section) or "").split("\n")[0].rstrip(".")
        parts.append(_group(title, [settings[name] for name in names], width))
    return "\n\n".join(part for part in parts if part)


def _group(title: str, members: list[flags.Flag], width: int) -> str:
    if not members:
        return ""
    return "\n\n".join([title, *(_one(flag, width) for flag in members)])


def _one(flag: flags.Flag, width: int) -> str:
    prefix = "--[no]" if flag.boolean else "--"
    default = (flag.default_as_str or "").strip("'")
    heading = f"  {prefix}{flag.name}"
    if default not in ("", "None"):
        heading += f" (default: {default})"
    return f"{heading}\n{_wrapped(flag.help, width)}"


def _wrapped(text: str, width: int) -> str:
    indent = " " * 6
    return textwrap.fill(text, width, initial_indent=indent, subsequent_indent=indent)
