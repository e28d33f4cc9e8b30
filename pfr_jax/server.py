"""The server: sums what clients hand over, divides, and steps the shared part.

It sees ``Payload`` objects and its own state, nothing else. Legend: B clients in a block,
C clients in the cohort, n_i of them that hold item row i, I items.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax

from pfr_jax.client.block import Payload
from pfr_jax.client.fixed_point import to_float
from pfr_jax.models.item_rows import Tree, map_rows

Denominator = Callable[[jax.Array, jax.Array], jax.Array]

# (C, n_i) -> what the sum of item row i is divided by. The paper's plain mean is "clients".
DENOMINATORS: dict[str, Denominator] = {
    "clients": lambda clients, holders: jnp.full_like(holders, clients),
    "contributors": lambda clients, holders: jnp.maximum(holders, 1),
    "sqrt": lambda clients, holders: jnp.sqrt(clients * jnp.maximum(holders, 1)),
}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ServerState:
    """What the server keeps from round to round."""

    shared: Tree  # the shared part; item leaves f[I, .]
    opt_state: Any


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PayloadSum:
    """The running sum over the cohort's payloads."""

    delta: Tree  # like the shared part; fixed point: of integers (pfr_jax.client.fixed_point)
    holders: jax.Array  # f[I], clients that handed over this row
    clients: jax.Array  # f[]
    rejected: jax.Array  # i32[2]


def empty_sum(
    shared: Tree, num_items: int, dtype: Any, fixed_point: float | None = None
) -> PayloadSum:
    kind = jnp.int32 if fixed_point else None
    return PayloadSum(
        delta=jax.tree.map(lambda leaf: jnp.zeros_like(leaf, dtype=kind), shared),
        holders=jnp.zeros((num_items,), dtype),
        clients=jnp.zeros((), dtype),
        rejected=jnp.zeros((2,), jnp.int32),
    )


def add_payload(total: PayloadSum, payload: Payload) -> PayloadSum:
    """Adds a block of clients; an empty place of the block adds nothing."""
    chex.assert_trees_all_equal_structs(total.delta, payload.delta)
    present, items = payload.present, payload.items

    def add_rows(leaf: jax.Array, delta: jax.Array) -> jax.Array:
        return leaf.at[items].add(delta, mode="drop")  # empty places hold padding rows only

    holders = (
        total.holders + present.sum()
        if items is None
        else total.holders.at[items].add(jnp.broadcast_to(present[:, None], items.shape))
    )
    on_items = jnp.add if items is None else add_rows
    return PayloadSum(
        delta=map_rows(on_items, jnp.add, total.delta, payload.delta),
        holders=holders,
        clients=total.clients + present.sum(),
        rejected=total.rejected + payload.rejected,
    )


def server_step(
    state: ServerState,
    total: PayloadSum,
    denominator: Denominator,
    optimizer: optax.GradientTransformation,
    fixed_point: float | None = None,
) -> ServerState:
    """Steps the shared part by the cohort's mean change, as an optimizer step on its negative.

    Where nobody handed anything over, all stays as it is.
    """
    somebody, dtype = total.clients > 0, total.clients.dtype
    clients = jnp.maximum(total.clients, 1)
    # Inverse once, behind a barrier: left to the compiler, a division is now one, now a product
    # with the inverse, and rounded otherwise on one device than on many.
    of_row, of_leaf = jax.lax.optimization_barrier(
        (1 / denominator(clients, total.holders), 1 / clients)
    )
    delta = total.delta
    if fixed_point:
        delta = jax.tree.map(lambda leaf: to_float(leaf, fixed_point, dtype), delta)

    def divide_rows(leaf: jax.Array) -> jax.Array:
        return -leaf * of_row.reshape((-1,) + (1,) * (leaf.ndim - 1))

    gradient = map_rows(divide_rows, lambda leaf: -leaf * of_leaf, delta)
    updates, opt_state = optimizer.update(gradient, state.opt_state, state.shared)
    stepped = ServerState(optax.apply_updates(state.shared, updates), opt_state)
    return jax.tree.map(lambda new, old: jnp.where(somebody, new, old), stepped, state)
