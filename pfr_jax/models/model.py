"""The autoencoder recommender of PersonalFR (Le et al., arXiv 2212.08779, component ARS).

Encoder I -> 256 -> 128, decoder 128 -> 256 -> I (widths configurable). Every hidden linear
layer is followed by layer norm (a group norm of one group) and tanh; the output layer is
linear; dropout acts on the code only. Xavier-uniform weights, zero biases. A second encoder of
the user's profile, with the same widths, may add its output to the code before dropout.

Everything is written for one user; callers map it over users. The same modules run on all items
and on a client's view of L of them: the first and the last layer take their item count from the
parameters they are given. The only file that uses Flax.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, Protocol, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from pfr_jax.algorithms.spec import Side

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


class ProfileEncoder(nn.Module):
    """User profile to an addition to the code. f[P] -> f[hidden_sizes[-1]]."""

    hidden_sizes: tuple[int, ...]

    @nn.compact
    def __call__(self, profile: jax.Array) -> jax.Array:
        for depth, size in enumerate(self.hidden_sizes):
            profile = NormTanh(name=f"norm_{depth}")(Linear(size, name=f"linear_{depth}")(profile))
        return profile


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
    """Encoder (and profile encoder), dropout on the code, decoder."""

    hidden_sizes: tuple[int, ...]
    num_items: int
    profile_size: int = 0  # P, entries of a user's profile; 0: no profile encoder

    # The profile encoder is averaged with the decoder, as in the authors' code.
    sides: ClassVar[Mapping[str, Side]] = {"encoder": "user", "decoder": "item", "profile": "item"}
    per_user = False
    layered = True

    @property
    def code_size(self) -> int:
        return self.hidden_sizes[-1]

    @property
    def feature_size(self) -> int:
        return self.hidden_sizes[0]

    @property
    def input_width(self) -> int:
        return self.hidden_sizes[0]

    @property
    def hidden_weights(self) -> int:
        sizes = self.hidden_sizes
        return 2 * sum(a * b for a, b in zip(sizes, sizes[1:], strict=False))

    def setup(self) -> None:
        self.encoder = Encoder(self.hidden_sizes)
        if self.profile_size:
            self.profile = ProfileEncoder(self.hidden_sizes)
        self.decoder = Decoder(self.hidden_sizes, self.num_items)

    def code(self, ratings: jax.Array, profile: jax.Array) -> jax.Array:
        """The code f[hidden_sizes[-1]] of a user, without dropout."""
        code = self.encoder(ratings)
        return code + self.profile(profile) if self.profile_size else code

    def __call__(
        self, ratings: jax.Array, profile: jax.Array, code_scale: jax.Array | None = None
    ) -> jax.Array:
        """Predictions f[num_items] from ratings f[L], 0 where nothing was rated.

        ``profile`` is f[P]; ``code_scale`` (f[code]) multiplies the code: dropout's mask over
        its keep rate.
        """
        code = self.code(ratings, profile)
        return self.decoder(code if code_scale is None else code * code_scale)

    def features(self, ratings: jax.Array, profile: jax.Array) -> jax.Array:
        """What the output layer sees, without dropout: f[hidden_sizes[0]]."""
        return self.decoder.features(self.code(ratings, profile))

    @staticmethod
    def output_rows(output: Params, one: float = 1.0) -> Params:
        """The rows that features are multiplied with: the output layer's own."""
        del one
        return output


