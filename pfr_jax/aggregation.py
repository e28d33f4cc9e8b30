"""Payloads added up over a cohort, and what of the sum the server is handed.

With ``--upload=plain`` and ``decoy`` the server itself adds, and so sees every ``Payload``. With
``secure_sum`` and ``dp`` this is what the protocol computes (``pfr_jax.privacy.secure_sum``):
single payloads end here, and a ``CohortSum`` is all that goes on. Legend as in ``pfr_jax.server``.
"""

from dataclasses import dataclass
from typing import Any

import chex
import jax
import jax.numpy as jnp

from pfr_jax.client.block import Payload
from pfr_jax.client.fixed_point import to_float
from pfr_jax.models.item_rows import Tree, map_rows
from pfr_jax.privacy.mechanism import Mechanism
from pfr_jax.server import CohortSum


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PayloadSum:
    """The running sum over the cohort's payloads."""

    delta: Tree  # like the shared part; fixed point: of integers (pfr_jax.client.fixed_point)
    holders: Any  # f[I], clients that handed over this row; None where that is not summed
    clients: jax.Array  # f[]
    rejected: jax.Array  # i32[2]
    within: jax.Array | None = None  # f[], clients whose change was within the clipping norm


def empty_sum(
    shared: Tree,
    num_items: int,
    dtype: Any,
    fixed_point: float | None = None,
    clipped: bool = False,
) -> PayloadSum:
    kind = jnp.int32 if fixed_point else None
    return PayloadSum(
        delta=jax.tree.map(lambda leaf: jnp.zeros_like(leaf, dtype=kind), shared),
        holders=jnp.zeros((num_items,), dtype),
        clients=jnp.zeros((), dtype),
        rejected=jnp.zeros((2,), jnp.int32),
        within=jnp.zeros((), dtype) if clipped else None,
    )


def add_payload(total: PayloadSum, payload: Payload) -> PayloadSum:
    """Adds a block of clients; an empty place of the block adds nothing."""
    chex.assert_trees_all_equal_structs(
        (total.delta, total.within), (payload.delta, payload.within)
    )
    present, items = payload.present, payload.items

    def on_items(leaf: jax.Array, delta: jax.Array) -> jax.Array:
        if items is None:
            return leaf + delta
        added: jax.Array = jax.lax.platform_dependent(
            *(leaf, delta, items), tpu=add_flat_rows, default=add_rows
        )
        return added

    holders = (
        total.holders + present.sum()
        if items is None
        else total.holders.at[items].add(jnp.broadcast_to(present[:, None], items.shape))
    )
    return PayloadSum(
        delta=map_rows(on_items, jnp.add, total.delta, payload.delta),
        holders=holders,
        clients=total.clients + present.sum(),
        rejected=total.rejected + payload.rejected,
        within=jax.tree.map(lambda a, b: a + b.sum(), total.within, payload.within),
    )


def add_rows(leaf: jax.Array, delta: jax.Array, items: jax.Array) -> jax.Array:
    """f[I, ...] with the rows f[B, L, ...] of i32[B, L] added; rows of item I are padding."""
    return leaf.at[items].add(delta, mode="drop")


def add_flat_rows(leaf: jax.Array, delta: jax.Array, items: jax.Array) -> jax.Array:
    """The same, by way of flat rows: a TPU pads an axis of a few members.

    Their order is that of the TPU's kernel (``client/factored/on_tpu/lanes.py``), whose rows then
    need no turning. A CPU would have to divide for the place of every number of a flat row.
    """
    if leaf.ndim < 3:
        return add_rows(leaf, delta, items)
    turned, changes = jnp.swapaxes(leaf, -1, -2), jnp.swapaxes(delta, -1, -2)
    flat = turned.reshape(len(leaf), -1)
    added = add_rows(flat, changes.reshape(*items.shape, -1), items)
    return jnp.swapaxes(added.reshape(turned.shape), -1, -2)


def cohort_sum(
    total: PayloadSum, fixed_point: float | None, expected: float | None, counts: bool
) -> CohortSum:
    """What the server is told of a sum, as floats; nothing of it is noised.

    ``expected`` are the clients of a cohort in the mean, where these are counted instead of those
    that came; ``counts``: how many clients hold a row is told, too.
    """
    delta, dtype = total.delta, total.clients.dtype
    if fixed_point:
        delta = jax.tree.map(lambda leaf: to_float(leaf, fixed_point, dtype), delta)
    clients = total.clients if expected is None else jnp.asarray(expected, dtype)
    return CohortSum(delta, clients, total.holders if counts else None)


def noised_sum(
    total: PayloadSum,
    fixed_point: float | None,
    expected: float,
    mechanism: Mechanism,
    clip: jax.Array,
    key: jax.Array,
) -> CohortSum:
    """What the server is told under differential privacy: changes and noise, and no count.

    How many clients were within ``clip`` is told where the mechanism's norm follows it, with noise
    too.
    """
    plain = cohort_sum(total, fixed_point, expected, counts=False)
    within = None
    if mechanism.quantile:
        assert total.within is not None
        within = mechanism.noised_count(total.within, total.clients, key)
    return CohortSum(mechanism.noised(plain.delta, clip, key), plain.clients, None, within)
