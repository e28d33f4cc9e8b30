"""How many bytes an operation of a compiled program reads and writes.

By the shapes: each operand is read whole, and the result written. But of what is gathered or sliced
only the rows are read, and what is scattered or updated in place is read and written there alone.
"""

import math
from collections.abc import Iterator

from pfr_jax.programs.ahead_of_time.hlo import SHAPE, Instruction, Module, dimensions

ITEM_BYTES = {"pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "bf16": 2, "f16": 2}
WIDE = {"s64": 8, "u64": 8, "f64": 8, "c64": 8}
READ_IN_PART = ("gather", "dynamic-slice", "slice")
WRITTEN_IN_PART = {"scatter": 2, "dynamic-update-slice": 1}  # and which operand is the update
SAME = ("bitcast", "reshape")


def size_of(shape: str) -> int:
    """Bytes of an array, or of all arrays of a tuple."""
    return sum(
        ITEM_BYTES.get(kind, WIDE.get(kind, 4)) * math.prod(dimensions(text))
        for kind, text in SHAPE.findall(shape)
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
        return _of_fusion(body, instruction.shape)
    operands = [size_of(shapes.get(name, "")) for name in instruction.operands]
    if instruction.opcode in READ_IN_PART:
        return 2 * size_of(instruction.shape) + sum(operands[1:])
    if instruction.opcode in WRITTEN_IN_PART:
        return sum(operands[1:]) + 2 * operands[WRITTEN_IN_PART[instruction.opcode]]
    return sum(operands) + size_of(instruction.shape)


def _of_fusion(body: list[Instruction], result: str) -> int:
    shapes = {one.name: one.shape for one in body}
    total = size_of(result)
    for one in body:
        if one.opcode in WRITTEN_IN_PART and size_of(one.shape) <= total:
            update = one.operands[WRITTEN_IN_PART[one.opcode]]
            total += 2 * size_of(shapes[update]) - size_of(one.shape)
        if one.opcode == "parameter":
            total += _read_of(one, body)
    return total


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
