"""Scores of the federation: each user's ratings through its own client's model.

As on a real client, the input is the user's own ratings. The hidden features of all users come
first; the score of any (user, item) pair is then one dot product with the item's output row.
Legend: U users, H width of the decoder's last hidden layer, Nb clients in a bucket, L rows of a
client, B users or clients in a block, T pairs, I items.
"""

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pfr_jax.algorithms.federated import Buckets, Federation, FederationState
from pfr_jax.client.block import ClientSide, ClientState, own_part, take_slots
from pfr_jax.client.host_memory import in_parts
from pfr_jax.client.training import Parts
from pfr_jax.evaluation.cold import Fallback
from pfr_jax.models.item_rows import subtract_trees, take_rows
from pfr_jax.models.model import Params, score_pairs
from pfr_jax.population.devices import (
    BY_CLIENT,
    EVERYWHERE,
    on_every_device,
    on_one_device,
    sum_over_devices,
)
from pfr_jax.population.population import Bucket, Population

CLIENTS_PER_BLOCK = 32
PAIRS_PER_BLOCK = 4096


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class OwnRows:
    """Output rows that are a client's own (its decoder is private), for a bucket's clients."""

    owner: jax.Array  # i32[U], slot of the user's client in this bucket; -1: it is in another one
    items: jax.Array  # i32[Nb, L], ascending
    change: Params  # item_kernel f[Nb, L, H], item_bias f[Nb, L]: difference from the common rows


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Scorer:
    """Everything that scores any user and item."""

    hidden: jax.Array  # f[U, H], what the output layer sees
    output: Params  # item_kernel f[I, H], item_bias f[I]: the rows common to all clients
    own: tuple[OwnRows, ...]  # per bucket; empty where no decoder is private
    fallback: Fallback | None = None  # scores of cold pairs; None: no user or item is cold
    # Where scores are compared as what they predict, and not judged one by one:
    trust: jax.Array | None = None  # f[U], how much a model's score counts; None: all of it
    offset: jax.Array | None = None  # f[I], what is added for an item; None: nothing


def make_scorer(
    federation: Federation,
    state: FederationState,
    population: Population,
    fallback: Fallback | None = None,
) -> Scorer:
    """The scorer of a federation in this state."""
    model = federation.side.training.model
    hidden = _hidden(federation, state, population)
    fallback = jax.tree.map(lambda leaf: _in_dtype(leaf, hidden.dtype), fallback)
    # Rows that nobody has of its own are the shared ones, or where the decoder is not shared those
    # that everybody began with.
    common = {**state.start, **state.server.shared}
    output = model.output_rows(common["decoder"]["output"])
    if "decoder" not in state.start:
        # Else every device would score every pair.
        hidden, output = on_one_device((hidden, output))
        return Scorer(hidden, output, (), fallback)
    bucket_of_user = population.bucket_of[population.client_of_user]
    slot_of_user = population.slot_of[population.client_of_user]
    own = tuple(
        OwnRows(
            owner=jnp.asarray(np.where(bucket_of_user == index, slot_of_user, -1), jnp.int32),
            items=bucket.items,
            change=model.output_rows(
                own_output_change(federation, state, clients, bucket), one=0.0
            ),
        )
        for index, (bucket, clients) in enumerate(
            zip(population.buckets, state.clients, strict=True)
        )
    )
    return Scorer(hidden, output, own, fallback)


def own_output_change(
    federation: Federation, state: FederationState, clients: ClientState, bucket: Bucket
) -> Params:
    """How the output rows that a bucket's clients predict with differ from the common ones.

    Leaves as in the output layer, f[Nb, L, .].
    """
    if "decoder" not in state.server.shared:
        change: Params = clients.private["decoder"]["output"]
        return change
    own = dataclasses.replace(clients, private_opt=None, shared_opt=None)
    return _mixed_output(federation.side, state.start, state.server.shared, own, bucket.items)


@partial(jax.jit, static_argnames="side")
def _mixed_output(
    side: ClientSide, start: Params, shared: Params, clients: ClientState, items: jax.Array
) -> Params:
    """``own_output_change`` where clients have a decoder of their own beside the shared one."""

    def one(state: ClientState, items: jax.Array) -> Params:
        received = take_rows(shared, items)
        own = own_part(side, take_rows(start, items), received, state)
        used = side.training.model_of(Parts(own, received))
        change: Params = subtract_trees(used["decoder"]["output"], received["decoder"]["output"])
        return change

    return jax.vmap(one)(clients, items)


def _in_dtype(leaf: np.ndarray, dtype: Any) -> jax.Array:
    return jnp.asarray(leaf if leaf.dtype == bool else leaf.astype(dtype))


def same_for_all(score: np.ndarray, num_users: int) -> Scorer:
    """A scorer that gives every user the same scores f[I] of the items."""
    output = {
        "item_kernel": jnp.zeros((len(score), 1)),
        "item_bias": jnp.asarray(score, jnp.zeros(()).dtype),
    }
    return Scorer(jnp.zeros((num_users, 1)), output, ())


