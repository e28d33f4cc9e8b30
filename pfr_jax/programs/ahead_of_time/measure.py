"""Compiles one program and reads what its compiler says of it."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import jax
from jax.sharding import Mesh

from pfr_jax.models.item_rows import tree_bytes
from pfr_jax.population.devices import device_bytes
from pfr_jax.programs.ahead_of_time.chips import Chip
from pfr_jax.programs.ahead_of_time.hlo import parse, stack_copies
from pfr_jax.programs.ahead_of_time.parts import Program
from pfr_jax.programs.ahead_of_time.work import work
from pfr_jax.simulation.layout import bytes_needed

GIB = 2**30
# How a TPU's compiler says that a program does not fit: "Used 42.01G of 15.75G hbm.", or of the
# temporaries alone "the total memory required for HLO temporaries (57.97G) exceeds".
TOO_MUCH = re.compile(r"Used ([\d.]+)G of [\d.]+G hbm|HLO temporaries \(([\d.]+)G\) exceeds")
STACK = 0.05  # share of what clients keep, from which on an array of it is a stack of matrices
Key = tuple[str, int, str, str, str]  # topology, chips, size, program, settings


@dataclass(frozen=True)
class Figures:
    """A row of the table. GiB are of one chip; None: it is not known."""

    topology: str
    chips: int
    size: str
    program: str
    settings: str = ""  # that the program has beside its own
    error: str = ""  # in one line; "": it compiles
    fits: bool | None = None
    chip_gib: float | None = None
    # Arguments, outputs that are no aliases, temporaries; if it does not compile, what is told.
    needed_gib: float | None = None
    estimate_gib: float | None = None  # what the simulator itself expects
    estimate_to_needed: float | None = None
    arguments_gib: float | None = None
    outputs_gib: float | None = None
    aliases_gib: float | None = None  # outputs in the place of arguments: donation honoured
    temporaries_gib: float | None = None
    stack_copies: int | None = None
    operations: int | None = None
    milliseconds: float | None = None  # by ``Chip.seconds``
    code_mib: float | None = None
    compile_cpu_seconds: float | None = None

    @property
    def key(self) -> Key:
        """What a row is of."""
        return self.topology, self.chips, self.size, self.program, self.settings


COLUMNS = tuple(field.name for field in fields(Figures))


def measure(
    key: Key,
    make: Callable[[], tuple[Program, float | None]],
    mesh: Mesh,
    chip: Chip,
) -> Figures:
    """Compiles a program, whatever becomes of it.

    Args:
      key: what the row is of, see ``Figures.key``.
      make: the program, and the bytes on a chip that the simulator expects it to need.
      mesh: the devices.
      chip: of what kind they are.

    Returns:
      A row: of a program that does not compile the error, and what it would need if that is told.
    """
    there = device_bytes(mesh) / mesh.size / GIB
    found: dict[str, Any] = {"chip_gib": there or None}
    begun = time.process_time()
    try:
        program, expected = make()
        if expected is not None:
            found["estimate_gib"] = expected / GIB
        lowered = program.function.lower(*program.arguments)
        begun = time.process_time()
        compiled = lowered.compile()
        found["compile_cpu_seconds"] = time.process_time() - begun
        found |= _memory(compiled.memory_analysis())
        found |= _work(compiled.as_text(), program, mesh, chip)
    except Exception as error:  # any: a compiler's are of many kinds, and the next row counts, too
        found["compile_cpu_seconds"] = time.process_time() - begun
        found |= _of_failure(error)
    needed = found.get("needed_gib")
    if needed is not None:
        if there:
            found["fits"] = not found.get("error") and needed <= there
        if found.get("estimate_gib"):
            found["estimate_to_needed"] = found["estimate_gib"] / needed
    return Figures(*key, **found)


def _memory(analysis: Any) -> dict[str, float]:
    arguments, outputs = analysis.argument_size_in_bytes, analysis.output_size_in_bytes
    aliases, temporaries = analysis.alias_size_in_bytes, analysis.temp_size_in_bytes
    return {
        "needed_gib": bytes_needed(analysis) / GIB,
        "arguments_gib": arguments / GIB,
        "outputs_gib": outputs / GIB,
        "aliases_gib": aliases / GIB,
        "temporaries_gib": temporaries / GIB,
        "code_mib": analysis.generated_code_size_in_bytes / 2**20,
    }


def _work(text: str, program: Program, mesh: Mesh, chip: Chip) -> dict[str, Any]:
    module = parse(text)
    found = work(module, program.blocks)
    stacks = [
        (leaf.shape[0] // mesh.size, *leaf.shape[1:])
        for leaf in jax.tree.leaves(program.stacks)
        if tree_bytes(leaf) >= STACK * tree_bytes(program.stacks)
    ]
    return {
        "operations": found.operations,
        "milliseconds": 1e3 * chip.seconds(found) or None,
        "stack_copies": len(stack_copies(module, stacks)),
    }


def _of_failure(error: Exception) -> dict[str, Any]:
    text = str(error)
    found: dict[str, Any] = {"error": f"{type(error).__name__}: {' '.join(text.split())[:160]}"}
    if too_much := TOO_MUCH.search(text):
        found["needed_gib"] = float(too_much[1] or too_much[2])
    return found
