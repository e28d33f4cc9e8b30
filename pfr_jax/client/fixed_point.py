"""Sums that do not depend on their order: numbers as whole multiples of a power of two, in int32.

Sums of floats differ in their last bits between one device and many; sums of integers do not.
Secure aggregation adds integers, too.
"""

import math

import jax
import jax.numpy as jnp

BOUND = 4.0  # a change of a parameter in one round that is never reached; larger ones are cut
LOSS_SHARE = 16  # losses are larger: their multiples are as many times as large


def scale_for(terms: int) -> float:
    """Multiples per unit (a power of two), such that so many terms up to BOUND do not overflow."""
    return 2.0 ** math.floor(math.log2((2**31 - 1) / (terms * BOUND)))


def to_fixed(values: jax.Array, scale: float) -> jax.Array:
    """f[...] to i32[...], rounded to the nearest; beyond BOUND: cut."""
    limit = scale * BOUND - 1
    return jnp.clip(jnp.round(values * scale), -limit, limit).astype(jnp.int32)


def to_float(fixed: jax.Array, scale: float, dtype: jnp.dtype) -> jax.Array:
    return fixed.astype(dtype) / scale
