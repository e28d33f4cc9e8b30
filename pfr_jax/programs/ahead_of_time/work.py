"""What running a compiled program takes: operations, a TPU's cycles, a GPU's bytes.

A loop runs as often as its condition or the compiler says; the loops over blocks of clients, whose
number is an argument, as often as the caller expects.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from pfr_jax.programs.ahead_of_time.hlo import Instruction, Module
from pfr_jax.programs.ahead_of_time.traffic import bytes_moved

# Names of what is there already; a copy that was started is counted where it starts.
FREE = frozenset("parameter constant tuple get-tuple-element bitcast while call".split())
NO_CYCLES = 2**40  # where a TPU's compiler has no figure, it says one beyond this


class Work(NamedTuple):
    """What running a program once takes."""

    operations: int
    cycles: int  # by the compiler's own estimates; 0 where it makes none
    bytes: int  # read and written, by the shapes of what an operation reads and makes


def work(module: Module, blocks: Sequence[int] = ()) -> Work:
    """What the program takes if its loops over blocks run so often, in their order.

    Args:
      module: the program.
      blocks: how often the loops run whose number of runs is an argument; further ones run once.
    """
    left = iter(blocks)

    def of_computation(name: str) -> Work:
        total, body = Work(0, 0, 0), module.computations.get(name, [])
        shapes = {instruction.name: instruction.shape for instruction in body}
        for instruction in body:
            if instruction.opcode == "while":
                times = runs(module, instruction)
                times = next(left, 1) if times is None else times
                inner = of_computation(instruction.named("body"))
            elif instruction.opcode == "call":
                times, inner = 1, of_computation(instruction.named("to_apply"))
            else:
                times, inner = 1, _alone(module, instruction, shapes)
            total = Work(*(sum_ + times * one for sum_, one in zip(total, inner, strict=True)))
        return total

    return of_computation(module.entry)


def _alone(module: Module, instruction: Instruction, shapes: dict[str, str]) -> Work:
    """Of an operation that holds no others."""
    if instruction.opcode in FREE or instruction.opcode.endswith("-done"):
        return Work(0, 0, 0)
    found = re.search(r'"estimated_cycles":"(\d+)"', instruction.line)
    cycles = int(found[1]) if found else 0
    moved = bytes_moved(module, instruction, shapes)
    return Work(1, cycles if cycles < NO_CYCLES else 0, moved)


def runs(module: Module, loop: Instruction) -> int | None:
    """How often a loop runs; None if that is an argument of it."""
    if known := re.search(r'known_trip_count":\{"n":"(\d+)"', loop.line):
        return int(known[1])
    condition = module.computations.get(loop.named("condition"), [])
    bounds = [re.search(r" constant\((\d+)\)", one.line) for one in condition]
    found = [int(bound[1]) for bound in bounds if bound]
    return found[0] if len(found) == 1 else None
