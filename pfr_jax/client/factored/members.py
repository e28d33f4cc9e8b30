"""Members (``models.members``) in this engine: what is written for one is mapped over all.

Parameters and what is handed over have the members as their first axis, but as the second where
there are items. What this engine computes with and keeps has them first. A single model has no such
axis: then nothing here does anything. Legend: G members.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from pfr_jax.client.block import ClientSide, ClientState
from pfr_jax.models import members as of_models
from pfr_jax.models.item_rows import Tree
from pfr_jax.models.members import one_of

# Axes of the members for ``over_members``: where there are none; and in one client's state as this
# engine keeps it, where what uploads lost is theirs together.
NO_AXIS: Any = None
OF_STATE: Any = ClientState(0, 0, 0, rounds=NO_AXIS, residual=NO_AXIS, constant=0)


def over_members(
    side: ClientSide, one: Callable[..., Any], in_axes: Any = 0, out_axes: Any = 0
) -> Callable[..., Any]:
    """``one`` member's computation for all of them; the axes as for ``jax.vmap``."""
    return one if side.training.model.members == 1 else jax.vmap(one, in_axes, out_axes)


def alone(side: ClientSide) -> ClientSide:
    """What one member is to see: the settings of a federation of one model."""
    training = dataclasses.replace(side.training, model=one_of(side.training.model))
    return dataclasses.replace(side, training=training)


def as_parameters(side: ClientSide, tree: Tree) -> Tree:
    """Leaves f[G, ...] as parameters have them."""
    return tree if side.training.model.members == 1 else of_models.rows_first(tree)
