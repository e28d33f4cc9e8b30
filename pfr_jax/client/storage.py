"""One client's state between memory and computation: matrices in 16 bit or 32, zeros at first.

A client never sampled costs nothing: its part of the stacks is ``untouched``. So what is read of
such a client is not data, and ``read`` puts zeros in its place.
"""

from typing import Any

import jax
import jax.numpy as jnp

from pfr_jax.client.block import ClientState

_HASH = (0x7FEB352D, 0x846CA68B)  # multipliers of a 32-bit integer hash with low bias


def read(state: ClientState, dtype: Any) -> ClientState:
    """One client's state in the type it is computed in; zeros if it was never trained."""
    trained = state.rounds > 0

    def of_leaf(leaf: jax.Array) -> jax.Array:
        return jnp.where(trained, leaf.astype(dtype), 0)

    return ClientState(
        private=jax.tree.map(of_leaf, state.private),
        private_opt=jax.tree.map(of_leaf, state.private_opt),
        shared_opt=jax.tree.map(of_leaf, state.shared_opt),
        rounds=state.rounds,
        constant=state.constant,
    )


def write(state: ClientState, stored: ClientState, key: jax.Array) -> ClientState:
    """One client's ``state`` in the types of ``stored``; what loses bits is rounded at random.

    Rounded to the nearest, changes smaller than half a unit of the 16-bit value would be lost
    again and again.
    """
    leaves, shape = jax.tree.flatten(state)
    types = [leaf.dtype for leaf in jax.tree.leaves(stored)]
    seeds = jax.random.bits(key, (len(leaves),), jnp.uint32)
    rounded = [
        leaf if leaf.dtype == kind else round_at_random(leaf, seed)
        for leaf, kind, seed in zip(leaves, types, seeds, strict=True)
    ]
    return jax.tree.unflatten(shape, rounded)


def round_at_random(values: jax.Array, seed: jax.Array) -> jax.Array:
    """f32 to bf16, up with the probability that makes the expected value right. seed u32[].

    The random bits are a hash of each element's index: good enough to dither, and much cheaper
    than those of ``jax.random``.
    """
    bits = jax.lax.iota(jnp.uint32, values.size).reshape(values.shape) ^ seed
    for factor, shift in zip((*_HASH, 1), (16, 15, 16), strict=True):
        bits = (bits ^ (bits >> shift)) * jnp.uint32(factor)
    raised = jax.lax.bitcast_convert_type(values.astype(jnp.float32), jnp.uint32) + (bits >> 16)
    top = (raised >> 16).astype(jnp.uint16)
    return jax.lax.bitcast_convert_type(top, jnp.bfloat16)
