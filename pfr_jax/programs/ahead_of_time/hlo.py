"""What a compiled program's text says of it: operations, cycles, copies.

The text is HLO as the compiler left it: computations, an instruction a line. What is inside of a
fusion is one operation. A loop runs as often as its condition or the compiler says; the loops over
blocks of clients, whose number is an argument, as often as the caller expects.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.*?) ([a-z][\w\-]*)\(")
# Names of what is there already; a copy that was started is counted where it starts.
FREE = frozenset("parameter constant tuple get-tuple-element bitcast while call".split())
COPIES = ("copy", "copy-start", "transpose", "convert")
SHAPE = re.compile(r"\w+\[([\d,]+)\]")
IN_VECTOR_MEMORY = "S(1)"  # a TPU's; what is brought there is no copy but a prefetch
NO_CYCLES = 2**40  # where a TPU's compiler has no figure, it says one beyond this


class Instruction(NamedTuple):
    shape: str
    opcode: str
    line: str


class Module(NamedTuple):
    """A program by its computations."""

    computations: dict[str, list[Instruction]]
    entry: str


class Work(NamedTuple):
    """What running a program once takes."""

    operations: int
    cycles: int  # by the compiler's own estimates; 0 where it makes none


def parse(text: str) -> Module:
    """The computations of a program's text."""
    computations: dict[str, list[Instruction]] = {}
    entry, body = "", None
    for line in text.splitlines():
        if line[:1] not in ("", " ", "}") and line.rstrip().endswith("{"):
            name = line.removeprefix("ENTRY").split()[0].lstrip("%")
            body = computations[name] = []
            entry = name if line.startswith("ENTRY") else entry
        elif body is not None and (found := INSTRUCTION.match(line)):
            body.append(Instruction(found[2], found[3], line))
    return Module(computations, entry)


def work(module: Module, blocks: Sequence[int] = ()) -> Work:
    """What the program takes if its loops over blocks run so often, in their order.

    Args:
      module: the program.
      blocks: how often the loops run whose number of runs is an argument; further ones run once.
    """
    left = iter(blocks)

    def of_computation(name: str) -> Work:
        operations = cycles = 0
        for instruction in module.computations.get(name, ()):
            if instruction.opcode == "while":
                times = runs(module, instruction)
                times = next(left, 1) if times is None else times
                inner = of_computation(_named(instruction, "body"))
            elif instruction.opcode == "call":
                times, inner = 1, of_computation(_named(instruction, "to_apply"))
            else:
                times, inner = 1, _alone(instruction)
            operations += times * inner.operations
            cycles += times * inner.cycles
        return Work(operations, cycles)

    return of_computation(module.entry)


def _alone(instruction: Instruction) -> Work:
    """Of an operation that holds no others."""
    if instruction.opcode in FREE or instruction.opcode.endswith("-done"):
        return Work(0, 0)
    found = re.search(r'"estimated_cycles":"(\d+)"', instruction.line)
    cycles = int(found[1]) if found else 0
    return Work(1, cycles if cycles < NO_CYCLES else 0)


def runs(module: Module, loop: Instruction) -> int | None:
    """How often a loop runs; None if that is an argument of it."""
    if known := re.search(r'known_trip_count":\{"n":"(\d+)"', loop.line):
        return int(known[1])
    condition = module.computations.get(_named(loop, "condition"), [])
    bounds = [re.search(r" constant\((\d+)\)", one.line) for one in condition]
    found = [int(bound[1]) for bound in bounds if bound]
    return found[0] if len(found) == 1 else None


def _named(instruction: Instruction, role: str) -> str:
    found = re.search(rf"{role}=%?([\w.\-]+)", instruction.line)
    return found[1] if found else ""


def stack_copies(module: Module, stacks: Iterable[tuple[int, ...]]) -> list[str]:
    """Copies, transposes and conversions of whole stacks, each as the shape of its result.

    Args:
      module: the program.
      stacks: shapes of the stacks on one device; their order of axes and axes of length 1 do not
        matter.
    """
    wanted = {_squeezed(stack) for stack in stacks}
    found = []
    for instruction in _outside_of_fusions(module):
        named = _named(instruction, "calls")
        is_copy = instruction.opcode in COPIES or (
            instruction.opcode == "fusion" and any(kind in named for kind in COPIES)
        )
        if not is_copy or IN_VECTOR_MEMORY in instruction.shape:
            continue
        shapes = [tuple(map(int, text.split(","))) for text in SHAPE.findall(instruction.shape)]
        if any(_squeezed(shape) in wanted for shape in shapes):
            found.append(instruction.shape)
    return found


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(length for length in shape if length > 1))


def _outside_of_fusions(module: Module) -> Iterator[Instruction]:
    """Of the entry and of all loops."""
    inside = {
        _named(instruction, "calls")
        for body in module.computations.values()
        for instruction in body
        if instruction.opcode == "fusion"
    }
    for name, body in module.computations.items():
        if name not in inside:
            yield from body
