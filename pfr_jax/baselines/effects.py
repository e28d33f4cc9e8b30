"""Predictors without a model, to compare with.

Each predicts a mean plus an effect of the user plus an effect of the item, in stars, and is
fitted on the training ratings alone. Sums are taken in float64.
"""

from dataclasses import dataclass

import numpy as np

from pfr_jax.baselines.record import Known
from pfr_jax.data.effects import (
    ITEM_SHRINKAGE,
    Residuals,
    adaptive_effects,
    fixed_effects,
    shrunken_mean,
)
from pfr_jax.data.table import Ratings
from pfr_jax.data.targets import explicit_targets
from pfr_jax.seeding import Stream, permutation


@dataclass(frozen=True, eq=False)
class Predictor:
    """Predicts mean + user effect + item effect, not clipped to the scale."""

    mean: float  # stars
    user: np.ndarray  # f64[U], stars
    item: np.ndarray  # f64[I], stars

    def __call__(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """Predicted stars, f64[n], of users i32[n] for items i32[n]."""
        return self.mean + self.user[user] + self.item[item]


def fit_baselines(ratings: Ratings, fitted: np.ndarray) -> dict[str, Predictor]:
    """global_mean, user_mean, item_mean, bias_only and adaptive_bias, fitted on these rows.

    A user or item without training ratings has effect 0.
    """
    mean, residuals = _less_mean(Known.of(ratings, fitted, explicit_targets(ratings)))
    no_user, no_item = np.zeros(ratings.num_users), np.zeros(ratings.num_items)
    of_user = residuals.users.given(no_item, 0.0)
    of_item = residuals.items.given(no_user, 0.0)
    fixed, adaptive = fixed_effects(residuals), adaptive_effects(residuals)
    return {
        "global_mean": Predictor(mean, no_user, no_item),
        "user_mean": Predictor(mean, of_user, no_item),
        "item_mean": Predictor(mean, no_user, of_item),
        "bias_only": Predictor(mean, fixed.user, fixed.item),
        "adaptive_bias": Predictor(mean, adaptive.user, adaptive.item),
    }


def bias_only(known: Known) -> Predictor:
    """The mean, and shrunken effects of users and items that were found by turns."""
    mean, residuals = _less_mean(known)
    effects = fixed_effects(residuals)
    return Predictor(mean, effects.user, effects.item)


def _less_mean(known: Known) -> tuple[float, Residuals]:
    mean = float(known.value.mean())
    sizes = known.num_users, known.num_items
    return mean, Residuals.of(known.user, known.item, known.value - mean, *sizes)


def item_scores(item: np.ndarray, positive: np.ndarray, num_items: int) -> dict[str, np.ndarray]:
    """Scores f64[I] that rank items alike for everybody, from n ratings: item i[n], positive f[n].

    ``popularity`` counts positives, ``item_mean`` is their share among the item's ratings, shrunk
    towards the share among all, and ``random`` is chance.
    """
    share = positive.mean()
    return {
        "popularity": np.bincount(item, positive, minlength=num_items),
        "item_mean": share + shrunken_mean(item, positive - share, num_items, ITEM_SHRINKAGE),
        "random": permutation(num_items, Stream.BASELINE).astype(np.float64),
    }
