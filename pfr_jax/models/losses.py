"""Losses over the observed entries only: a rating not given is no rating of 0.

Explicit feedback: squared error. Implicit feedback: binary cross entropy of logits.
"""

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


def masked_cross_entropy(logits: jax.Array, values: jax.Array, observed: jax.Array) -> jax.Array:
    """Mean binary cross entropy over the observed entries: f[n, L], f[n, L], bool[n, L] -> f[].

    A value above 0 is a positive. Labels are 0 and 1; centred ones (label less a share strictly
    between 0 and 1) keep their sign, so the same rule reads both. 0 for an empty batch.
    """
    # -log sigmoid(z) for a positive and -log(1 - sigmoid(z)) = -log sigmoid(-z) for the others.
    entropy = jax.nn.softplus(jnp.where(values > 0, -logits, logits))
    return jnp.where(observed, entropy, 0).sum() / jnp.maximum(observed.sum(), 1).astype(
        logits.dtype
    )
