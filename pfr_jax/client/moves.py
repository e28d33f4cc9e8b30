"""How parameters move in a local step, once there are gradients.

Clipping, FedProx's pull, which part moves, and the optimizer's step; shared by the engines, the
kernels and centralised training, but for ``clipped``: the factored engine has no whole
gradients.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from pfr_jax.client.training import LocalTraining, Parts
from pfr_jax.models.item_rows import Tree
from pfr_jax.models.members import member_axes


def clipped(training: LocalTraining, grads: Parts) -> Parts:
    """The gradients of a local step, each model's and each member's clipped by itself."""

    def one(grads: Tree) -> Tree:
        if training.model.members == 1:
            return clip(grads, training.clip_norm)
        axes = member_axes(grads)
        return jax.vmap(partial(clip, norm=training.clip_norm), (axes,), axes)(grads)

    return Parts(*map(one, grads)) if training.two_models else one(grads)


def clip(grads: Tree, norm: float) -> Tree:
    """Gradients scaled to a global norm of at most ``norm``; 0: as they are."""
    if not norm:
        return grads
    factor = clip_factor(optax.tree.norm(grads), norm)
    return jax.tree.map(lambda leaf: leaf * factor, grads)


def clip_factor(length: jax.Array, norm: float) -> jax.Array:
    """What scales gradients of global norm ``length`` to one of at most ``norm``."""
    return norm / jnp.maximum(length, norm)


def optimizer_step(
    optimizer: optax.GradientTransformation,
    params: Tree,
    grads: Tree,
    opt_state: Any,
    learning_rate: jax.Array,
) -> tuple[Tree, Any]:
    """Parameters and optimizer state after one step of an optimizer built with rate 1."""
    updates, opt_state = optimizer.update(grads, opt_state, params)
    return jax.tree.map(lambda p, u: p + learning_rate * u, params, updates), opt_state


def moves_of_steps(training: LocalTraining, steps: int = 1) -> Parts:
    """Whether each part moves in each local step: of bool[K], ``steps`` of them per epoch."""
    return Parts(*(jnp.repeat(jnp.asarray(part), steps) for part in training.moves))


def of_moving_parts(training: LocalTraining, grads: Parts, moves: Parts) -> Parts:
    """The gradients, 0 for a part that does not move in this step; moves: of bool[]."""

    def one(always: tuple[bool, ...], grads: Tree, moves: jax.Array) -> Tree:
        return grads if all(always) else jax.tree.map(lambda g: jnp.where(moves, g, 0), grads)

    return Parts(*map(one, training.moves, grads, moves))


def with_proximal_term(training: LocalTraining, grads: Parts, shared: Tree, begin: Tree) -> Parts:
    """The gradients, the shared ones with FedProx's term."""
    if not training.proximal:
        return grads
    pulled = jax.tree.map(
        lambda g, now, then: g + training.proximal * (now - then), grads.shared, shared, begin
    )
    return grads._replace(shared=pulled)


def move(
    training: LocalTraining,
    params: Parts,
    grads: Parts,
    opt_state: Parts,
    learning_rate: jax.Array,
    moves: Parts,
) -> tuple[Parts, Parts]:
    """Parameters and optimizer states after a step of the parts that move in it."""

    def one(
        always: tuple[bool, ...],
        moves: jax.Array,
        optimizer: Any,
        before: Tree,
        grads: Tree,
        opt: Any,
    ) -> tuple[Tree, Any]:
        after = optimizer_step(optimizer, before, grads, opt, learning_rate)
        if all(always):
            return after
        return jax.tree.map(lambda new, old: jnp.where(moves, new, old), after, (before, opt))

    parts = training.moves, moves, training.optimizer, params, grads, opt_state
    new = [one(*part) for part in zip(*parts, strict=True)]
    return Parts(*(p for p, _ in new)), Parts(*(s for _, s in new))
