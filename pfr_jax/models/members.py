"""Several models of one kind side by side on every client, their predictions averaged.

Each member has its own beginning, its own dropout, a loss of its own and is clipped by itself, so
that they differ; they share the cohort, the minibatches and the messages. Every leaf of the
parameters has the members as its last axis. Legend: G members, H features of one, I items.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from pfr_jax.algorithms.spec import Params, Side
from pfr_jax.models.model import Model


@dataclass(frozen=True)
class Members:
    """G members of a kind; a ``Model``."""

    one: Any  # a Model
    members: int

    @property
    def num_items(self) -> int:
        return int(self.one.num_items)

    @property
    def profile_size(self) -> int:
        return int(self.one.profile_size)

    @property
    def sides(self) -> Mapping[str, Side]:
        sides: Mapping[str, Side] = self.one.sides
        return sides

    @property
    def per_user(self) -> bool:
        return bool(self.one.per_user)

    @property
    def layered(self) -> bool:
        return bool(self.one.layered)

    @property
    def code_size(self) -> int:
        return int(self.members * self.one.code_size)

    @property
    def feature_size(self) -> int:
        return int(self.members * self.one.feature_size)

    @property
    def hidden_weights(self) -> int:
        return int(self.members * self.one.hidden_weights)

    @property
    def input_width(self) -> int:
        return int(self.members * self.one.input_width)

    def clone(self, **changes: Any) -> "Members":
        """Members of another size."""
        return replace(self, one=self.one.clone(**changes))

    def init(self, key: jax.Array, *inputs: jax.Array) -> Params:
        """Every member's own beginning; leaves f[..., G]."""

        def begin(key: jax.Array) -> Params:
            variables: Params = self.one.init(key, *inputs)
            return variables

        return jax.vmap(begin, out_axes=-1)(jax.random.split(key, self.members))

    def apply(
        self,
        variables: Params,
        ratings: jax.Array,
        profile: jax.Array,
        code_scale: jax.Array | None = None,
        method: str | None = None,
    ) -> jax.Array:
        """Predictions of every member, f[G, I]; with ``method="features"`` theirs, f[G H]."""
        call: Callable[..., jax.Array] = partial(self.one.apply, method=method)
        if method == "features":
            each = jax.vmap(call, in_axes=(-1, None, None))(variables, ratings, profile)
            return each.reshape(-1)
        if code_scale is None:
            return jax.vmap(call, in_axes=(-1, None, None))(variables, ratings, profile)
        scales = code_scale.reshape(self.members, -1)
        return jax.vmap(call, in_axes=(-1, None, None, 0))(variables, ratings, profile, scales)

    def output_rows(self, output: Params, one: float = 1.0) -> Params:
        """Rows f[..., G H] and biases that score with the mean of the members' predictions."""
        rows = jax.vmap(partial(self.one.output_rows, one=one), in_axes=-1)(output)
        kernel = jnp.moveaxis(rows["item_kernel"], 0, -2)  # [..., G, H]
        return {
            "item_kernel": kernel.reshape(*kernel.shape[:-2], -1) / self.members,
            "item_bias": rows["item_bias"].mean(axis=0),
        }


def side_by_side(model: Model, members: int) -> Model:
    """The model itself if there is one member only."""
    return model if members == 1 else Members(model, members)


def one_of(model: Model) -> Model:
    """The model that the members are copies of; the model itself if it is no members."""
    one: Model = model.one if isinstance(model, Members) else model
    return one
