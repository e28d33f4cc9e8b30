"""The autoencoder recommender of PersonalFR (Le et al., arXiv 2212.08779, component ARS).

Encoder I -> 256 -> 128, decoder 128 -> 256 -> I (widths configurable). Every hidden linear
layer is followed by layer norm (a group norm of one group) and tanh; the output layer is
linear; dropout acts on the code only. Xavier-uniform weights, zero biases.

Everything is written for one user; callers map it over users. The same modules run on all items
and on a client's view of L of them: the first and the last layer take their item count from the
parameters they are given. The only file that uses Flax.
"""

from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

Params = dict[str, Any]

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


class Encoder(nn.Module):
    """Ratings to code. f[L] -> f[hidden_sizes[-1]]; the private part."""

    hidden_sizes: tuple[int, ...]

    @nn.compact
    def __call__(self, ratings: jax.Array) -> jax.Array:
        hidden = NormTanh(name="norm_0")(ItemInput(self.hidden_sizes[0], name="input")(ratings))
        for depth, size in enumerate(self.hidden_sizes[1:], start=1):
            hidden = NormTanh(name=f"norm_{depth}")(Linear(size, name=f"linear_{depth}")(hidden))
        return hidden


class Decoder(nn.Module):
    """Code to predictions. f[hidden_sizes[-1]] -> f[num_items]; the shared part."""

    hidden_sizes: tuple[int, ...]
    num_items: int

    def setup(self) -> None:
        sizes = self.hidden_sizes[-2::-1]
        self.linear = [Linear(size) for size in sizes]
        self.norm = [NormTanh() for _ in sizes]
        self.output = ItemOutput(self.num_items)

    def features(self, code: jax.Array) -> jax.Array:
        """What the output layer sees: f[hidden_sizes[0]]."""
        for linear, norm in zip(self.linear, self.norm, strict=True):
            code = norm(linear(code))
        return code

    def __call__(self, code: jax.Array) -> jax.Array:
        return self.output(self.features(code))


class AutoEncoder(nn.Module):
    """Encoder, dropout on the code, decoder."""

    hidden_sizes: tuple[int, ...]
    num_items: int

    def setup(self) -> None:
        self.encoder = Encoder(self.hidden_sizes)
        self.decoder = Decoder(self.hidden_sizes, self.num_items)

    def __call__(self, ratings: jax.Array, code_scale: jax.Array | None = None) -> jax.Array:
        """Predictions f[num_items] from ratings f[L], 0 where nothing was rated.

        ``code_scale`` (f[code]) multiplies the code: dropout's mask over its keep rate.
        """
        code = self.encoder(ratings)
        return self.decoder(code if code_scale is None else code * code_scale)

    def features(self, ratings: jax.Array) -> jax.Array:
        """What the output layer sees, without dropout: f[hidden_sizes[0]]."""
        return self.decoder.features(self.encoder(ratings))


def init_params(
    model: AutoEncoder, key: jax.Array, output_bias: float = 0.0, dtype: Any = jnp.float32
) -> Params:
    """Initial parameters ``{"encoder": ..., "decoder": ...}`` over all I items."""
    params = model.init(key, jnp.zeros((model.num_items,)))["params"]
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), params)
    bias = params["decoder"]["output"]["item_bias"]
    params["decoder"]["output"]["item_bias"] = jnp.full_like(bias, output_bias)
    return params


def predict(
    model: AutoEncoder, params: Params, ratings: jax.Array, code_scale: jax.Array | None = None
) -> jax.Array:
    """Predictions for the output rows that ``params`` holds: f[L_out]."""
    rows = params["decoder"]["output"]["item_kernel"].shape[0]
    output = model.clone(num_items=rows).apply({"params": params}, ratings, code_scale)
    return cast(jax.Array, output)


def features(model: AutoEncoder, params: Params, ratings: jax.Array) -> jax.Array:
    """What the output layer sees for these ratings: f[hidden_sizes[0]]."""
    return cast(jax.Array, model.apply({"params": params}, ratings, method="features"))


def score_pairs(params: Params, hidden: jax.Array, items: jax.Array) -> jax.Array:
    """The output layer for single (features, item) pairs: f[P, H], i32[P] -> f[P]."""
    output = params["decoder"]["output"]
    return jnp.vecdot(hidden, output["item_kernel"][items]) + output["item_bias"][items]
