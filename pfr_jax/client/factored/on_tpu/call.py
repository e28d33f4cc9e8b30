"""The call of the kernel: which part of every array a program sees, and what it writes."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from pfr_jax.client.factored.on_tpu.kernel import program
from pfr_jax.client.factored.on_tpu.lanes import LANES
from pfr_jax.client.factored.on_tpu.records import Inputs, Outputs, Plan, Scratch

VECTOR_MEMORY = 128 * 2**20  # of theirs, in bytes
MOST_OF_IT = 0.98  # what the compiler itself may take beside the kernel is little


def call(plan: Plan, given: Inputs, interpret: bool) -> Outputs:
    """The kernel over a block, some clients at a time; ``interpret``: computed by JAX, anywhere."""
    programs, clients, _ = given.factor.shape
    shapes = _shapes(plan, given)
    scalars = pl.BlockSpec(memory_space=pltpu.SMEM)
    in_specs = Inputs(
        learning_rate=scalars,
        private_path=scalars,
        shared_path=scalars,
        private_moments=None if given.private_moments is None else scalars,
        shared=jax.tree.map(_whole, given.shared),
        matrices=jax.tree.map(_whole, given.matrices),
        **_parts(given, clients),
    )
    (found,) = pl.pallas_call(
        partial(program, plan),
        grid=(programs,),
        in_specs=[in_specs],
        out_specs=[Outputs(**_parts(shapes, clients))],
        out_shape=[shapes],
        scratch_shapes=[_scratch(plan, given)],
        interpret=interpret,
        compiler_params=pltpu.CompilerParams(vmem_limit_bytes=int(MOST_OF_IT * VECTOR_MEMORY)),
        name="client_rounds",
    )(given)
    return Outputs(*found)


def _whole(leaf: Any) -> pl.BlockSpec:
    return pl.BlockSpec(leaf.shape, lambda program: (0,) * len(leaf.shape))


def _along(axis: int, size: int) -> Callable[[Any], pl.BlockSpec]:
    """A program has ``size`` of an array's ``axis``."""

    def spec(leaf: Any) -> pl.BlockSpec:
        shape = (*leaf.shape[:axis], size, *leaf.shape[axis + 1 :])
        where = [int(one == axis) for one in range(len(shape))]
        return pl.BlockSpec(shape, lambda program: tuple(program * here for here in where))

    return spec


# By the fields of ``Inputs`` and ``Outputs``: what has a row per client, and per local step.
_STACKS = frozenset({"stacks", "rows", "beside"})
_STEPS = frozenset({"masks", "inputs", "deltas"})
_PATHS = frozenset({"private_path", "shared_path", "private_moments"})
_COMMON = frozenset({"learning_rate", "shared", "matrices"}) | _PATHS


def _parts(arrays: Inputs | Outputs, clients: int) -> dict[str, Any]:
    """What a program sees of what belongs to its clients, by field."""
    found = {}
    for name, tree in arrays._asdict().items():
        if name in _COMMON:
            continue
        axis, size = (0, clients) if name in _STACKS else (1, 1) if name in _STEPS else (0, 1)
        found[name] = jax.tree.map(_along(axis, size), tree)
    return found


def _shapes(plan: Plan, given: Inputs) -> Outputs:
    """Of what the kernel writes."""
    programs, clients, _ = given.factor.shape

    def like(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)

    def vector(*sizes: int) -> jax.ShapeDtypeStruct:
        *steps, width = sizes
        return jax.ShapeDtypeStruct((*steps, programs, clients, width), jnp.float32)

    widths = {name: matrix.shape for name, matrix in given.matrices.items()}
    return Outputs(
        own=like(given.own),
        opt=like(given.opt),
        changes={name: vector(leaf.shape[1]) for name, leaf in given.shared.items()},
        stacks=like(given.stacks),
        inputs={name: vector(plan.steps, n * plan.places) for name, (n, _) in widths.items()},
        deltas={name: vector(plan.steps, m) for name, (_, m) in widths.items()},
        loss=vector(LANES),
        rows=like(given.rows),
        beside=like(given.beside),
    )


def _scratch(plan: Plan, given: Inputs) -> Scratch:
    clients, width = given.factor.shape[1], given.rows.shape[2]
    return Scratch(
        features=pltpu.VMEM((plan.steps, clients, width), jnp.float32),
        scales=pltpu.VMEM((plan.steps, clients, LANES), jnp.float32),
        whole={
            name: pltpu.VMEM((clients, *leaf.shape[2:]), jnp.float32)
            for name, leaf in given.stacks.items()
        },
    )
