"""Parameter trees in which some leaves hold one row per item.

A client works on a *view* of such a tree: the item leaves reduced to the rows of its own L
items, everything else whole. Item leaves are told by their name: it starts with ``item_``
(``pfr_jax.models.model`` names them so), and their first axis is the item.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Tree = Any


def of_items(path: str) -> bool:
    """Whether a leaf has a row per item, by its path or its name alone."""
    return path.rpartition("/")[2].startswith("item_")


def map_rows(
    on_items: Callable[..., Any], on_dense: Callable[..., Any], tree: Tree, *rest: Tree
) -> Tree:
    """Maps ``on_items`` over the item leaves of the trees and ``on_dense`` over the others."""

    def apply(path: tuple[Any, ...], *leaves: jax.Array) -> Any:
        name = getattr(path[-1], "key", "")  # of an optimizer's own numbers there is none
        return (on_items if of_items(name) else on_dense)(*leaves)

    return jax.tree_util.tree_map_with_path(apply, tree, *rest)


def take_rows(tree: Tree, items: jax.Array | None) -> Tree:
    """The view of ``tree`` on the rows ``items`` (i32[L]; None: all rows, the tree itself).

    An index past the last item is padding and gives a row of zeros.
    """
    if items is None:
        return tree
    return map_rows(
        lambda leaf: leaf.at[items].get(mode="fill", fill_value=0), lambda leaf: leaf, tree
    )


def add_trees(a: Tree, b: Tree) -> Tree:
    return jax.tree.map(jnp.add, a, b)


def subtract_trees(a: Tree, b: Tree) -> Tree:
    return jax.tree.map(jnp.subtract, a, b)


def tree_bytes(tree: Tree) -> int:
    """Of all leaves, arrays or their shapes."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def flatten(tree: Tree) -> dict[str, jax.Array]:
    """The leaves of nested dicts by their path: ``{"encoder/input/bias": ...}``."""
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {"/".join(entry.key for entry in path): leaf for path, leaf in flat}


def nest(flat: dict[str, Any]) -> Tree:
    """The inverse of ``flatten``."""
    tree: dict[str, Any] = {}
    for path, leaf in flat.items():
        *parents, name = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = leaf
    return tree
