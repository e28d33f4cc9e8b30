"""Random bits for rounding: a hash of each element's index, much cheaper than ``jax.random``."""

import math

import jax
import jax.numpy as jnp

_HASH = (0x7FEB352D, 0x846CA68B)  # multipliers of a 32-bit integer hash with low bias


def random_bits(shape: tuple[int, ...], seed: jax.Array) -> jax.Array:
    """u32[shape], good enough to dither; ``seed`` is u32[].

    An element's bits depend on its index, row after row, and so not on how many rows follow.
    """
    bits = jax.lax.iota(jnp.uint32, math.prod(shape)).reshape(shape) ^ seed
    for factor, shift in zip((*_HASH, 1), (16, 15, 16), strict=True):
        bits = (bits ^ (bits >> shift)) * jnp.uint32(factor)
    return bits
