"""Layers, in Flax, written for one user: inputs have no axis of users.

Xavier-uniform weights, zero biases. Leaves with a row per item are named ``item_*``; the first and
the last layer take their item count from the parameters they are given.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

NORM_EPSILON = 1e-5
_xavier = nn.initializers.xavier_uniform


class ItemInput(nn.Module):
    """First layer: a row of weights per item. f[L] -> f[features]."""

    features: int

    @nn.compact
    def __call__(self, ratings: jax.Array) -> jax.Array:
        kernel = self.param("item_kernel", _xavier(), (ratings.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return ratings @ kernel + bias


class ItemOutput(nn.Module):
    """Last layer: a row of weights and a bias per item. f[H] -> f[L]."""

    num_items: int

    @nn.compact
    def __call__(self, hidden: jax.Array) -> jax.Array:
        shape = (self.num_items, hidden.shape[-1])
        kernel = self.param("item_kernel", _xavier(in_axis=1, out_axis=0), shape)
        bias = self.param("item_bias", nn.initializers.zeros, (self.num_items,))
        return kernel @ hidden + bias


class Linear(nn.Module):
    """A hidden linear layer. f[in] -> f[features]."""

    features: int

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        kernel = self.param("kernel", _xavier(), (inputs.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return inputs @ kernel + bias


class NormTanh(nn.Module):
    """Layer norm over the features, affine, then tanh."""

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        scale = self.param("scale", nn.initializers.ones, (inputs.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (inputs.shape[-1],))
        centred = inputs - inputs.mean()
        variance = jnp.square(centred).mean()
        return jnp.tanh(centred * jax.lax.rsqrt(variance + NORM_EPSILON) * scale + bias)
