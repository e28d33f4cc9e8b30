"""Several models of one kind side by side on every client, their predictions averaged.

Each member has its own beginning, its own dropout, a loss of its own and is clipped by itself, so
that they differ; they share the cohort, the minibatches and the messages. A leaf of the parameters
has an axis of members before all others but that of the items: what a client reads and sends of an
item lies together, and a member's numbers in it. Legend: G members, H features of one, I items.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from pfr_jax.algorithms.spec import Params, Side
from pfr_jax.models.item_rows import Tree, map_rows
from pfr_jax.models.model import Model


def member_axes(tree: Tree) -> Tree:
    """Of every leaf, the axis of the members; for ``jax.vmap``."""
    return map_rows(lambda leaf: 1, lambda leaf: 0, tree)


def rows_first(tree: Tree) -> Tree:
    """Leaves f[G, ...] as parameters have them: where there are items, f[I, G, ...]."""
    return map_rows(lambda leaf: jnp.moveaxis(leaf, 0, 1), lambda leaf: leaf, tree)


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
        """Every member's own beginning."""

        def begin(key: jax.Array) -> Params:
            variables: Params = self.one.init(key, *inputs)
            return variables

        found: Params = rows_first(jax.vmap(begin)(jax.random.split(key, self.members)))
        return found

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
        axes = member_axes(variables), None, None
        if method == "features":
            return jax.vmap(call, axes)(variables, ratings, profile).reshape(-1)
        if code_scale is None:
            return jax.vmap(call, axes)(variables, ratings, profile)
        scales = code_scale.reshape(self.members, -1)
        return jax.vmap(call, (*axes, 0))(variables, ratings, profile, scales)

    def output_rows(self, output: Params, one: float = 1.0) -> Params:
        """Rows f[..., G H] and biases that score with the mean of the members' predictions."""
        axes = {"item_kernel": -2, "item_bias": -1}  # clients' rows have their axis before items'
        rows = jax.vmap(partial(self.one.output_rows, one=one), (axes,))(output)
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
