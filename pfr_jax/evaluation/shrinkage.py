"""How much of the model counts in a prediction of stars: less where a user has few ratings.

The model's part m of a prediction is added to a centre that needs no model (``--center``). What a
model has learned from three ratings is mostly noise, so a client counts it n / (n + k) times, n its
user's training ratings, as the posterior mean of a normal effect would be. One k serves all; which,
the clients' squared errors on their validation ratings say, and whether the model counts at all.
"""

from collections.abc import Callable

import numpy as np

# Of these is chosen; with the last one hardly anything but the centre is left.
CANDIDATES = (0.0, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 10000.0)
CERTAINTY = 2.0  # standard errors by which a model must be better than the centre alone


def shrunken(outputs: np.ndarray, ratings: np.ndarray, shrinkage: float) -> np.ndarray:
    """Model outputs f64[T] of users with so many training ratings i64[T], shrunk towards 0."""
    return outputs * trust(ratings, shrinkage) if shrinkage else outputs


def trust(ratings: np.ndarray, shrinkage: float) -> np.ndarray:
    """What outputs for users with so many training ratings i64[n] are multiplied by, f64[n]."""
    return ratings / (ratings + shrinkage) if shrinkage else np.ones(len(ratings))


def best_shrinkage(squared_errors: Callable[[float], np.ndarray]) -> float:
    """The candidate with the smallest sum of squared errors, f64[T] of warm ratings.

    The last one, unless the best is better than that by ``CERTAINTY`` standard errors of their
    difference: on a few validation ratings some round and some shrinkage always look better than
    the centre, by chance. Of every client this takes two sums per candidate. 0 without any rating.
    """
    errors = {candidate: squared_errors(candidate) for candidate in CANDIDATES}
    if not len(errors[0.0]):
        return 0.0
    if len(errors[0.0]) == 1:  # nothing is sure
        return CANDIDATES[-1]
    best = min(CANDIDATES, key=lambda candidate: float(errors[candidate].sum()))
    gain = errors[CANDIDATES[-1]] - errors[best]
    doubt = CERTAINTY * gain.std(ddof=1) / np.sqrt(len(gain))
    return best if gain.mean() > doubt else CANDIDATES[-1]
