"""What the rest needs to know of a model, and how it is called.

A model is a Flax module written for one user; callers map it over users.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from pfr_jax.algorithms.spec import Params, Side
from pfr_jax.models.layers import ItemInput, ItemOutput, Linear


class Model(Protocol):
    """What the rest needs to know of a model; a Flax module whose item leaves are named item_*.

    It has a part ``decoder`` with ``output``: a kernel and a bias per item.
    """

    @property
    def num_items(self) -> int: ...

    @property
    def profile_size(self) -> int:
        """P, entries of a user's profile that it reads."""

    @property
    def sides(self) -> Mapping[str, Side]:
        """Its parts -> the side that each is on (``pfr_jax.algorithms.spec``)."""

    @property
    def per_user(self) -> bool:
        """Its user side is that of one user, so that every client must have just one."""

    @property
    def members(self) -> int:
        """G: how many models it is; from 2 on ``models/members.py`` made it of one."""

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
    begin = jnp.broadcast_to(jnp.asarray(output_bias, bias.dtype), bias.shape[:1])
    begin = begin.reshape(-1, *[1] * (bias.ndim - 1))  # members' leaves have one more axis
    params["decoder"]["output"]["item_bias"] = jnp.broadcast_to(begin, bias.shape)
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
