"""The code of a client's local step, from what the hidden layer and the items' rows changed by.

With a 1 behind every input for the bias, a hidden layer's gradients are z (x) d and the rows' e (x)
h, of codes z, features h and the gradients d and e at the outputs. K steps change the layer by
something whose columns span K codes, and the rows by something that lies in a space of K features.
Where the layer is known as it was before a step, that step's code is what of the one space has its
features in the other. Legend: C entries of the code, H features, K steps that are left.
"""

from dataclasses import dataclass

import numpy as np

from pfr_jax.models.layers import NORM_EPSILON

STARTS = 64  # of the search for a code
SEARCH_STEPS = 40
REACH = 1.25  # about the largest entry of a code, after dropout


@dataclass(frozen=True)
class Features:
    """What a hidden layer makes of codes f64[..., C + 1]; a dimension of 1 stands behind roots."""

    normed: np.ndarray  # f64[..., H], by layer norm
    root: np.ndarray  # f64[..., 1], what that divided by
    tanh: np.ndarray  # f64[..., H]

    @property
    def values(self) -> np.ndarray:
        """With the 1 of the bias: f64[..., H + 1]."""
        return np.concatenate([self.tanh, np.ones_like(self.root)], axis=-1)

    def through_norm(self, y: np.ndarray) -> np.ndarray:
        """The derivative of layer norm, which is symmetric, along y f64[..., H]."""
        along = (y * self.normed).mean(axis=-1, keepdims=True)
        return (y - y.mean(axis=-1, keepdims=True) - self.normed * along) / self.root


@dataclass(frozen=True)
class Hidden:
    """A decoder's only hidden layer."""

    kernel: np.ndarray  # f64[C + 1, H], the bias as last row
    scale: np.ndarray  # f64[H]
    shift: np.ndarray  # f64[H]

    def features(self, codes: np.ndarray) -> Features:
        """Of codes f64[..., C + 1]."""
        y = codes @ self.kernel
        y = y - y.mean(axis=-1, keepdims=True)
        root = np.sqrt((y * y).mean(axis=-1, keepdims=True) + NORM_EPSILON)
        return Features(y / root, root, np.tanh(y / root * self.scale + self.shift))


def find_code(
    layer: Hidden, codes: np.ndarray, space: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """The code f64[C + 1] of the next step: of many searches, what ends nearest to ``space``.

    Args:
      layer: as it was before the step.
      codes: f64[C + 1, K], orthonormal columns that span the codes of all steps that are left.
      space: f64[K, H + 1], orthonormal rows that span their features.
      rng: of the places that the searches begin at.

    Least squares by Levenberg and Marquardt, all searches at once. The 1 of the bias fixes a code's
    length, which leaves K - 1 free numbers.
    """
    ones = codes[-1]
    origin = codes @ ones / (ones @ ones)
    free = np.linalg.svd(ones[None])[2][1:] @ codes.T  # [K - 1, C + 1]
    if not len(free):
        return origin
    x = _starts(len(free), len(origin), float(origin @ origin), rng)
    moved, damping = free @ layer.kernel, np.full(STARTS, 1e-2)

    def outside(h: np.ndarray) -> np.ndarray:
        return h - (h @ space.T) @ space

    now = layer.features(origin + x @ free)
    far = outside(now.values)
    for _ in range(SEARCH_STEPS):
        one = Features(now.normed[:, None], now.root[:, None], now.tanh[:, None])
        slope = one.through_norm(moved) * (layer.scale * (1 - one.tanh**2))
        slope = outside(np.pad(slope, ((0, 0), (0, 0), (0, 1))))
        square = slope @ slope.transpose(0, 2, 1)
        size = np.trace(square, axis1=1, axis2=2) / len(free)
        square += (damping * size + 1e-12)[:, None, None] * np.eye(len(free))
        step = np.linalg.solve(square, slope @ far[..., None])[..., 0]
        then = outside(layer.features(origin + (x - step) @ free).values)
        better = (then**2).sum(axis=1) < (far**2).sum(axis=1)
        x = np.where(better[:, None], x - step, x)
        damping = np.clip(np.where(better, damping / 5, damping * 4), 1e-10, 1e6)
        now = layer.features(origin + x @ free)
        far = outside(now.values)
    return origin + x[np.argmin((far**2).sum(axis=1))] @ free


def _starts(dimensions: int, size: int, nearest: float, rng: np.random.Generator) -> np.ndarray:
    """Places f64[STARTS, K - 1] around the shortest code, of squared length ``nearest``, at which
    codes are as long as true ones may be."""
    x = rng.normal(size=(STARTS, dimensions))
    length = REACH * rng.uniform(0.2, 1, (STARTS, 1))
    radius = np.sqrt(np.maximum(length**2 * (size - 1) + 1 - nearest, 0.1))
    return x / np.linalg.norm(x, axis=1, keepdims=True) * radius
