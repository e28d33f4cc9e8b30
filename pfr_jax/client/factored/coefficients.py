"""Optimizers that are linear, run on coefficients instead of weights.

With one user in a client, every gradient of a weight matrix is an outer product of the layer's
input and the gradient at its output, G = in (x) out. SGD with momentum, Nesterov and coupled
weight decay is linear in past gradients, present weight and moments. So after k local steps

    W_k = W_0 + sum_b change[k, b] basis[b],    basis = (W_0, M_0, ..., G_0, ..., G_{K-1})

with numbers that do not depend on the client: the optimizer itself is run once per round on the
coefficient vectors. Legend: K local steps, S moments that are carried from round to round (0 if
restarted: they begin at zero and need no place in the basis), N = 1 + S + K.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class Trajectory(NamedTuple):
    """Coefficients over the basis (W_0, S moments, K gradients)."""

    change: jax.Array  # f[K + 1, N], of W_k - W_0 before step k and, last, after the round
    moments: jax.Array  # f[S, N], of the carried moments after the round


class Weights(NamedTuple):
    """What weighs the three kinds of terms in sums over the basis, a row per sum.

    ``public`` weighs a matrix that is the same for all clients, ``own`` the stack of r matrices
    that a client keeps. Of a shared layer W_0 is public and the stack holds the moments. Of a
    private one W_0 = start + D: the start is public, and the stack holds D and the moments.
    """

    public: jax.Array  # f[rows]
    own: jax.Array  # f[rows, r]
    gradients: jax.Array  # f[rows, K]


def num_moments(optimizer: optax.GradientTransformation) -> int:
    """How many arrays like the parameters the optimizer keeps."""
    return len(jax.tree.leaves(jax.eval_shape(optimizer.init, jnp.zeros(1))))


def trajectory(
    optimizer: optax.GradientTransformation,
    moves: tuple[bool, ...],
    carried: bool,
    learning_rate: jax.Array,
    proximal: float = 0.0,
) -> Trajectory:
    """The coefficients of a round of K local steps, in some of which the parameters move.

    ``optimizer`` has learning rate 1; ``proximal`` is FedProx's pull to W_0.
    """
    dtype = learning_rate.dtype
    kept = num_moments(optimizer) if carried else 0
    size = 1 + kept + len(moves)
    basis = jnp.eye(size, dtype=dtype)
    leaves, shape = jax.tree.flatten(optimizer.init(jnp.zeros(size, dtype)))
    state = jax.tree.unflatten(shape, list(basis[1 : 1 + kept]) if carried else leaves)

    def step(carry: tuple[jax.Array, Any], at: tuple[jax.Array, jax.Array]) -> Any:
        change, state = carry
        gradient, moves = at
        pulled = gradient + proximal * change
        updates, new_state = optimizer.update(pulled, state, basis[0] + change)
        # Summed apart from W_0, whose coefficient stays so near 1 that its change would drown.
        new = change + learning_rate * updates, new_state
        carry = jax.tree.map(lambda after, before: jnp.where(moves, after, before), new, carry)
        return carry, carry[0]

    start = jnp.zeros(size, dtype)
    at = basis[1 + kept :], jnp.asarray(moves)
    (_, state), changes = jax.lax.scan(step, (start, state), at)
    moments = jax.tree.leaves(state) if carried else []
    return Trajectory(
        change=jnp.concatenate([start[None], changes]),
        moments=jnp.stack(moments) if moments else jnp.zeros((0, size), dtype),
    )


def during_round(path: Trajectory, private: bool) -> Weights:
    """The weights of W_0, ..., W_{K-1}: a row per local step."""
    change, kept = path.change[:-1], len(path.moments)
    start = 1 + change[:, :1]
    own = change[:, 1 : 1 + kept]
    if private:
        own = jnp.concatenate([start, own], axis=1)
    return Weights(start[:, 0], own, change[:, 1 + kept :])


def after_round(path: Trajectory, private: bool) -> Weights:
    """What is left of the round: a row for W_K - W_0 (private: for the new D), one per moment."""
    kept = len(path.moments)
    rows = jnp.concatenate([path.change[-1:], path.moments])
    own = rows[:, (0 if private else 1) : 1 + kept]
    if private:
        own = own.at[0, 0].add(1)
    return Weights(rows[:, 0], own, rows[:, 1 + kept :])
