"""Predictions of the federation: each user's ratings through its own client's model.

As on a real client, the input is the user's training vector. The hidden
features of all users come first; any (user, item) pair is then one dot product.
Legend: U users, H width of the decoder's last hidden layer, B clients in a block, T pairs.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pfr_jax.algorithms import Buckets, FederationState
from pfr_jax.client.block import take_slots
from pfr_jax.data.population import Bucket, Population
from pfr_jax.data.table import Ratings
from pfr_jax.model import AutoEncoder, features, score_pairs
from pfr_jax.rows import add_trees, take_rows

CLIENTS_PER_BLOCK = 32
PAIRS_PER_BLOCK = 4096


@partial(jax.jit, static_argnames=("model", "num_users"))
def user_features(
    model: AutoEncoder, state: FederationState, buckets: Buckets, num_users: int
) -> jax.Array:
    """What the output layer sees for every user, f[U, H], without dropout."""
    shared = state.server.shared

    def one(private: Any, items: jax.Array, values: jax.Array) -> jax.Array:
        own = add_trees(take_rows(state.start, items), private)
        params = {**own, **take_rows(shared, items)}
        return jax.vmap(partial(features, model, params))(values)

    def block(bucket: Bucket, private: Any, index: jax.Array, hidden: jax.Array) -> jax.Array:
        slots = index * CLIENTS_PER_BLOCK + jnp.arange(CLIENTS_PER_BLOCK)
        items, values, users = take_slots((bucket.items, bucket.values, bucket.users), slots)
        rows = jax.vmap(one)(take_slots(private, slots), items, values)
        return hidden.at[users].set(rows, mode="drop")

    dtype = jax.tree.leaves(shared)[0].dtype
    hidden = jnp.zeros((num_users, model.hidden_sizes[0]), dtype)
    for bucket, states in zip(buckets, state.clients, strict=True):
        one_block = partial(block, bucket, states.private)
        hidden = jax.lax.fori_loop(0, -(-len(bucket) // CLIENTS_PER_BLOCK), one_block, hidden)
    return hidden


@jax.jit
def predict_pairs(
    state: FederationState, hidden: jax.Array, user: jax.Array, item: jax.Array
) -> jax.Array:
    """Model outputs for pairs i32[T], i32[T] -> f[T], centred as in training."""

    def one(pair: tuple[jax.Array, jax.Array]) -> jax.Array:
        return score_pairs(state.server.shared, hidden[pair[0]], pair[1])

    return jax.lax.map(one, (user, item), batch_size=PAIRS_PER_BLOCK)


def predict_ratings(
    state: FederationState,
    hidden: jax.Array,
    population: Population,
    ratings: Ratings,
    part: np.ndarray,
    clip: bool,
) -> np.ndarray:
    """Predicted stars, f64[T], for the ratings of a held-out part (i64[T] into the table)."""
    user, item = ratings.user[part], ratings.item[part]
    output = predict_pairs(state, hidden, jnp.asarray(user), jnp.asarray(item))
    stars = np.asarray(output, np.float64) + population.center[user]
    return np.clip(stars, ratings.scale.low, ratings.scale.high) if clip else stars
