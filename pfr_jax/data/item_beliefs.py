"""What a server may believe of items, given noised sums over clients.

An item has a count B, its raters times what each can say within its norm, and an effect b. Where
clients weigh the item by a and have taken an effect off its ratings before,

  sum of counts    = a B + noise,
  sum of residuals = a B (b' - what they have taken off) + noise.

Here b' is what the item's raters say: b, and the chance of who rated it and how, which is the same
in all releases. Beforehand B has one of a few values, each with a probability, and b is normal with
one variance around a line in log(B): popular items are liked. Probabilities, line and variance are
those that explain the sums best, by expectation maximisation.
"""

from dataclasses import dataclass

import numpy as np

VALUES = 64  # of B above 0, up to the largest sum
STEPS = 20  # of expectation maximisation
LEAST_NOISE = 0.01  # less is taken for this, against which the grid of values is coarse
LEAST_VARIANCE = 1e-4  # of effects
FIRST_VARIANCE = 0.25  # where expectation maximisation begins


@dataclass(frozen=True, eq=False)
class Release:
    """A noised sum, and what clients were sent before it."""

    weight: np.ndarray  # f64[I], a
    effect: np.ndarray  # f64[I], taken off the ratings
    residual: np.ndarray  # f64[I], the sum of weighted residuals
    count: np.ndarray  # f64[I], of weights


@dataclass(frozen=True, eq=False)
class Belief:
    """What is believed of items after some releases."""

    effect: np.ndarray  # f64[I], mean of b
    variance: np.ndarray  # f64[I], of b
    count: np.ndarray  # f64[I], mean of B, positive

    def heard(self, weight: np.ndarray, count: np.ndarray) -> np.ndarray:
        """The a behind sums of counts f64[I] where clients were sent `weight`, f64[I].

        What norms leave to a rating differs from release to release, by about one factor.
        """
        expected = weight * self.count
        return weight * max(float(expected @ count) / float(expected @ expected), 0.01)

    def next_weight(self, budget: float, least: float, most: float) -> np.ndarray:
        """How clients should weigh items, f64[I], for predictions to gain most; around 1.

        Items share a client's norm. Weighed by a, an item's precision grows by budget (a B)^2, and
        the squared error of predictions is as the sum of B / precision. What is best for it makes
        budget a^2 B what `level` has above 1 / (variance B), with one level that spends everything.

        Args:
          budget: releases to come, over the variance of their noise.
          least: of every weight.
          most: likewise.
        """
        floor = 1 / (self.variance * self.count)
        low, whole = np.sort(floor), self.count.sum()
        levels = (budget * whole + np.cumsum(low)) / np.arange(1, len(low) + 1)
        level = levels[np.flatnonzero(levels > low)[-1]]
        squared = np.maximum(level - floor, 0) / (budget * self.count)
        return np.clip(np.sqrt(squared), least, most)


def believe(releases: list[Release], noise: float, count_noise: float, num_clients: int) -> Belief:
    """The posterior of every item.

    Args:
      releases: so far; the first with weights of 1.
      noise: standard deviation on sums of residuals.
      count_noise: likewise of counts.
      num_clients: whose vectors have norm 1, which bounds the chance in what raters say.
    """
    first = releases[0].count
    top = 1.1 * max(float(first.max()), count_noise)
    least = max(count_noise / 30, top / 3000)
    value = np.concatenate([[0.0], np.geomspace(least, top, VALUES)])[:, None]  # f64[V, 1], of B
    # Residuals' squares add up to the clients; items have their part as they have of counts.
    chance = num_clients / max(float(first.sum()), count_noise) / np.maximum(value, 1e-9)
    fit, square, linear, precision = np.zeros((4, len(value), len(first)))  # each f64[V, I]
    for release in releases:
        scale = release.weight * value
        fit -= 0.5 * ((release.count - scale) / count_noise) ** 2
        about = (release.residual + scale * release.effect) / noise  # scale b' / noise, and noise
        square += about**2
        linear += about * scale / noise
        precision += (scale / noise) ** 2
    logarithm = np.log(np.maximum(value[:, 0], least))
    line = np.stack([np.ones(len(value)), logarithm - logarithm.mean()], axis=1)
    slope, variance = np.zeros(2), FIRST_VARIANCE
    probability = np.full((len(value), 1), 1 / len(value))
    for _ in range(STEPS):
        expected = (line @ slope)[:, None]
        spread = variance + chance  # of b'
        together = precision + 1 / spread
        said = (linear + expected / spread) / together  # mean of b', given B
        likelihood = fit - 0.5 * (square + expected**2 / spread - said**2 * together)
        likelihood += np.log(np.maximum(probability, 1e-12)) - 0.5 * np.log(together * spread)
        weight = np.exp(likelihood - likelihood.max(axis=0))
        weight /= weight.sum(axis=0)
        trust = variance / spread
        mean = expected + trust * (said - expected)  # of b, given B
        left = variance * (1 - trust) + trust**2 / together
        probability = weight.mean(axis=1, keepdims=True)
        square_of_line = (line * len(first) * probability).T @ line
        slope = np.linalg.solve(
            square_of_line + 1e-6 * np.eye(2), line.T @ (weight * mean).sum(axis=1)
        )
        variance = float(np.sum(weight * ((mean - expected) ** 2 + left))) / len(first)
        variance = max(variance, LEAST_VARIANCE)
    effect = np.sum(weight * mean, axis=0)
    return Belief(
        effect=effect,
        variance=np.sum(weight * (left + mean**2), axis=0) - effect**2,
        count=np.maximum(np.sum(weight * value, axis=0), 1e-9),
    )
