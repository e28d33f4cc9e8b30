"""The command ``pfr``: the name of a program and its flags."""

import difflib
import gc
import importlib
import sys
from collections.abc import Sequence
from types import ModuleType

import pfr_jax
from pfr_jax import programs

PROGRAMS = {
    "run": "trains one federation and reports its figures",
    "recommend": "shows what a trained run recommends, or writes everybody's lists",
    "predict": "predicts ratings for the pairs of a file",
    "export": "writes a run's model for other programs",
    "attack": "measures what the server learns from a run's uploads",
    "report": "makes a page about one or several finished runs",
    "compare": "compares runs user by user",
    "reproduce": "makes the paper's tables and plots",
    "search": "searches settings on validation splits",
    "benchmark": "measures throughput against PyTorch (from the repository)",
    "split": "writes the parts of a split, for other tools or to be read again",
    "synthesize": "writes synthetic ratings in the format of a known data set",
    "compile-check": "compiles all programs for accelerators that are not here",
    "chaos": "kills runs and damages checkpoints, and sees what becomes of them",
}


def main() -> None:
    """Runs the program that the first argument names."""
    programs.heed_early_interrupts()
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name == "--version":
        print(f"pfr_jax {pfr_jax.__version__}")
    elif name in ("", "-h", "--help", "help"):
        print(_overview())
        sys.exit(0 if name else 1)
    elif name not in PROGRAMS:
        near = difflib.get_close_matches(name, PROGRAMS, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        sys.exit(f"error: there is no program {name!r}{hint}\n\n{_overview()}")
    else:
        sys.argv[:2] = [f"pfr {name}"]
        run_program(name)


def run_program(name: str) -> None:
    """Runs one of PROGRAMS with the flags of sys.argv."""
    gc.disable()  # what is imported stays: looking through it takes a sixth of the time
    from absl import app

    from pfr_jax.programs.flags import parse_flags
    from pfr_jax.programs.help import help_text

    module: ModuleType = importlib.import_module(f"pfr_jax.programs.{name.replace('-', '_')}")
    gc.freeze()
    gc.enable()

    def parse(argv: Sequence[str]) -> Sequence[str]:
        if any(argument in ("-h", "--help", "--helpshort", "--helpfull") for argument in argv[1:]):
            print(help_text(module))
            sys.exit(0)
        return parse_flags(argv, getattr(module, "ARGUMENTS", ()))

    app.run(module.main, flags_parser=parse)


def _overview() -> str:
    width = max(map(len, PROGRAMS))
    lines = [f"  pfr {name:{width}}  {what}" for name, what in PROGRAMS.items()]
    usage, more = "usage: pfr PROGRAM [--flag=value ...]", "pfr PROGRAM --help lists its flags."
    return "\n".join([usage, "", *lines, "", more])
