"""Losses over the observed entries only: a rating not given is no rating of 0.

Explicit feedback: squared error. Implicit feedback: binary cross entropy of logits.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

Loss = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


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


@dataclass(frozen=True)
class ByRating:
    """A loss that weighs every rating alike: times the ratings per user over what is usual.

    The weights n_k / n of FedAvg (McMahan et al., arXiv 1602.05629), but inside local training: a
    client with few ratings takes smaller steps against the same weight decay, so its own
    parameters are held closer to 0.
    """

    loss: Loss  # a mean over what is observed
    usual: float  # training ratings of the mean user

    def __call__(
        self, predictions: jax.Array, targets: jax.Array, observed: jax.Array
    ) -> jax.Array:
        """f[n, L], f[n, L], bool[n, L] -> f[]. Users without ratings are not counted."""
        users = jnp.maximum(observed.any(axis=1).sum(), 1)
        ratings = (observed.sum() / users).astype(predictions.dtype)
        return self.loss(predictions, targets, observed) * (ratings / self.usual)
