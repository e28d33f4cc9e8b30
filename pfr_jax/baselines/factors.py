"""Matrix factorisation of stars, learned by variational Bayes.

Lim and Teh 2007, "Variational Bayesian approach to movie rating prediction", with effects of users
and items beside the factors:

    stars = mean + b_u + b_i + p_u . q_i + noise

What is believed of a user's (b, p), and of an item's, is a normal distribution. Given those of all
items, the best one of a user is a ridge regression in which every item's uncertainty counts; users
and items take turns. The variances of effects, factors and noise are estimated in every sweep, so
there is no weight of regularisation to tune, and the unit of the ratings does not matter. A user or
item without ratings has mean 0 in everything.

Legend: n users (or items), F = 1 + factors: the effect comes first, R ratings.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from pfr_jax.baselines.record import BYTES_PER_RATING, F64, Known, Stars, small_numbers

FACTORS = 16
SWEEPS = 20
SMALLEST = 1e-9  # of the ratings' variance, which no other variance is below


@dataclass(frozen=True, eq=False)
class Belief:
    """A normal distribution of each user's, or each item's, effect and factors."""

    mean: np.ndarray  # f64[n, F]
    covariance: np.ndarray  # f64[n, F, F]

    def second_moments(self) -> np.ndarray:
        """f64[n, F, F]"""
        return self.mean[:, :, None] * self.mean[:, None, :] + self.covariance


@dataclass(frozen=True, eq=False)
class Regression:
    """Sums over the ratings of each of n users (or items): what its own vector is fitted to."""

    gram: np.ndarray  # f64[n, F, F], of what the other side multiplies the vector by
    pull: np.ndarray  # f64[n, F], of that times what the other side's effects leave

    def solve(self, noise: float, prior: np.ndarray) -> Belief:
        """The belief, given the variances of the noise and, f64[F], of effect and factors."""
        covariance = np.linalg.inv(self.gram / noise + np.diag(1 / prior))
        mean = np.einsum("nfg,ng->nf", covariance, self.pull / noise)
        return Belief(mean, covariance)


def bytes_needed(num_ratings: int, num_users: int, num_items: int) -> float:
    """See ``Baseline.bytes_needed``: covariances, second moments and sums of both sides."""
    matrices = (num_users + num_items) * (1 + FACTORS) ** 2
    return 4 * F64 * matrices + BYTES_PER_RATING * num_ratings


def fit_factors(known: Known) -> Stars:
    """Predicts mean + effects + product of the factors' means, not clipped to the scale."""
    mean = float(known.value.mean())
    residual = known.value - mean
    # Of ratings that are all alike rounding would be left, and be explained.
    residual[np.abs(residual) <= SMALLEST * np.abs(known.value)] = 0.0
    user, item = believed(known, residual)

    def predict(users: np.ndarray, items: np.ndarray) -> np.ndarray:
        effects = user.mean[users, 0] + item.mean[items, 0]
        products = np.einsum("nf,nf->n", user.mean[users, 1:], item.mean[items, 1:])
        return mean + effects + products

    return predict


def believed(known: Known, residual: np.ndarray) -> tuple[Belief, Belief]:
    """What is believed of users and of items after SWEEPS sweeps, from ratings less their mean."""
    spread = float(np.mean(residual**2)) or 1.0
    ratings, rated = known.matrix(residual), known.matrix(np.ones(len(residual)))
    by_item = ratings.T.tocsr(), rated.T.tocsr()
    item, noise, floor = _beginning(known.num_items), spread, SMALLEST * spread
    # Where the variances start: a quarter of the ratings' for each effect, and for all factors.
    of_users = np.array([spread / 4] + [1.0] * FACTORS)
    of_items = np.array([spread / 4] + [spread / 4 / FACTORS] * FACTORS)
    for _ in range(SWEEPS):
        user = _regression(ratings, rated, item).solve(noise, of_users)
        of_users = _variances(user, floor)
        regression = _regression(*by_item, user)
        item = regression.solve(noise, of_items)
        of_items = _variances(item, floor)
        noise = max(_squared_error(ratings, user, regression, item), floor)
    return user, item


def _beginning(num_items: int) -> Belief:
    """Small factors that break the symmetry between them, and nothing else."""
    mean = np.zeros((num_items, 1 + FACTORS))
    mean[:, 1:] = small_numbers(num_items, FACTORS)
    return Belief(mean, np.zeros((num_items, 1 + FACTORS, 1 + FACTORS)))


def _regression(ratings: sp.csr_array, rated: sp.csr_array, other: Belief) -> Regression:
    """The sums for one side, whose rows these are, given the ``other`` one.

    A vector (b, p) of this side meets z = (1, q) of the other, and what is to be explained is the
    residual less the other side's effect.
    """
    size = other.mean.shape[1]
    second = other.second_moments()
    effect_times = second[:, 0, :].copy()  # E[effect z]
    effect_times[:, 0] = other.mean[:, 0]
    z = other.mean.copy()
    z[:, 0] = 1.0
    second[:, 0, :] = second[:, :, 0] = z  # E[z z']
    gram = (rated @ second.reshape(len(z), -1)).reshape(-1, size, size)
    return Regression(gram, ratings @ z - rated @ effect_times)


def _variances(belief: Belief, floor: float) -> np.ndarray:
    """The mean square of effect and factors, f64[F]."""
    squares = np.diagonal(belief.second_moments(), axis1=1, axis2=2)
    return np.maximum(squares.mean(axis=0), floor)


def _squared_error(
    ratings: sp.csr_array, user: Belief, regression: Regression, item: Belief
) -> float:
    """The expected mean square of what is left of ``ratings``; ``regression`` led to ``item``."""
    of_user = user.mean[:, 0] ** 2 + user.covariance[:, 0, 0]
    total = (ratings.data**2).sum() - 2 * (ratings.sum(axis=1) @ user.mean[:, 0])
    total += np.diff(ratings.indptr) @ of_user
    total += (regression.gram * item.second_moments()).sum()
    total -= 2 * (regression.pull * item.mean).sum()
    return float(total / ratings.nnz)
