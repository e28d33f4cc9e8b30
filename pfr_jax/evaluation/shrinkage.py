"""How much of the model counts in a prediction of stars: less where a user has few ratings.

The model's part m of a prediction is added to a centre that needs no model (``--center``). What a
model has learned from three ratings is mostly noise, so a client counts it n / (n + k) times, n its
user's training ratings, as the posterior mean of a normal effect would be. One k serves all; which,
every client's squared errors on its validation ratings say, a sum per candidate.
"""

from collections.abc import Callable

import numpy as np

from pfr_jax.evaluation.task import Judged

# Of these is chosen; with the last one hardly anything but the centre is left.
CANDIDATES = (0.0, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 10000.0)


def shrunken(outputs: np.ndarray, ratings: np.ndarray, shrinkage: float) -> np.ndarray:
    """Model outputs f64[T] of users with so many training ratings i64[T], shrunk towards 0."""
    if not shrinkage:
        return outputs
    return outputs * (ratings / (ratings + shrinkage))


def best_shrinkage(
    judge: Callable[[float], Judged], criterion: Callable[[Judged], float]
) -> tuple[Judged, float]:
    """The candidate with the lowest criterion, the smallest of equals, and what it was judged."""
    judged = [(judge(candidate), candidate) for candidate in CANDIDATES]
    return min(judged, key=lambda one: criterion(one[0]))
