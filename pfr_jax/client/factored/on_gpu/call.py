"""The call of the kernel: which part of every array a program sees, and what it writes.

Legend: B clients of a block, G members; else as in ``records``.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from pfr_jax.client.factored.on_gpu.program import program
from pfr_jax.client.factored.on_gpu.records import Inputs, Outputs, Plan

# By the fields of ``Inputs`` and ``Outputs``: which of an array's axes are of clients and of
# members; of others clients are the first and members the second.
_COMMON = frozenset({"learning_rate", "private_path", "shared_path", "private_moments"})
_OF_MEMBERS = frozenset({"shared", "matrices"})
_OF_ITEMS = frozenset({"table", "biases"})
_OF_CLIENTS = frozenset({"squared_input", "factor", "items", "chunks", "values"})
_OF_ROWS = frozenset({"rows", "row_biases"})
# What a warp has in its registers: the fewer there are, the less do they wait for one another.
# Counted in what Triton makes of it (docs/decisions/devices.md).
NUMBERS_OF_WARP = 4096  # of the largest matrix
WIDTH_OF_WARP = 64  # features
MOST_WARPS = 8


def call(plan: Plan, given: Inputs, interpret: bool) -> Outputs:
    """The kernel over a block; ``interpret``: computed by JAX, anywhere."""
    shapes = _shapes(plan, given)
    clients, members, _ = given.projection.shape
    largest = max((m.shape[1] * m.shape[2] for m in given.matrices.values()), default=0)
    wanted = max(1, largest // NUMBERS_OF_WARP, given.table.shape[2] // WIDTH_OF_WARP)
    (found,) = pl.pallas_call(
        partial(program, plan),
        grid=(clients, members),
        in_specs=[_specs(given)],
        out_specs=[_specs(shapes)],
        out_shape=[shapes],
        interpret=interpret,
        compiler_params=triton.CompilerParams(num_warps=min(MOST_WARPS, wanted), num_stages=1),
        name="client_rounds",
    )(given)
    return Outputs(*found)


def _specs(arrays: Inputs | Outputs) -> Any:
    found = {}
    for name, tree in arrays._asdict().items():
        found[name] = jax.tree.map(partial(_spec, *_axes(name)), tree)
    return type(arrays)(**found)


def _axes(name: str) -> tuple[int | None, int | None]:
    """Of clients and of members."""
    if name in _COMMON:
        return None, None
    if name in _OF_MEMBERS:
        return None, 0
    if name in _OF_ITEMS:
        return None, 1
    if name in _OF_CLIENTS:
        return 0, None
    return (0, 2) if name in _OF_ROWS else (0, 1)


def _spec(clients: int | None, members: int | None, leaf: Any) -> pl.BlockSpec:
    """One of the clients and one of the members, and all else."""
    axes = range(len(leaf.shape))
    shape = tuple(None if axis in (clients, members) else leaf.shape[axis] for axis in axes)

    def where(client: Any, member: Any) -> tuple[Any, ...]:
        return tuple(client if a == clients else member if a == members else 0 for a in axes)

    return pl.BlockSpec(shape, where)


def _shapes(plan: Plan, given: Inputs) -> Outputs:
    """Of what the kernel writes."""
    clients, members, features = given.projection.shape
    length = given.items.shape[1]

    def like(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)

    def of_each(*sizes: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((clients, members, *sizes), jnp.float32)

    def of_rows(*sizes: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((clients, length, members, *sizes), jnp.float32)

    widths = {name: matrix.shape[1:] for name, matrix in given.matrices.items()}
    return Outputs(
        own=like(given.own),
        opt=like(given.opt),
        changes={name: of_each(leaf.shape[1]) for name, leaf in given.shared.items()},
        stacks=like(given.stacks),
        inputs={name: of_each(plan.places, n) for name, (n, _) in widths.items()},
        deltas={name: of_each(plan.places, m) for name, (_, m) in widths.items()},
        loss=of_each(1),
        rows=of_rows(features),
        row_biases=of_rows(),
        errors=of_each(plan.places, length),
    )
