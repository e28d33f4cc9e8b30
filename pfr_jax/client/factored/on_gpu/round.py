"""A block's round by the kernel: where it can, what it is given, and what is made of what it wrote.

Legend: B clients in a block, G members, L rows of a client, K local steps, P of them in memory.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from pfr_jax.client.block import ClientSide, ClientState
from pfr_jax.client.factored.kernel import Data, Kernel, hidden_layers, loss_factor
from pfr_jax.client.factored.members import alone
from pfr_jax.client.factored.on_gpu.call import call
from pfr_jax.client.factored.on_gpu.records import Inputs, Outputs, Plan
from pfr_jax.client.factored.outer_products import Memory
from pfr_jax.client.factored.state import ALPHA, OUTPUT, OUTPUT_BIAS, Flat
from pfr_jax.client.factored.step import Memories, Round, dropout_masks
from pfr_jax.models.members import one_of
from pfr_jax.models.model import Model

AMPERE = 8  # the least compute capability for which there is Triton
CHUNK = 32  # rows that are looked at together
# What a program has room for in registers: the numbers of a matrix, the features of a layer, and
# local steps, whose outer products it keeps there.
LARGEST, WIDEST, MOST_STEPS = 2**15, 256, 8


def fits(side: ClientSide, rows: int) -> bool:
    """See ``Kernel.fits``: layers are as wide as a power of two, as Triton's arrays must be."""
    one: Any = one_of(side.training.model)
    sizes: tuple[int, ...] = one.hidden_sizes
    largest = max((n * m for n, m in zip(sizes, sizes[1:], strict=False)), default=0)
    return (
        all(size & (size - 1) == 0 for size in sizes)
        and max(sizes) <= WIDEST
        and largest <= LARGEST
        and side.training.local_epochs <= MOST_STEPS
    )


def _has_triton(device: jax.Device) -> bool:
    """Whether it is NVIDIA's, and of Ampere or later."""
    major = str(getattr(device, "compute_capability", "")).partition(".")[0]  # AMD's: gfx942
    return device.platform == "gpu" and major.isdecimal() and int(major) >= AMPERE


def numbers_of_row(model: Model) -> int:
    """See ``Kernel.numbers_of_row``: its change and the errors of a few steps."""
    return model.feature_size + 8 * model.members


def train(
    side: ClientSide, common: Round, own: ClientState, data: Data
) -> tuple[ClientState, Flat, Memories, jax.Array]:
    """See ``Kernel.train``."""
    steps = side.training.local_epochs
    plan = Plan(
        training=alone(side).training,
        layers=hidden_layers(side.training.model),
        steps=steps,
        places=1 << (steps - 1).bit_length(),
        chunk=CHUNK,
        waits=not side.kernel.interpret,
    )
    out = call(plan, _inputs(side, plan, common, own, data), side.kernel.interpret)
    return _found(side, plan, common, own, out)


def _with_members(side: ClientSide, leaf: jax.Array, axis: int) -> jax.Array:
    """A leaf with an axis of members there, which that of one model has not."""
    return jnp.expand_dims(leaf, axis) if side.training.model.members == 1 else leaf


def _without(side: ClientSide, leaf: jax.Array, axis: int) -> jax.Array:
    return jnp.squeeze(leaf, axis) if side.training.model.members == 1 else leaf


