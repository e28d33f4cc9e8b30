"""The server: divides a cohort's sum, and steps the shared part.

It sees a ``CohortSum`` and its own state, nothing else. Legend: C clients in the cohort, n_i of
them that hold item row i, I items.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

from pfr_jax.models.item_rows import Tree, map_rows


@dataclass(frozen=True)
class Denominator:
    """What the sum of an item's row is divided by."""

    divisor: Callable[[Any, Any], Any]  # (C, n_i) -> f[] or f[I]
    counts: bool = False  # whether it needs n_i, which then the server is told


# The paper's plain mean is "clients". With "expected", C are the clients of a cohort in the mean.
DENOMINATORS: dict[str, Denominator] = {
    "clients": Denominator(lambda clients, holders: clients),
    "contributors": Denominator(lambda clients, holders: jnp.maximum(holders, 1), counts=True),
    "sqrt": Denominator(
        lambda clients, holders: jnp.sqrt(clients * jnp.maximum(holders, 1)), counts=True
    ),
    "expected": Denominator(lambda clients, holders: clients),
}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ServerState:
    """What the server keeps from round to round."""

    shared: Tree  # the shared part; item leaves f[I, .]
    opt_state: Any
    clip: jax.Array | None = None  # f[], norm that clients clip to; None: they do not


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class CohortSum:
    """What the server learns of a cohort: sums over its clients."""

    delta: Tree  # change of the shared part, like it
    clients: jax.Array  # f[], how many clients it is of, or of how many it is in the mean
    holders: jax.Array | None  # f[I], clients that handed over this row; None: it is not told
    within: jax.Array | None = None  # f[], share of clients within the clipping norm, noised


def server_step(
    state: ServerState,
    total: CohortSum,
    denominator: Denominator,
    optimizer: optax.GradientTransformation,
) -> ServerState:
    """Steps the shared part by the cohort's mean change, as an optimizer step on its negative.

    Where nobody handed anything over, all stays as it is.
    """
    somebody = total.clients > 0
    clients = jnp.maximum(total.clients, 1)
    # Inverse once, behind a barrier: left to the compiler, a division is now one, now a product
    # with the inverse, and rounded otherwise on one device than on many.
    of_row, of_leaf = jax.lax.optimization_barrier(
        (1 / denominator.divisor(clients, total.holders), 1 / clients)
    )

    def divide_rows(leaf: jax.Array) -> jax.Array:
        return -leaf * of_row.reshape((-1,) + (1,) * (leaf.ndim - 1))

    gradient = map_rows(divide_rows, lambda leaf: -leaf * of_leaf, total.delta)
    updates, opt_state = optimizer.update(gradient, state.opt_state, state.shared)
    stepped = ServerState(optax.apply_updates(state.shared, updates), opt_state, state.clip)
    return jax.tree.map(lambda new, old: jnp.where(somebody, new, old), stepped, state)
