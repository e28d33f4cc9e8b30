"""A block's round by the kernel: where it fits, and what the engine is given of it.

Legend: B clients in a block, T of them in a program, G members, L rows of a client, K local steps.
"""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from pfr_jax.client.block import ClientSide, ClientState
from pfr_jax.client.factored.kernel import Data, Kernel, hidden_layers, moments_kept
from pfr_jax.client.factored.on_tpu.call import VECTOR_MEMORY, call
from pfr_jax.client.factored.on_tpu.inputs import REGISTER_ROWS, inputs_of, members_last
from pfr_jax.client.factored.on_tpu.lanes import (
    LANES,
    MOST_PLACES,
    off_lanes,
    places_of,
    width_of,
)
from pfr_jax.client.factored.on_tpu.records import Outputs, Plan
from pfr_jax.client.factored.outer_products import Memory
from pfr_jax.client.factored.state import ALPHA, OUTPUT, OUTPUT_BIAS, Flat
from pfr_jax.client.factored.step import Memories, Round
from pfr_jax.models.members import one_of
from pfr_jax.models.model import Model

CHIPS = "TPU v5 lite", "TPU v5e", "TPU v6 lite", "TPU v6e"  # as JAX calls them
ROWS_SHARE = 0.7  # of the vector memory, for item rows
MOST_SHARE = 0.9  # likewise for rows and matrices together


def fits(side: ClientSide, rows: int) -> bool:
    """See ``Kernel.fits``: what is beside a row has room on 128 lanes, and one client in memory."""
    model, places = side.training.model, places_of(side.training.model.members)
    return (
        places <= MOST_PLACES
        and (2 + side.training.local_epochs) * places <= LANES
        and _most_clients(model, rows, moments_kept(side)) > 0
    )


def _most_clients(model: Model, rows: int, kept: int) -> int:
    """The power of two of clients whose rows and private matrices, old and new and both twice, as
    the next ones come while these are computed, fit into vector memory; 0: not even one's.

    ``kept`` moments lie beside a private matrix. It is there once more as a whole, and those that
    are common to all twice.
    """
    one: Any = one_of(model)
    sizes, places = one.hidden_sizes, places_of(model.members)
    private = 4 * sum(n * width_of(m, places) for n, m in zip(sizes, sizes[1:], strict=False))
    shared = 4 * sum(m * width_of(n, places) for n, m in zip(sizes, sizes[1:], strict=False))
    of_rows = 2 * 2 * 4 * (LANES + width_of(sizes[0], places)) * rows
    left = int(MOST_SHARE * VECTOR_MEMORY) - 2 * (private + shared)
    fit = min(
        int(ROWS_SHARE * VECTOR_MEMORY) // of_rows,
        max(left, 0) // (of_rows + (4 * (1 + kept) + 1) * private),
    )
    return min(REGISTER_ROWS, 1 << fit.bit_length() >> 1)


def numbers_of_row(model: Model) -> int:
    """See ``Kernel.numbers_of_row``: fetched and changed, on whole lanes; and those beside it, in
    tiles. Measured (docs/decisions/devices.md)."""
    return 2 * width_of(model.feature_size // model.members, places_of(model.members)) + 330


def train(
    side: ClientSide, common: Round, own: ClientState, data: Data
) -> tuple[ClientState, Flat, Memories, jax.Array]:
    """See ``Kernel.train``."""
    model, (count, rows) = side.training.model, data.items.shape
    one: Any = one_of(model)
    plan = Plan(
        training=side.training,
        layers=hidden_layers(model),
        first=one.hidden_sizes[0],
        places=places_of(model.members),
        steps=side.training.local_epochs,
    )
    clients = min(_most_clients(model, rows, moments_kept(side)), count & -count)
    given = inputs_of(side, plan, common, own, data, clients)
    return _found(side, plan, common, own, call(plan, given, side.kernel.interpret))


def _found(
    side: ClientSide, plan: Plan, common: Round, own: ClientState, out: Outputs
) -> tuple[ClientState, Flat, Memories, jax.Array]:
    """What ``train`` returns, of what the kernel has written."""
    model, shared = side.training.model, common.public.shared
    off = partial(off_lanes, members=model.members, places=plan.places)
    delta = {
        name: _second(side, off(_of_block(change), shared.vectors[name].shape[-1]))
        for name, change in out.changes.items()
    }
    delta[OUTPUT_BIAS] = _last(side, off(out.beside, 1)[:, :, 0])
    delta[f"{OUTPUT}/item_kernel"] = _before_last(side, off(out.rows, plan.first))
    memories = {
        name: Memory(
            _second(side, off(_of_block(out.inputs[name]), matrix.shape[-2])),
            _second(side, off(_of_block(out.deltas[name]), matrix.shape[-1])),
        )
        for name, matrix in shared.dense.items()
    }
    loss = off(_of_block(out.loss), 1)[:, 0].mean(axis=-1) / plan.steps
    return _new_state(side, plan, common, own, out), delta, memories, loss


def _new_state(
    side: ClientSide, plan: Plan, common: Round, own: ClientState, out: Outputs
) -> ClientState:
    """The clients' states as the round leaves them."""
    private = common.public.private
    off = partial(off_lanes, members=side.training.model.members, places=plan.places)
    vectors, dense = {}, {}
    for name, before in own.private["vectors"].items():
        lanes = _of_block(out.own[name])
        if name == ALPHA:
            vectors[name] = _last(side, off(lanes, 1)[:, 0]) - 1
            continue
        after = off(lanes, before.shape[-1])
        if name in private.vectors:
            after = after - members_last(side, private.vectors[name], 0)[None]
        vectors[name] = _second(side, after)
    for name, stack in own.private["dense"].items():
        rows, columns = stack.shape[-2:]
        dense[name] = _second(side, off(out.stacks[name][:, :, :rows], columns))

    def kept(path: tuple[Any, ...], before: jax.Array, lanes: jax.Array) -> jax.Array:
        """What the optimizer keeps of a vector."""
        if path[-1].key == ALPHA:
            return _last(side, off(_of_block(lanes), 1)[:, 0])
        return _second(side, off(_of_block(lanes), before.shape[-1]))

    return dataclasses.replace(
        own,
        private={"vectors": vectors, "dense": dense},
        private_opt=jax.tree_util.tree_map_with_path(kept, own.private_opt, out.opt),
        rounds=own.rounds + 1,
    )


def _of_block(lanes: jax.Array) -> jax.Array:
    """f[..., B / T, T, width] as f[B, ..., width]"""
    return jnp.moveaxis(lanes.reshape(*lanes.shape[:-3], -1, lanes.shape[-1]), -2, 0)


def _last(side: ClientSide, leaf: jax.Array) -> jax.Array:
    """f[..., G]; of one model f[...]"""
    return leaf[..., 0] if side.training.model.members == 1 else leaf


def _second(side: ClientSide, leaf: jax.Array) -> jax.Array:
    """f[B, ..., G] as f[B, G, ...]; of one model f[B, ...]"""
    return leaf[..., 0] if side.training.model.members == 1 else jnp.moveaxis(leaf, -1, 1)


def _before_last(side: ClientSide, leaf: jax.Array) -> jax.Array:
    """f[..., H, G] as f[..., G, H]; of one model f[..., H]"""
    return leaf[..., 0] if side.training.model.members == 1 else jnp.swapaxes(leaf, -1, -2)


TPU = Kernel(
    name="tpu",
    is_for=lambda device: device.device_kind in CHIPS,
    fits=fits,
    rows=1,
    train=train,
    numbers_of_row=numbers_of_row,
    most_clients=1_024,
)
