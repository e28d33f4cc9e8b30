"""The Gaussian mechanism on a round's sum: what a client clips, and the noise on the sum.

A client's change is weighted by group (rows of matrices 1, items' biases, everything else), scaled
to a norm of at most C, and unweighted; the sum over a cohort gets noise of standard deviation
z C / weight on every number of a group. So a client changes the weighted sum by at most C, and z
alone says what that costs (``pfr_jax.privacy.accounting``). A group of weight 0 is not uploaded.
McMahan et al. 2018 (arXiv 1710.06963); a norm that follows a quantile: Andrew et al. 2021 (arXiv
1905.03871).

Noise is made of JAX's counter-based random numbers, which are no cryptographic ones: this is a
simulation of differential privacy, not a deployment of it.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from pfr_jax.models.item_rows import Tree, flatten, nest, of_items

_OF_NOISE = 2**32 - 3  # what is folded into a round's key; clients fold in their numbers
CLIP_RATE = 0.2  # of the clipping norm's logarithm per round (Andrew et al. 2021)
_ROUNDED = 1e-5  # share of the norm that floating-point arithmetic may be wrong by


@dataclass(frozen=True)
class Mechanism:
    """Static: how clients clip, and how much noise their sum gets."""

    clip: float  # C in the first round
    noise_multiplier: float  # z
    bias_weight: float
    hidden_weight: float
    quantile: float = 0.0  # of the clients' norms, that C follows; 0: it stays
    quantile_multiplier: float = 0.0  # of the noise on the count below C, over its sensitivity 1/2
    expected: float = 1.0  # clients of a cohort in the mean
    fixed_point: float | None = None  # the sum is of whole multiples of this one's inverse

    def weight(self, path: str) -> float:
        """Of the leaf of this path, before clipping."""
        if not of_items(path):
            return self.hidden_weight
        return 1.0 if path.endswith("kernel") else self.bias_weight

    def clipped(
        self, delta: Tree, there: jax.Array | None, clip: jax.Array
    ) -> tuple[Tree, jax.Array]:
        """One client's change as it is uploaded, and whether it was within ``clip``, f[].

        ``there`` (bool[L]) are the rows that are no padding; None: all are real.
        """

        def kept(path: str, leaf: jax.Array) -> jax.Array:
            if not self.weight(path):
                return jnp.zeros_like(leaf)
            if there is None or not of_items(path):
                return leaf
            return jnp.where(there.reshape((-1,) + (1,) * (leaf.ndim - 1)), leaf, 0)

        flat = {path: kept(path, leaf) for path, leaf in flatten(delta).items()}
        squares = sum(jnp.square(leaf * self.weight(path)).sum() for path, leaf in flat.items())
        norm = jnp.sqrt(squares)
        most = clip * (1 - _ROUNDED) - self._of_rounding(flat, there)
        factor = jnp.clip(most / jnp.maximum(norm, jnp.finfo(norm.dtype).tiny), 0, 1)
        scaled = nest({path: leaf * factor for path, leaf in flat.items()})
        return scaled, (norm <= clip).astype(norm.dtype)

    def _of_rounding(
        self, flat: dict[str, jax.Array], there: jax.Array | None
    ) -> jax.Array | float:
        """What rounding to the fixed point may add to the weighted norm."""
        if self.fixed_point is None:
            return 0.0
        dtype = next(iter(flat.values())).dtype

        def squares(path: str, leaf: jax.Array) -> jax.Array:
            whole = jnp.asarray(self.weight(path) ** 2 * leaf.size, dtype)
            if there is None or not of_items(path):
                return whole
            return whole * there.astype(dtype).mean()

        total = sum(squares(path, leaf) for path, leaf in flat.items())
        return 0.5 / self.fixed_point * jnp.sqrt(total)

    def lost_by_rounding(self, shared: Tree, rows: int) -> float:
        """Of the weighted norm, at most, for a client with so many rows; ``shared`` are the shapes
        of the shared part over all items."""

        def of_client(path: str, leaf: Any) -> Any:
            shape = (rows, *leaf.shape[1:]) if of_items(path) else leaf.shape
            return jax.ShapeDtypeStruct(shape, leaf.dtype)

        return float(
            self._of_rounding({p: of_client(p, x) for p, x in flatten(shared).items()}, None)
        )

    def noised(self, delta: Tree, clip: jax.Array, key: jax.Array) -> Tree:
        """The sum of a round's uploads with the noise of this round's key."""
        key = jax.random.fold_in(key, jnp.uint32(_OF_NOISE))
        noised = {}
        for index, (path, leaf) in enumerate(flatten(delta).items()):
            noised[path] = leaf
            if self.noise_multiplier and self.weight(path):
                deviation = clip * (self.noise_multiplier / self.weight(path))
                draws = jax.random.normal(jax.random.fold_in(key, index), leaf.shape, leaf.dtype)
                noised[path] = leaf + deviation.astype(leaf.dtype) * draws
        return nest(noised)

    def noised_count(self, within: jax.Array, clients: jax.Array, key: jax.Array) -> jax.Array:
        """Share of the clients that were within the norm, f[], of bits that are +-1/2."""
        key = jax.random.fold_in(key, jnp.uint32(_OF_NOISE - 1))
        deviation = self.quantile_multiplier / 2
        bits = within - clients / 2 + deviation * jax.random.normal(key, (), within.dtype)
        return bits / self.expected + 0.5

    def next_clip(self, clip: jax.Array, within: jax.Array) -> jax.Array:
        """C of the next round: larger where fewer than the quantile were within it."""
        return clip * jnp.exp(-CLIP_RATE * (within - self.quantile)).astype(clip.dtype)