def _hidden(federation: Federation, state: FederationState, population: Population) -> jax.Array:
    """``user_features``, wherever the clients' states are."""
    buckets, num_users = population.buckets, population.num_users
    if not isinstance(state.clients[0].rounds, np.ndarray):
        return user_features(federation, state, buckets, num_users)
    hidden = jnp.zeros((num_users, federation.side.training.model.feature_size))
    for clients, tables in in_parts(state.clients, buckets, population.mesh):
        part = user_features(
            federation, dataclasses.replace(state, clients=clients), tables, num_users
        )
        users = tables[0].users[:, 0]
        hidden = hidden.at[users].set(part.at[users].get(mode="clip"), mode="drop")
    return hidden


@partial(jax.jit, static_argnames=("federation", "num_users"))
def user_features(
    federation: Federation, state: FederationState, buckets: Buckets, num_users: int
) -> jax.Array:
    """What the output layer sees for every user, f[U, H], without dropout."""
    of_clients = on_every_device(
        partial(_features_of_clients, federation, num_users),
        federation.mesh,
        (EVERYWHERE, EVERYWHERE, BY_CLIENT, BY_CLIENT),
        EVERYWHERE,
    )
    return of_clients(state.start, state.server.shared, state.clients, buckets)


def _features_of_clients(
    federation: Federation,
    num_users: int,
    start: Params,
    shared: Params,
    clients: tuple[ClientState, ...],
    buckets: Buckets,
) -> jax.Array:
    """``user_features``, by one device of its own clients and then of all of them."""
    side = federation.side
    one = partial(federation.engine.features, side, start, shared)

    def block(bucket: Bucket, states: ClientState, index: jax.Array, hidden: jax.Array) -> Any:
        slots = index * CLIENTS_PER_BLOCK + jnp.arange(CLIENTS_PER_BLOCK)
        # Optimizer states are not read, so as to move less.
        own = dataclasses.replace(states, private_opt=None, shared_opt=None)
        tables = bucket.items, bucket.values, bucket.known, bucket.profile
        items, values, known, profile = take_slots(tables, slots)
        inputs = side.training.inputs(values, known)
        rows = jax.vmap(one)(federation.engine.take(own, slots), items, inputs, profile)
        return hidden.at[take_slots(bucket.users, slots)].set(rows, mode="drop")

    dtype = buckets[0].values.dtype
    hidden = jnp.zeros((num_users, side.training.model.feature_size), dtype)
    for bucket, states in zip(buckets, clients, strict=True):
        one_block = partial(block, bucket, states)
        hidden = jax.lax.fori_loop(0, -(-len(bucket) // CLIENTS_PER_BLOCK), one_block, hidden)
    return sum_over_devices(hidden)  # a user has features on the device of its client alone


@jax.jit
def score_of_pairs(scorer: Scorer, user: jax.Array, item: jax.Array) -> jax.Array:
    """Model outputs for pairs i32[T], i32[T] -> f[T], centred as in training."""

    def one(pair: tuple[jax.Array, jax.Array]) -> jax.Array:
        user, item = pair
        hidden = scorer.hidden[user]
        score = score_pairs(scorer.output, hidden, item)
        for own in scorer.own:
            slot, items = own.owner[user], own.items[own.owner[user]]
            row = jnp.searchsorted(items, item)
            kernel, bias = own.change["item_kernel"], own.change["item_bias"]
            correction = jnp.vdot(hidden, kernel.at[slot, row].get(mode="clip"))
            correction += bias.at[slot, row].get(mode="clip")
            is_own = (slot >= 0) & (items.at[row].get(mode="clip") == item)
            score += jnp.where(is_own, correction, 0)
        return _finished(scorer, score, user, item)

    return jax.lax.map(one, (user, item), batch_size=PAIRS_PER_BLOCK)


def score_of_users(scorer: Scorer, users: jax.Array) -> jax.Array:
    """Model outputs of users i32[B] for all items, f[B, I]."""
    hidden = scorer.hidden[users]
    scores = hidden @ scorer.output["item_kernel"].T + scorer.output["item_bias"][None, :]
    for own in scorer.own:
        slots = own.owner[users]
        change = take_slots(own.change, slots)
        correction = jnp.einsum("bh,blh->bl", hidden, change["item_kernel"]) + change["item_bias"]
        correction = jnp.where(slots[:, None] >= 0, correction, 0)
        items = take_slots(own.items, slots)
        scores = scores.at[jnp.arange(len(users))[:, None], items].add(correction, mode="drop")
    every_item = jnp.arange(scores.shape[1])[None, :]
    return _finished(scorer, scores, users[:, None], every_item)


def _finished(scorer: Scorer, score: jax.Array, user: jax.Array, item: jax.Array) -> jax.Array:
    """A model's scores with all that the scorer makes of them. The shapes broadcast."""
    if scorer.trust is not None:
        score = score * scorer.trust[user]
    if scorer.fallback is not None:
        score = _or_fallback(scorer.fallback, score, user, item)
    return score if scorer.offset is None else score + scorer.offset[item]


def _or_fallback(
    fallback: Fallback, score: jax.Array, user: jax.Array, item: jax.Array
) -> jax.Array:
    """``score``; the fallback's where the user or the item is cold. The shapes broadcast."""
    score = jnp.where(fallback.cold_item[item], fallback.user_score[user], score)
    return jnp.where(fallback.cold_user[user], fallback.item_score[item], score)
