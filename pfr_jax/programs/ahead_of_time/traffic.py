"""How many bytes an operation of a compiled program reads and writes.

By the shapes: each operand is read whole, and the result written. But of what is gathered or sliced
only the rows are read, and what is scattered or updated in place is written there alone.
"""

import math
from collections.abc import Iterator

from pfr_jax.programs.ahead_of_time.hlo import SHAPE, Instruction, Module, dimensions

ITEM_BYTES = {"pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "bf16": 2, "f16": 2}  # else 4
ITEM_BYTES |= dict.fromkeys(("s64", "u64", "f64", "c64"), 8)
READ_IN_PART = ("gather", "dynamic-slice", "slice")
# Which operand is the update, and whether what is there is read before it is written.
WRITTEN_IN_PART = {"scatter": (2, True), "dynamic-update-slice": (1, False)}
SAME = ("bitcast", "reshape")


def size_of(shape: str) -> int:
    """Bytes of an array, or of all arrays of a tuple."""
    return sum(
        ITEM_BYTES.get(kind, 4) * math.prod(dimensions(text)) for kind, text in SHAPE.findall(shape)
    )


def bytes_moved(module: Module, instruction: Instruction, shapes: dict[str, str]) -> int:
    """Read and written by one operation.

    Args:
      module: the program, with the computations that fusions call.
      instruction: the operation.
      shapes: of everything in its computation, by name.
    """
    body = module.computations.get(instruction.named("calls"))
    if instruction.opcode == "fusion" and body:
        read = sum(_read_of(one, body) for one in body if one.opcode == "parameter")
        return read + sum(_written(one, body) for one in _results(body))
    operands = [size_of(shapes.get(name, "")) for name in instruction.operands]
    if instruction.opcode.endswith("-start"):  # whose result holds what it reads, too
        return 2 * sum(operands)
    if instruction.opcode in READ_IN_PART:
        return 2 * size_of(instruction.shape) + sum(operands[1:])
    if instruction.opcode in WRITTEN_IN_PART:
        update, reads = WRITTEN_IN_PART[instruction.opcode]
        return sum(operands[1:]) + (1 + reads) * operands[update]
    return sum(operands) + size_of(instruction.shape)


def _results(body: list[Instruction]) -> list[Instruction]:
    """What a fusion makes: its root, or all that a tuple there holds; looks through bitcasts."""
    named = {one.name: one for one in body}

    def source(one: Instruction) -> Instruction:
        return source(named[one.operands[0]]) if one.opcode in SAME else one

    root = source(next(one for one in body if one.line.lstrip().startswith("ROOT")))
    return [source(named[name]) for name in root.operands] if root.opcode == "tuple" else [root]


def _written(result: Instruction, body: list[Instruction]) -> int:
    """What a fusion writes of one of its results, and reads there to add to it."""
    if result.opcode not in WRITTEN_IN_PART:
        return size_of(result.shape)
    update, reads = WRITTEN_IN_PART[result.opcode]
    shapes = {one.name: one.shape for one in body}
    return (1 + reads) * size_of(shapes[result.operands[update]])


def _read_of(parameter: Instruction, body: list[Instruction]) -> int:
    """What a fusion reads of one of its parameters, at most all of it."""
    whole, read = size_of(parameter.shape), 0
    for name, user in _users(parameter.name, body):
        first = user.operands[:1] == [name]
        if user.opcode in READ_IN_PART and first:
            read += size_of(user.shape)
        elif not (user.opcode in WRITTEN_IN_PART and first):
            return whole
    return min(read, whole)


def _users(name: str, body: list[Instruction]) -> Iterator[tuple[str, Instruction]]:
    """What reads this, and under which name: bitcasts are looked through."""
    for one in body:
        if name in one.operands:
            if one.opcode in SAME:
                yield from _users(one.name, body)
            else:
                yield name, one
