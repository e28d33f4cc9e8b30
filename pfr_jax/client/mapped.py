"""Beginnings of loops that are mapped as the loops will be.

``jax.vmap`` of a loop finds out what of its carry depends on the mapped axis by tracing the loop
until nothing more does. Of a carry that does from the beginning it is traced once.
"""

from typing import Any

import jax
import jax.numpy as jnp


@jax.custom_batching.custom_vmap
def mapped_like(like: Any, tree: Any) -> Any:
    """The ``tree`` itself; under ``jax.vmap`` all of it is mapped if any of ``like`` is.

    Leaves are arrays. It cannot be differentiated in reverse mode.
    """
    del like
    return tree


@mapped_like.def_vmap
def _(size: int, mapped: list[Any], like: Any, tree: Any) -> tuple[Any, Any]:
    of_like, of_tree = mapped
    if not any(jax.tree.leaves(of_like)):
        return mapped_like(like, tree), of_tree

    def grown(leaf: jax.Array, is_mapped: bool) -> jax.Array:
        return leaf if is_mapped else jnp.broadcast_to(leaf, (size, *leaf.shape))

    # Once more, for a mapping around this one.
    found = mapped_like(like, jax.tree.map(grown, tree, of_tree))
    return found, jax.tree.map(lambda leaf: True, tree)
