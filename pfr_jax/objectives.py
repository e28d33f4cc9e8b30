"""Losses over the observed entries only: a rating not given is no rating of 0."""

import jax
import jax.numpy as jnp


def masked_squared_error(
    predictions: jax.Array, targets: jax.Array, observed: jax.Array
) -> jax.Array:
    """Mean squared error over the observed entries: f[n, L], f[n, L], bool[n, L] -> f[].

    A batch without any observed entry has loss 0 (and gradient 0).
    """
    squared = jnp.where(observed, jnp.square(predictions - targets), 0)
    return squared.sum() / jnp.maximum(observed.sum(), 1).astype(squared.dtype)
