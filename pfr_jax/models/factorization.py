"""Biased matrix factorisation: a private vector and bias per user, a shared table of items.

What most federated recommenders are compared with (FCF: Ammad-ud-din et al., arXiv 1901.09888;
FedMF: Chai et al., arXiv 1906.05108): a rating is predicted by v_u . q_i + b_u + b_i. There is no
encoder; the vector is trained directly. Written for one user, as ``pfr_jax.models.model`` is.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from pfr_jax.algorithms.spec import Side
from pfr_jax.models.layers import ItemOutput
from pfr_jax.models.model import Params


class UserVector(nn.Module):
    """The user's own parameters: f[] -> (f[size], f[])."""

    size: int

    @nn.compact
    def __call__(self) -> tuple[jax.Array, jax.Array]:
        vector = self.param("vector", nn.initializers.zeros, (self.size,))
        bias = self.param("bias", nn.initializers.zeros, ())
        return vector, bias


class ItemTable(nn.Module):
    """A vector and a bias per item. f[size] -> f[num_items]."""

    num_items: int

    def setup(self) -> None:
        self.output = ItemOutput(self.num_items)

    def __call__(self, vector: jax.Array) -> jax.Array:
        return self.output(vector)


class MatrixFactorization(nn.Module):
    """v_u . q_i + b_u + b_i; dropout acts on v_u."""

    size: int
    num_items: int
    profile_size: int = 0  # users have no profiles here

    sides: ClassVar[Mapping[str, Side]] = {"user": "user", "decoder": "item"}
    per_user = True
    members = 1
    layered = False
    hidden_weights = 0
    input_width = 0

    @property
    def code_size(self) -> int:
        return self.size

    @property
    def feature_size(self) -> int:
        return self.size + 1

    def setup(self) -> None:
        self.user = UserVector(self.size)
        self.decoder = ItemTable(self.num_items)

    def __call__(
        self, ratings: jax.Array, profile: jax.Array, code_scale: jax.Array | None = None
    ) -> jax.Array:
        """Predictions f[num_items]; ratings and profile are not looked at."""
        vector, bias = self.user()
        return self.decoder(vector if code_scale is None else vector * code_scale) + bias

    def features(self, ratings: jax.Array, profile: jax.Array) -> jax.Array:
        """What rows of ``output_rows`` are multiplied with: vector and bias, f[size + 1]."""
        vector, bias = self.user()
        return jnp.append(vector, bias)

    @staticmethod
    def output_rows(output: Params, one: float = 1.0) -> Params:
        """The item table with a column of ones, for the user's bias; of changes: of zeros."""
        kernel = output["item_kernel"]
        column: Any = jnp.full((*kernel.shape[:-1], 1), one, kernel.dtype)
        return {**output, "item_kernel": jnp.concatenate([kernel, column], axis=-1)}