def _inputs(side: ClientSide, plan: Plan, common: Round, own: ClientState, data: Data) -> Inputs:
    training, (private, shared) = side.training, common.public
    later = [(0, 0), (0, plan.places - plan.steps)]
    ratings = training.inputs(data.values, data.observed)
    dense = {**private.dense, **shared.dense}
    moments, vectors = common.paths.private.moments, own.private["vectors"]
    return Inputs(
        learning_rate=common.learning_rate.reshape(1),
        private_path=jnp.pad(common.paths.private.change, later),
        shared_path=jnp.pad(common.paths.shared.change, later),
        private_moments=jnp.pad(moments, later) if len(moments) else None,
        shared={
            name: _with_members(side, leaf, 0)
            for name, leaf in shared.vectors.items()
            if name != OUTPUT_BIAS
        },
        matrices={name: _with_members(side, matrix, 0) for name, matrix in dense.items()},
        table=_with_members(side, shared.rows[OUTPUT], 1),
        biases=_with_members(side, shared.vectors[OUTPUT_BIAS], 1),
        own=_vectors(side, jax.tree.map(jnp.add, vectors, _starts(common, vectors))),
        opt=_vectors(side, own.private_opt),
        stacks={n: _with_members(side, m, 1) for n, m in own.private["dense"].items()},
        projection=_with_members(side, own.constant, 1),
        squared_input=jnp.square(ratings).sum(axis=1)[:, None],
        factor=loss_factor(training, data)[:, None],
        masks=_masks(side, common, data) if training.dropout else None,
        items=jnp.where(data.observed, data.items, training.model.num_items),
        chunks=_chunks(plan, data.observed),
        values=jnp.where(data.observed, data.values, 0),
    )


def _starts(common: Round, vectors: Flat) -> Flat:
    """What private vectors are kept as differences from; those that begin at 0 are whole."""
    begin = common.public.private.vectors
    return {
        name: 1 if name == ALPHA else begin[name][None] if name in begin else 0 for name in vectors
    }


def _vectors(side: ClientSide, tree: Any) -> Any:
    """Private vectors or their optimizer state, f[B, G, n]; alpha f[B, G, 1]."""

    def one(path: tuple[Any, ...], leaf: jax.Array) -> jax.Array:
        vector = _with_members(side, leaf, 1)
        return vector[..., None] if path[-1].key == ALPHA else vector

    return jax.tree_util.tree_map_with_path(one, tree)


def _chunks(plan: Plan, observed: jax.Array) -> jax.Array:
    """How many chunks of rows hold something, i32[B, 1]; what is padding comes last."""
    place = jnp.arange(1, observed.shape[1] + 1, dtype=jnp.int32)[None]
    last = jnp.where(observed, place, 0).max(axis=1, keepdims=True)
    return (last + plan.chunk - 1) // plan.chunk


def _masks(side: ClientSide, common: Round, data: Data) -> jax.Array:
    """Dropout's, f[B, G, K, code]."""

    def of_client(client: jax.Array) -> jax.Array:
        key = jax.random.fold_in(common.key, client)
        masks = dropout_masks(side.training, key, data.values.dtype)
        assert masks is not None
        return jnp.moveaxis(_with_members(side, masks, 1), 1, 0)

    return jax.vmap(of_client)(data.client)


def _found(
    side: ClientSide, plan: Plan, common: Round, own: ClientState, out: Outputs
) -> tuple[ClientState, Flat, Memories, jax.Array]:
    """What ``train`` returns, of what the kernel has written."""
    delta = {name: _without(side, change, 1) for name, change in out.changes.items()}
    delta[OUTPUT_BIAS] = _without(side, out.row_biases, 2)
    delta[f"{OUTPUT}/item_kernel"] = _without(side, out.rows, 2)

    def steps(memory: jax.Array) -> jax.Array:
        return _without(side, memory[:, :, : plan.steps], 1)

    memories = {
        name: Memory(steps(out.inputs[name]), steps(out.deltas[name]))
        for name in common.public.shared.dense
    }
    loss = out.loss[..., 0].mean(axis=-1) / plan.steps

    def kept(path: tuple[Any, ...], lanes: jax.Array) -> jax.Array:
        vector = _without(side, lanes, 1)
        return vector[..., 0] if path[-1].key == ALPHA else vector

    after = jax.tree_util.tree_map_with_path(kept, out.own)
    new = dataclasses.replace(
        own,
        private={
            "vectors": jax.tree.map(jnp.subtract, after, _starts(common, after)),
            "dense": {name: _without(side, stack, 1) for name, stack in out.stacks.items()},
        },
        private_opt=jax.tree_util.tree_map_with_path(kept, out.opt),
        rounds=own.rounds + 1,
    )
    return new, delta, memories, loss


GPU = Kernel(
    name="gpu",
    is_for=_has_triton,
    fits=fits,
    rows=CHUNK,
    train=train,
    numbers_of_row=numbers_of_row,
    most_clients=8_192,
)
