"""Losses over the observed entries only: a rating not given is no rating of 0.

Explicit feedback: squared error. Implicit feedback: binary cross entropy of logits. Ranking: that,
or one of two losses that compare what a user has chosen with what its client has drawn. In these
a value above 0 is a positive: labels are 0 and 1, and centred ones (label less a share strictly
between 0 and 1) keep their sign, so the same rule reads both.
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

    0 for an empty batch.
    """
    # -log sigmoid(z) for a positive and -log(1 - sigmoid(z)) = -log sigmoid(-z) for the others.
    entropy = jax.nn.softplus(jnp.where(values > 0, -logits, logits))
    return jnp.where(observed, entropy, 0).sum() / jnp.maximum(observed.sum(), 1).astype(
        logits.dtype
    )


def choice_among_drawn(logits: jax.Array, values: jax.Array, observed: jax.Array) -> jax.Array:
    """Multinomial cross entropy: every choice against all that its user's client holds.

    f[n, L], f[n, L], bool[n, L] -> f[]. Each user's observed outputs are made probabilities by a
    softmax; the loss is the mean over the positives of the negative logarithm of theirs (Liang et
    al. 2018, there over all items). 0 without positives.
    """
    chosen = observed & (values > 0)
    likely = jax.nn.log_softmax(logits, axis=-1, where=observed)
    count = jnp.maximum(chosen.sum(), 1).astype(logits.dtype)
    return -jnp.where(chosen, likely, 0).sum() / count


def choice_before_drawn(scores: jax.Array, values: jax.Array, observed: jax.Array) -> jax.Array:
    """Bayesian personalised ranking (Rendle et al. 2009): a choice should score above a negative.

    f[n, L], f[n, L], bool[n, L] -> f[]. The mean of -log sigmoid(positive - negative) over pairs of
    one user: each negative with one positive, taken in turn in the order of the items. 0 without
    pairs.
    """

    def of_user(
        scores: jax.Array, chosen: jax.Array, drawn: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        positives = jnp.argsort(~chosen, stable=True)  # their places come first
        turn = (jnp.cumsum(drawn) - 1) % jnp.maximum(chosen.sum(), 1)
        paired = drawn & chosen.any()
        loss = jax.nn.softplus(scores - scores[positives[turn]])
        return jnp.where(paired, loss, 0).sum(), paired.sum()

    loss, pairs = jax.vmap(of_user)(scores, observed & (values > 0), observed & (values <= 0))
    return loss.sum() / jnp.maximum(pairs.sum(), 1).astype(scores.dtype)


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
