"""All training ratings in one flat table on the device, and minibatches of users made from it.

For centralised training, where any user may meet any other in a minibatch. Legend: U users, N
ratings, n users of a minibatch, I items.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from pfr_jax.population.devices import EVERYWHERE, shape

CHUNK = 4096  # ratings scattered at once; a minibatch takes as many chunks as it needs


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Interactions:
    """Ratings in the order of their users. Index U is a user without ratings: padding."""

    start: jax.Array  # i32[U + 2], where each user's ratings begin
    item: jax.Array  # i32[N]
    value: jax.Array  # f[N], centred
    profile: jax.Array  # f[U + 1, P]
    trained: jax.Array  # i32[...], the users who have ratings here


def build_interactions(
    user: np.ndarray, item: np.ndarray, value: np.ndarray, profile: np.ndarray, dtype: type
) -> Interactions:
    """From ratings in any order: user i[N], item i[N], value f64[N]; profile f[U, P]."""
    num_users = len(profile)
    order = np.argsort(user, kind="stable")
    count = np.bincount(user, minlength=num_users + 1)
    return Interactions(
        start=jnp.asarray(np.concatenate([[0], np.cumsum(count)]), jnp.int32),
        item=jnp.asarray(item[order], jnp.int32),
        value=jnp.asarray(value[order].astype(dtype)),
        profile=jnp.asarray(np.pad(profile, ((0, 1), (0, 0))).astype(dtype)),
        trained=jnp.asarray(np.flatnonzero(count), jnp.int32),
    )


def outline_interactions(
    profile: tuple[int, ...], num_ratings: int, num_trained: int, dtype: Any, mesh: Mesh
) -> Interactions:
    """Shapes of so many ratings, of so many of U users with a ``profile`` f[U, P]."""
    num_users, size = profile
    tables = {
        "start": ((num_users + 2,), np.int32),
        "item": ((num_ratings,), np.int32),
        "value": ((num_ratings,), dtype),
        "profile": ((num_users + 1, size), dtype),
        "trained": ((num_trained,), np.int32),
    }
    return Interactions(**{name: shape(*of, mesh, EVERYWHERE) for name, of in tables.items()})


def dense_rows(data: Interactions, users: jax.Array, num_items: int) -> tuple[jax.Array, jax.Array]:
    """The ratings of ``users`` i32[n] as (values f[n, I], 0 where not observed; observed).

    The number of chunks is traced, so a minibatch costs what it holds and nothing recompiles.
    """
    first, count = data.start[users], data.start[users + 1] - data.start[users]
    end = jnp.cumsum(count)

    def scatter(index: jax.Array, values: jax.Array) -> jax.Array:
        position = index * CHUNK + jnp.arange(CHUNK, dtype=end.dtype)
        row = jnp.searchsorted(end, position, side="right")  # n past the end: dropped
        source = first.at[row].get(mode="clip") + position - (end - count).at[row].get(mode="clip")
        items = data.item.at[source].get(mode="clip")
        return values.at[row, items].set(data.value.at[source].get(mode="clip"), mode="drop")

    empty = jnp.full((len(users), num_items), jnp.nan, data.value.dtype)
    values = jax.lax.fori_loop(0, -(-end[-1] // CHUNK), scatter, empty)
    observed = ~jnp.isnan(values)
    return jnp.where(observed, values, 0), observed
