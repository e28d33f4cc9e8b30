"""Compiles every program of the simulator for accelerators that are not here.

    pfr compile-check --topology=v5e:2x2 --sizes=ml10m --only=personalfr

No accelerator is needed, nor a driver: libtpu (pip install ".[aot]") compiles for a TPU, the CUDA
plugin (".[aot-cuda]") for a GPU; --topology=here is for the devices that are here. Shapes are
those of a run on synthetic ratings of a size. Of each program the table says whether it compiles
and fits, what it needs of a chip's memory, how many operations it runs, and how long these take: on
a TPU by the compiler's own cycles (what they wait for, and gathers of rows, are not in those), on a
GPU by the bytes they read and write and 3 us for each. Every setting of pfr run is a flag, too.
"""

import copy
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import pandas as pd
from absl import flags
from rich.console import Console

from pfr_jax.config import Config
from pfr_jax.data.synthetic import PRESETS
from pfr_jax.errors import InputError
from pfr_jax.jax_setup import set_up_jax
from pfr_jax.programs.ahead_of_time.cases import Case, cases_of
from pfr_jax.programs.ahead_of_time.chips import HERE, chip_of, mesh_of
from pfr_jax.programs.ahead_of_time.measure import COLUMNS, Figures, measure
from pfr_jax.programs.ahead_of_time.parts import PARTS, Program
from pfr_jax.programs.ahead_of_time.shapes import bare_simulation, users_like
from pfr_jax.programs.flags import (
    config_from_flags,
    define_config_flags,
    one_line_errors,
    with_flagfiles,
)
from pfr_jax.simulation.memory import estimate

SIZES = {  # the synthetic data set of a size
    "ml100k": "synthetic",
    "ml10m": "synthetic-ml10m",
    "ml32m": "synthetic-ml32m",
    "million": "synthetic-million",
}
_TOPOLOGIES = flags.DEFINE_list(
    "topology", ["v5e:2x2"], "For what: v4:2x2x1, v5e:2x2, v6e:2x2, h100, t4, here."
)
_CHIPS = flags.DEFINE_list("chips", ["1"], "Devices that the clients are divided among.")
_SIZES = flags.DEFINE_list("sizes", ["ml100k", "ml10m"], f"Of what size: {', '.join(SIZES)}.")
_ONLY = flags.DEFINE_string("only", "", "Programs whose name this regular expression finds.")
_QUICK = flags.DEFINE_bool("quick", False, "A few small programs that compile in seconds.")
_OUTPUT = flags.DEFINE_string(
    "output", "", "CSV file that gets the rows; rows of other programs in it stay. Empty: none."
)


def config_of(case: Case) -> Config:
    """The settings of the command line, with those of the case over them."""
    values = copy.deepcopy(flags.FLAGS)
    values(["", *with_flagfiles(case.flags)])
    return config_from_flags(values)


def given_settings() -> str:
    """The settings that the command line changes in all programs, as flags."""
    given = [flags.FLAGS[name] for name in Config().flat() if flags.FLAGS[name].present]
    return " ".join(flag.serialize() for flag in given)


def check(topology: str, chips: int, size: str, case: Case) -> Figures:
    """The row of one program."""
    mesh = mesh_of(topology, chips)

    def make() -> tuple[Program, float | None]:
        config = config_of(case)
        users = users_like(PRESETS[SIZES[size]], config.data)
        simulation = bare_simulation(config, users, mesh)
        expected = estimate(simulation).on_device if case.part == "round" else None
        return PARTS[case.part](simulation), expected

    key = topology, chips, size, case.name, given_settings()
    return measure(key, make, mesh, chip_of(topology))


def chosen_cases(size: str) -> list[Case]:
    """Those of --only and --quick."""
    try:
        cases = [case for case in cases_of(size) if re.search(_ONLY.value, case.name)]
    except re.error as error:
        raise InputError(f"--only={_ONLY.value}: no regular expression: {error}") from None
    return [case for case in cases if case.quick or not _QUICK.value]


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of an earlier table."""
    table = pd.read_csv(path).astype(object)
    table[["settings", "error"]] = table[["settings", "error"]].fillna("")
    rows = table.where(table.notna(), None).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]


def keep(row: Figures, path: Path) -> None:
    """Puts a row into the file, in the place of an earlier one of the same program."""
    rows = {row.key: row.__dict__}
    if path.is_file():
        before = [Figures(**one) for one in read_rows(path)]
        rows = {one.key: one.__dict__ for one in before} | rows
    whole = dict.fromkeys(("stack_copies", "operations"), "Int64")
    table = pd.DataFrame(rows.values(), columns=list(COLUMNS)).astype(whole)
    table.to_csv(path, index=False, float_format="%.4g")


def line(row: Figures) -> str:
    """A row for people."""
    named = f"{row.topology} x{row.chips} {row.size} {row.program}"
    if row.settings:
        named += f" {row.settings}"
    if row.error:
        needs = f"needs {row.needed_gib:.1f} GiB; " if row.needed_gib else ""
        return f"{named}: does not compile: {needs}{row.error}"
    parts = [
        f"{row.needed_gib:.2f} GiB" + (f" of {row.chip_gib:.2f}" if row.chip_gib else ""),
        f"(arguments {row.arguments_gib:.2f}, outputs {row.outputs_gib:.2f}, aliases "
        f"{row.aliases_gib:.2f}, temporaries {row.temporaries_gib:.2f})",
        f"estimate {row.estimate_to_needed:.2f} of it" if row.estimate_to_needed else "",
        f"{row.stack_copies:.0f} copies of stacks",
        f"{row.operations:,.0f} operations",
        f"{row.milliseconds:.3g} ms estimated" if row.milliseconds else "",
        f"compiled in {row.compile_cpu_seconds:.0f} CPU s",
    ]
    return f"{named}: {', '.join(part for part in parts if part)}"


def run(console: Console) -> None:
    if unknown := sorted(set(_SIZES.value) - set(SIZES)):
        raise InputError(f"--sizes={','.join(unknown)}: want some of {', '.join(SIZES)}")
    if not all(text.isdecimal() and int(text) for text in _CHIPS.value):
        raise InputError(f"--chips={','.join(_CHIPS.value)}: want numbers of devices")
    sizes = ["ml100k"] if _QUICK.value else _SIZES.value
    work = [
        (topology, int(chips), size, case)
        for topology in _TOPOLOGIES.value
        for chips in _CHIPS.value
        for size in sizes
        for case in chosen_cases(size)
    ]
    if not work:
        raise InputError(f"--only={_ONLY.value}: no program is called so")
    console.print(f"jax {jax.__version__}; products of float32 in full; GiB are of one chip")
    broken = 0
    for topology, chips, size, case in work:
        row = check(topology, chips, size, case)
        console.print(line(row), soft_wrap=True, highlight=False)
        broken += bool(row.error) and row.needed_gib is None
        if _OUTPUT.value:
            keep(row, Path(_OUTPUT.value))
    if broken:
        raise InputError(f"{broken} programs do not compile, whatever the memory")


def main(argv: Sequence[str]) -> None:
    del argv
    with one_line_errors():
        if HERE not in _TOPOLOGIES.value:
            # Else JAX looks for the TPU that libtpu was installed for.
            jax.config.update("jax_platforms", "cpu")
        set_up_jax()
        # What is kept of such programs cannot be loaded again.
        jax.config.update("jax_enable_compilation_cache", False)
        run(Console())


define_config_flags()