class Model(Protocol):
    """What the rest needs to know of a model; a Flax module whose item leaves are named item_*.

    It has a part ``decoder`` with ``output``: a kernel and a bias per item.
    """

    num_items: int
    profile_size: int  # P, entries of a user's profile that it reads

    @property
    def sides(self) -> Mapping[str, Side]:
        """Its parts -> the side that each is on (``pfr_jax.algorithms.spec``)."""

    @property
    def per_user(self) -> bool:
        """Its user side is that of one user, so that every client must have just one."""

    @property
    def layered(self) -> bool:
        """It is made of the layers that the factored engine computes by itself."""

    @property
    def code_size(self) -> int:
        """What dropout acts on."""

    @property
    def feature_size(self) -> int:
        """H: ``features`` of a user are f[H], and rows of ``output_rows`` too."""

    @property
    def hidden_weights(self) -> int:
        """Weights of its matrices that have no row per item."""

    @property
    def input_width(self) -> int:
        """Weights of a row of its first layer; 0: it reads no ratings."""

    def output_rows(self, output: Params, one: float = 1.0) -> Params:
        """Rows and biases that score a user's features, from ``decoder/output``; ``one`` is 0
        where these are changes of rows.
        """

    # Of a Flax module.
    @property
    def clone(self) -> Callable[..., Any]: ...

    @property
    def init(self) -> Callable[..., Any]: ...

    @property
    def apply(self) -> Callable[..., Any]: ...


def parts_on(model: Model, sides: Iterable[Side]) -> tuple[str, ...]:
    """The names of the model's parts on these sides."""
    return tuple(part for part, side in model.sides.items() if side in set(sides))


def init_params(
    model: Model, key: jax.Array, output_bias: Any = 0.0, dtype: Any = jnp.float32
) -> Params:
    """Initial parameters ``{"encoder": ..., "decoder": ...}`` over all I items.

    With a profile encoder also ``"profile"``; the other parts are the same as without.
    ``output_bias`` is a number or f[I].
    """
    empty = jnp.zeros((model.num_items,)), jnp.zeros((model.profile_size,))
    params = model.init(key, *empty)["params"]
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), params)
    bias = params["decoder"]["output"]["item_bias"]
    params["decoder"]["output"]["item_bias"] = jnp.broadcast_to(
        jnp.asarray(output_bias, bias.dtype), bias.shape
    )
    return params


Layers = Mapping[str, Callable[[jax.Array], jax.Array]]


def predict(
    model: Model,
    params: Params,
    ratings: jax.Array,
    profile: jax.Array,
    code_scale: jax.Array | None = None,
    layers: Layers | None = None,
) -> jax.Array:
    """Predictions for the output rows that ``params`` holds: f[L_out].

    ``layers`` computes the linear layers that it names ("encoder/input", "decoder/linear_0", ...)
    instead of the model itself, biases included; their parameters may then be absent.
    """
    output = params["decoder"].get("output", {})
    if "item_kernel" in output:
        model = model.clone(num_items=len(output["item_kernel"]))
    with _computed_by(layers):
        prediction = model.apply({"params": params}, ratings, profile, code_scale)
    return cast(jax.Array, prediction)


def features(
    model: Model,
    params: Params,
    ratings: jax.Array,
    profile: jax.Array,
    layers: Layers | None = None,
) -> jax.Array:
    """What rows of ``output_rows`` are multiplied with: f[feature_size]."""
    with _computed_by(layers):
        hidden = model.apply({"params": params}, ratings, profile, method="features")
    return cast(jax.Array, hidden)


def _computed_by(layers: Layers | None) -> AbstractContextManager[Any]:
    """Within it, the calls of the named linear layers go to ``layers``."""

    def intercept(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        module = context.module
        if isinstance(module, ItemInput | Linear | ItemOutput) and module.path:
            layer = (layers or {}).get("/".join(module.path))
            if layer is not None:
                return layer(*args)
        return call(*args, **kwargs)

    return nn.intercept_methods(intercept) if layers else nullcontext()


def score_pairs(output: Params, hidden: jax.Array, items: jax.Array) -> jax.Array:
    """The output layer for single (features, item) pairs: f[T, H], i32[T] -> f[T].

    ``output`` holds the rows of the output layer: ``item_kernel`` f[I, H], ``item_bias`` f[I].
    """
    return jnp.vecdot(hidden, output["item_kernel"][items]) + output["item_bias"][items]
