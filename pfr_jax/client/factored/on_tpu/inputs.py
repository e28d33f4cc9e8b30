"""What a program of the kernel reads, made of a block's clients and of what is public.

Legend: B clients in a block, T of them in a program, G members, P places for them, L rows of a
client, K local steps.
"""

from typing import Any

import jax
import jax.numpy as jnp

from pfr_jax.client.block import ClientSide, ClientState
from pfr_jax.client.factored.kernel import Data, loss_factor
from pfr_jax.client.factored.on_tpu.lanes import LANES, on_lanes, width_of
from pfr_jax.client.factored.on_tpu.records import Inputs, Plan
from pfr_jax.client.factored.state import ALPHA, OUTPUT, OUTPUT_BIAS, Flat
from pfr_jax.client.factored.step import Round, dropout_masks

REGISTER_ROWS = 8  # and so the most clients of a program


def inputs_of(
    side: ClientSide, plan: Plan, common: Round, own: ClientState, data: Data, clients: int
) -> Inputs:
    """For programs of so many ``clients``; ``own`` are the states, leaves f[B, ...]."""
    training, places = side.training, plan.places
    private, shared = common.public
    ratings = training.inputs(data.values, data.observed)
    bias = members_last(side, shared.vectors[OUTPUT_BIAS], 1)[:, None]
    items = jnp.where(data.observed, data.items, training.model.num_items)

    def lay(leaf: jax.Array, members: int) -> jax.Array:
        return on_lanes(members_last(side, leaf, members), places)

    def on_all_lanes(numbers: jax.Array) -> jax.Array:
        return _together(jnp.broadcast_to(numbers[:, None], (len(numbers), LANES)), clients)

    def of_items(table: jax.Array) -> jax.Array:
        """Rows of the items, f[B, L, width]; padding reads one more, of zeros."""
        return jnp.pad(table, ((0, 1), (0, 0))).at[items].get(mode="clip")

    dense = {**private.dense, **shared.dense}
    return Inputs(
        learning_rate=common.learning_rate.reshape(1),
        private_path=common.paths.private.change,
        shared_path=common.paths.shared.change,
        private_moments=common.paths.private.moments if len(common.paths.private.moments) else None,
        shared={n: lay(leaf, 0)[None] for n, leaf in shared.vectors.items() if n != OUTPUT_BIAS},
        matrices={n: _matrix(members_last(side, leaf, 0), places) for n, leaf in dense.items()},
        own={n: _together(v, clients) for n, v in _own_vectors(side, plan, common, own).items()},
        opt=_optimizer_state(side, plan, own, clients),
        stacks={
            name: _matrix(members_last(side, stack, 1), places)
            for name, stack in own.private["dense"].items()
        },
        projection=_together(lay(own.constant, 1), clients),
        squared_input=on_all_lanes(jnp.square(ratings).sum(axis=1)),
        factor=on_all_lanes(loss_factor(training, data)),
        masks=_masks(side, plan, common, data, clients) if training.dropout else None,
        rows=of_items(lay(shared.rows[OUTPUT], 1)),
        beside=of_items(on_lanes(bias, places)),
        values=_targets(data, clients),
    )


def members_last(side: ClientSide, leaf: jax.Array, members: int) -> jax.Array:
    """A leaf with its axis of ``members`` as the last; of one model with a new axis."""
    return leaf[..., None] if side.training.model.members == 1 else jnp.moveaxis(leaf, members, -1)


def _together(vectors: jax.Array, clients: int) -> jax.Array:
    """f[..., B, width] as f[..., B / T, T, width]"""
    *others, _, width = vectors.shape
    return vectors.reshape(*others, -1, clients, width)


def _matrix(matrix: jax.Array, places: int) -> jax.Array:
    """f[..., n, m, G] as f[..., width_n / P, width_m]"""
    rows = matrix.shape[-3]
    rest = width_of(rows, places) // places - rows
    return jnp.pad(on_lanes(matrix, places), [(0, 0)] * (matrix.ndim - 3) + [(0, rest), (0, 0)])


def _own_vectors(side: ClientSide, plan: Plan, common: Round, own: ClientState) -> Flat:
    """The private vectors as the round begins, f[B, width]."""
    begin, found = common.public.private.vectors, {}
    for name, leaf in own.private["vectors"].items():
        start = 1 if name == ALPHA else begin[name][None] if name in begin else 0
        found[name] = _vector(side, plan, name, leaf + start)
    return found


def _vector(side: ClientSide, plan: Plan, name: str, leaf: jax.Array) -> jax.Array:
    """A private vector, or what the optimizer keeps of it, f[B, width]; alpha as wide as what it
    multiplies."""
    vector = members_last(side, leaf, 1)
    if name == ALPHA:
        features = width_of(plan.first, plan.places) // plan.places
        vector = jnp.broadcast_to(vector[:, None], (len(leaf), features, vector.shape[-1]))
    return on_lanes(vector, plan.places)


def _optimizer_state(side: ClientSide, plan: Plan, own: ClientState, clients: int) -> Any:
    """Of the private vectors, f[B / T, T, width]; None if it begins anew in every round."""

    def one(path: tuple[Any, ...], leaf: jax.Array) -> jax.Array:
        return _together(_vector(side, plan, path[-1].key, leaf), clients)

    return jax.tree_util.tree_map_with_path(one, own.private_opt)


def _masks(side: ClientSide, plan: Plan, common: Round, data: Data, clients: int) -> jax.Array:
    """Dropout's, f[K, B / T, T, width]."""

    def of_client(client: jax.Array) -> jax.Array:
        key = jax.random.fold_in(common.key, client)
        masks = dropout_masks(side.training, key, data.values.dtype)
        assert masks is not None
        return on_lanes(members_last(side, masks, 1), plan.places)

    return _together(jax.vmap(of_client, out_axes=1)(data.client), clients)


def _targets(data: Data, clients: int) -> jax.Array:
    """f[B / T, ceil(L / 128), 8, 128], 0 where there is nothing."""
    values = jnp.where(data.observed, data.values, 0)
    pieces = jnp.pad(values, ((0, 0), (0, -values.shape[1] % LANES)))
    pieces = pieces.reshape(-1, clients, pieces.shape[1] // LANES, LANES).swapaxes(1, 2)
    return jnp.pad(pieces, ((0, 0), (0, 0), (0, REGISTER_ROWS - clients), (0, 0)))
