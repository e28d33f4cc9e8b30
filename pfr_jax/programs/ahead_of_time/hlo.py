"""A compiled program's text: its computations and their instructions, and copies of stacks in it.

The text is HLO as the compiler left it: computations, an instruction a line. What is inside of a
fusion is one operation.
"""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.*?) ([a-z][\w\-]*)\(")
COPIES = ("copy", "copy-start", "transpose", "convert")
SHAPE = re.compile(r"(\w+)\[([\d,]*)\]")
IN_VECTOR_MEMORY = "S(1)"  # a TPU's; what is brought there is no copy but a prefetch


class Instruction(NamedTuple):
    name: str
    shape: str
    opcode: str
    line: str

    @property
    def operands(self) -> list[str]:
        """The names of what it reads, in their order."""
        _, _, rest = self.line.partition(f" {self.opcode}(")
        return re.findall(r"%([\w.\-]+)", rest.partition(")")[0])

    def named(self, role: str) -> str:
        """The computation that it has for this: body, condition, calls, to_apply."""
        found = re.search(rf"{role}=%?([\w.\-]+)", self.line)
        return found[1] if found else ""


class Module(NamedTuple):
    """A program by its computations."""

    computations: dict[str, list[Instruction]]
    entry: str


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
            body.append(Instruction(found[1], found[2], found[3], line))
    return Module(computations, entry)


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
        named = instruction.named("calls")
        is_copy = instruction.opcode in COPIES or (
            instruction.opcode == "fusion" and any(kind in named for kind in COPIES)
        )
        if not is_copy or IN_VECTOR_MEMORY in instruction.shape:
            continue
        shapes = [dimensions(text) for _, text in SHAPE.findall(instruction.shape)]
        if any(_squeezed(shape) in wanted for shape in shapes):
            found.append(instruction.shape)
    return found


def dimensions(text: str) -> tuple[int, ...]:
    """Of an array, as they stand in the brackets behind its type."""
    return tuple(map(int, text.split(","))) if text else ()


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(length for length in shape if length > 1))


def _outside_of_fusions(module: Module) -> Iterator[Instruction]:
    """Of the entry and of all loops."""
    inside = {
        instruction.named("calls")
        for body in module.computations.values()
        for instruction in body
        if instruction.opcode == "fusion"
    }
    for name, body in module.computations.items():
        if name not in inside:
            yield from body
