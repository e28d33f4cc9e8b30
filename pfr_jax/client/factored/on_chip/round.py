"""A block's round by the kernel: where it can, and what the engine is given of it.

Legend: B clients in a block, T of them in a program, G members, L rows of a client, K local steps.
"""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from pfr_jax.client.block import ClientSide, ClientState
from pfr_jax.client.factored.coefficients import num_moments
from pfr_jax.client.factored.on_chip.call import VECTOR_MEMORY, call
from pfr_jax.client.factored.on_chip.inputs import REGISTER_ROWS, Data, inputs_of, members_last
from pfr_jax.client.factored.on_chip.lanes import (
    LANES,
    MOST_PLACES,
    off_lanes,
    places_of,
    width_of,
)
from pfr_jax.client.factored.on_chip.records import Layer, Outputs, Plan
from pfr_jax.client.factored.outer_products import Memory
from pfr_jax.client.factored.state import ALPHA, OUTPUT, OUTPUT_BIAS, Flat
from pfr_jax.client.factored.step import Memories, Round
from pfr_jax.models.autoencoder import AutoEncoder
from pfr_jax.models.losses import ByRating, masked_squared_error
from pfr_jax.models.members import one_of
from pfr_jax.models.model import Model
from pfr_jax.population.population import Bucket

ROWS_SHARE = 0.7  # of the vector memory, for item rows
MOST_SHARE = 0.9  # likewise for rows and matrices together


def by_kernel(side: ClientSide, bucket: Bucket) -> bool:
    """Whether there is a kernel and it computes what ``side`` wants; the plain path computes all.

    Args:
      side: of the clients. It has a kernel only where the encoder is private and the decoder
        shared, and the output layer's biases decay as its rows do, beside which they lie.
      bucket: the clients, or their shapes.
    """
    training, model = side.training, side.training.model
    loss = training.loss.loss if isinstance(training.loss, ByRating) else training.loss
    places, shared = places_of(model.members), training.optimizer.shared
    return (
        side.kernel != "off"
        and type(one_of(model)) is AutoEncoder  # whose layers the kernel has written out
        and bucket.values.dtype == jnp.float32
        and bucket.rated is None
        and loss is masked_squared_error
        and model.profile_size == 0
        and not (side.carry.shared and num_moments(shared))
        and not (side.whole_changes or side.one_by_one)
        and all(map(all, training.moves))
        and places <= MOST_PLACES
        and (2 + training.local_epochs) * places <= LANES
        and _most_clients(model, bucket.items.shape[1], _kept(side)) > 0
    )


def _kept(side: ClientSide) -> int:
    """S: moments of the private part that are carried from round to round."""
    return num_moments(side.training.optimizer.private) if side.carry.private else 0


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
    """Of an item, what a block works with: fetched and changed, on whole lanes; and those beside
    it, in tiles. Measured (docs/decisions/devices.md)."""
    return 2 * width_of(model.feature_size // model.members, places_of(model.members)) + 330


def train_by_kernel(
    side: ClientSide, common: Round, own: ClientState, data: Data
) -> tuple[ClientState, Flat, Memories, jax.Array]:
    """All local steps of a block's clients, where ``by_kernel``.

    Args:
      side: of the clients.
      common: what is public.
      own: their states as they are computed with, leaves f[B, ...].
      data: their ratings; rows that are not observed are no items'.

    Returns:
      What ``train_client`` returns, for all of them. Where a change of a row is not finite, the
      client's loss is not either.
    """
    plan, (count, rows) = _plan(side), data.items.shape
    clients = min(_most_clients(side.training.model, rows, _kept(side)), count & -count)
    given = inputs_of(side, plan, common, own, data, clients)
    return _found(side, plan, common, own, call(plan, given, side.kernel == "interpret"))


def _plan(side: ClientSide) -> Plan:
    """The hidden layers as they follow one another."""
    one: Any = one_of(side.training.model)
    sizes: tuple[int, ...] = one.hidden_sizes
    encoder = [
        Layer(f"encoder/linear_{depth}", f"encoder/norm_{depth}", True, size)
        for depth, size in enumerate(sizes[1:], start=1)
    ]
    decoder = [
        Layer(f"decoder/linear_{depth}", f"decoder/norm_{depth}", False, size)
        for depth, size in enumerate(sizes[-2::-1])
    ]
    places = places_of(side.training.model.members)
    steps = side.training.local_epochs
    return Plan(side.training, (*encoder, *decoder), sizes[0], places, steps)


def _found(
    side: ClientSide, plan: Plan, common: Round, own: ClientState, out: Outputs
) -> tuple[ClientState, Flat, Memories, jax.Array]:
    """What ``train_by_kernel`` returns, of what the kernel has written."""
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
