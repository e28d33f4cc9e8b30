"""The codes and features of a client's local steps, from the change of the decoder's hidden layer.

The layer's kernel changes by c W + sum_k a_k z_k (x) d_k: what dropout left of the codes z_k are
sparse vectors in a space of K dimensions. Notation as in ``inversion``.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

from pfr_jax.models.layers import NORM_EPSILON

TRIES = 40_000  # draws of places where a code may be 0; all of them if there are no more
ZERO = 1e-5  # of a code's largest entry
POOL = 60  # vectors that may be codes, of most zeros
SPARE = 2  # of them, those that are looked at besides the K whose features fit best
FITS = 0.05  # distance of a true code's features from the space of the rows
LENGTHS = np.concatenate([-np.geomspace(0.3, 40, 40), np.geomspace(0.3, 40, 40)])


@dataclass(frozen=True)
class Hidden:
    """The decoder's hidden layer as it was sent, or its change; of one member."""

    kernel: np.ndarray  # f64[C, H]
    bias: np.ndarray  # f64[H]
    scale: np.ndarray  # f64[H]
    shift: np.ndarray  # f64[H]

    @classmethod
    def of(cls, named: dict[str, np.ndarray], member: int) -> "Hidden":
        """From the leaves of the shared part."""

        def leaf(name: str, ndim: int) -> np.ndarray:
            found = named[f"decoder/{name}"].astype(np.float64)
            return found[..., member] if found.ndim > ndim else found

        return cls(
            leaf("linear_0/kernel", 2),
            leaf("linear_0/bias", 1),
            leaf("norm_0/scale", 1),
            leaf("norm_0/bias", 1),
        )

    def features(self, code: np.ndarray) -> np.ndarray:
        """f[..., C] -> f[..., H + 1], with the 1 of the bias."""
        y = code @ self.kernel + self.bias
        y = y - y.mean(axis=-1, keepdims=True)
        y = y / np.sqrt((y * y).mean(axis=-1, keepdims=True) + NORM_EPSILON)
        h = np.tanh(y * self.scale + self.shift)
        return np.concatenate([h, np.ones((*h.shape[:-1], 1))], axis=-1)


def find_features(
    before: Hidden,
    delta: Hidden,
    change: np.ndarray,
    space: np.ndarray,
    dropout: float,
    rng: np.random.Generator,
) -> np.ndarray | None:
    """The features of every step, f64[K, H + 1]; None: no set of K codes fits.

    ``space`` f64[K, H + 1] is that of the items' rows.
    """
    steps = len(space)
    gradients = delta.kernel - change[-1, 0] * before.kernel
    codes = sparse_vectors(gradients, steps, dropout, rng)
    far = _distances(before, codes[:, None] * LENGTHS[:, None], space).min(axis=1)
    likely = np.argsort(far)[: steps + SPARE]
    sets = sorted(itertools.combinations(likely, steps), key=lambda some: far[list(some)].sum())
    sparsest = itertools.combinations(range(min(steps + 1, len(codes))), steps)
    for some in (*sparsest, *sets):
        features, worst = unroll(codes[list(some)], before, delta, change, space)
        if worst < FITS:
            return features
    return None


def sparse_vectors(
    gradients: np.ndarray, steps: int, dropout: float, rng: np.random.Generator
) -> np.ndarray:
    """What may be a code after dropout, of length 1, f64[found, C]; of most zeros first.

    They are vectors in the space of the columns of ``gradients`` f64[C, H] with about as many zeros
    as dropout makes, more than such a space always has. (Differences of two codes have many, late
    in training, when codes hardly move.)
    """
    space = np.linalg.svd(gradients, full_matrices=False)[0][:, :steps]
    if steps == 1:
        return space.T
    size = len(space)
    if math.comb(size, steps - 1) <= TRIES:
        some = np.array(list(itertools.combinations(range(size), steps - 1)))
    else:
        some = np.argsort(rng.random((TRIES, size)), axis=1)[:, : steps - 1]
    codes = np.linalg.svd(space[some])[2][:, -1] @ space.T  # zero in the K - 1 places drawn
    zeros = (np.abs(codes) < ZERO * np.abs(codes).max(axis=1, keepdims=True)).sum(axis=1)
    expected, spread = dropout * size, 4.5 * np.sqrt(size * dropout * (1 - dropout))
    possible = np.flatnonzero((zeros >= steps) & (np.abs(zeros - expected) <= spread))
    found: list[np.ndarray] = []
    for i in possible[np.argsort(-zeros[possible])]:
        unit = codes[i] / np.linalg.norm(codes[i])
        if all(abs(unit @ other) < 0.999 for other in found):
            found.append(unit)
        if len(found) == POOL:
            break
    return np.array(found).reshape(-1, size)


def _distances(now: Hidden, codes: np.ndarray, space: np.ndarray) -> np.ndarray:
    """How far from ``space`` the features of codes f64[..., C] lie."""
    h = now.features(codes)
    return np.linalg.norm(h - (h @ space.T) @ space, axis=-1)


def unroll(
    codes: np.ndarray, before: Hidden, delta: Hidden, change: np.ndarray, space: np.ndarray
) -> tuple[np.ndarray, float]:
    """The features of every step, f64[K, H + 1], and how far from ``space`` the worst lies.

    In order: the next one is what lies best there.
    """
    steps, a = len(codes), change[-1, 1:]
    gradients = delta.kernel - change[-1, 0] * before.kernel
    back = np.linalg.lstsq(codes.T, gradients, rcond=None)[0]  # a_k d_k, per unit of the code
    left, order, worst = list(range(steps)), list[int](), 0.0
    lengths, features = list[float](), list[np.ndarray]()
    for k in range(steps):
        kernel, bias = (1 + change[k, 0]) * before.kernel, (1 + change[k, 0]) * before.bias
        for j, which in enumerate(order):
            part = change[k, 1 + j] / a[j] * back[which]
            kernel = kernel + np.outer(codes[which], part)
            bias = bias + part / lengths[j]
        moved = k / steps
        now = Hidden(
            kernel, bias, before.scale + moved * delta.scale, before.shift + moved * delta.shift
        )
        fits = [(*_best_length(now, codes[which], space), which) for which in left]
        distance, length, which = min(fits)
        worst = max(worst, distance)
        order.append(which)
        left.remove(which)
        lengths.append(length)
        features.append(now.features(length * codes[which]))
    return np.array(features), worst


def _best_length(now: Hidden, code: np.ndarray, space: np.ndarray) -> tuple[float, float]:
    """How far from ``space`` the features of a code lie at its best length, and that length."""

    def distance(length: float) -> float:
        return float(_distances(now, length * code, space))

    start = LENGTHS[np.argmin(_distances(now, LENGTHS[:, None] * code, space))]
    bounds = sorted((start / 1.15, start * 1.15))
    fine = minimize_scalar(distance, bounds=bounds, method="bounded")
    return float(fine.fun), float(fine.x)
