"""Local training of one client on its active rows (the paper's component PC, in compute too).

Written for one client, unbatched; ``pfr_jax.client.active_rows`` maps it over a block of clients.
A row of an item that the client never rated gets no gradient and never reaches its output, so
the parameters here are views on the client's L rows. Legend: V users of the client, n users
in a minibatch, K local steps.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from pfr_jax.algorithms.spec import Objective, loss_of_one_model, one_model
from pfr_jax.models.item_rows import Tree
from pfr_jax.models.losses import Loss
from pfr_jax.models.members import member_axes
from pfr_jax.models.model import Model, Params, predict


@dataclass(frozen=True)
class LocalTraining:
    """How every client trains."""

    model: Model
    optimizer: "Parts"  # of optax transformations, built with learning rate 1
    loss: Loss
    dropout: float
    # Global norm over private and shared together, of two models over each; 0: no clipping.
    clip_norm: float
    # Whether each part moves, per local epoch: of bool[epochs]. One that does not is frozen, and
    # left out of the clipping; its optimizer stands still.
    moves: "Parts"
    proximal: float = 0.0  # pull of the shared part to where the round began (FedProx)
    objective: Objective = loss_of_one_model  # see ``AlgorithmSpec``, as the next ones
    predicts: Callable[[Params, Params, float], Params] = one_model
    coupling: float = 0.0
    two_models: bool = False
    input_offset: float = 0.0  # what the encoder sees of a rating is its centred value plus this
    encodes_choices: bool = False  # the encoder is told of choices, and not of drawn negatives

    @property
    def local_epochs(self) -> int:
        return len(self.moves.private)

    def model_of(self, params: "Parts") -> Params:
        """The parts of the model that a client predicts with."""
        return self.predicts(*params, self.coupling)

    def inputs(self, values: jax.Array, known: jax.Array) -> jax.Array:
        """What the encoder is given of what is ``known``; 0 elsewhere.

        A choice has a value above 0, whatever the centre.
        """
        if self.encodes_choices:
            known &= values > 0
        return jnp.where(known, values + self.input_offset, 0)


class ClientData(NamedTuple):
    """What one client trains on; the factored engine drops the axis V, which is 1 there."""

    inputs: jax.Array  # f[V, L_in]
    profile: jax.Array  # f[V, P]
    targets: jax.Array  # f[V, L_out]
    observed: jax.Array  # bool[V, L_out]
    rated: jax.Array | None = None  # bool[V, L_out], of these, what is no decoy; None: all


class Parts(NamedTuple):
    """Something for the private and for the shared part: parameters, optimizers, their states."""

    private: Tree
    shared: Tree


Losses = tuple[tuple[jax.Array, ...], Any]  # each f[], and what is found besides


def train_client(
    training: LocalTraining,
    params: Parts,
    opt_state: Parts,
    data: ClientData,
    steps: int,
    key: jax.Array,
    learning_rate: jax.Array,
) -> tuple[Parts, Parts, jax.Array]:
    """All local steps of a round: (parameters, optimizer state, mean loss over the steps).

    ``steps`` is the number of minibatches per local epoch. The two parts have optimizer states
    of their own, so that either can be carried or restarted; clipping couples them. FedProx (Li et
    al. 2020) adds ``proximal`` times the distance from the round's start to the shared part's
    gradient; here after clipping, as weight decay.
    """

    def losses_of_parts(params: Parts, batch: ClientData, mask: jax.Array | None) -> Losses:
        def objective(observed: jax.Array) -> jax.Array:
            def loss(whole: Params) -> jax.Array:
                return batch_loss(training, whole, batch._replace(observed=observed), mask)

            found = training.objective(loss, *params, begin.shared, training.coupling)
            chex.assert_rank(found, 0)
            return found

        return with_and_without_decoys(objective, batch), ()

    def local_step(
        carry: tuple[Parts, Parts], step: tuple[jax.Array, jax.Array, Parts]
    ) -> tuple[tuple[Parts, Parts], jax.Array]:
        params, opt_state = carry
        users, step_key, moves = step
        batch = data if steps == 1 else jax.tree.map(lambda leaf: leaf[users], data)
        mask = dropout_mask(training, step_key, users, data.inputs.dtype)
        loss, grads, _ = gradients(partial(losses_of_parts, batch=batch, mask=mask), params)
        grads = clipped(training, of_moving_parts(training, grads, moves))
        grads = with_proximal_term(training, grads, params.shared, begin.shared)
        return move(training, params, grads, opt_state, learning_rate, moves), loss

    begin = params
    batches = minibatches(training, key, data.inputs.shape[0], data.observed, steps)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(len(batches)))
    moves = moves_of_steps(training, steps)
    sequence = batches, keys, moves
    (params, opt_state), losses = jax.lax.scan(local_step, (params, opt_state), sequence)
    return params, opt_state, losses.mean() / training.model.members


def known(observed: jax.Array, rated: jax.Array | None, uploaded: bool) -> jax.Array:
    """What an encoder is told of in training, bool[V, L]; ``rated``: see ``ClientData``.

    A private one: of what is rated. Of one that is ``uploaded`` the rows of decoys are too, and
    they have to change like others.
    """
    return observed if uploaded or rated is None else rated


def with_and_without_decoys(
    loss: Callable[[jax.Array], jax.Array], data: ClientData
) -> tuple[jax.Array, ...]:
    """The loss over all that is observed and, where there are decoys, over what is rated."""
    whole = loss(data.observed)
    return (whole,) if data.rated is None else (whole, loss(data.rated))


def gradients(losses: Callable[[Parts], Losses], params: Parts) -> tuple[jax.Array, Parts, Any]:
    """The loss f[] over what is rated, the gradients, and what ``losses`` finds besides.

    ``losses`` are those of ``with_and_without_decoys``. What is uploaded learns from decoys too, so
    that their rows change; what is private does not.
    """
    found, pull, aux = jax.vjp(losses, params, has_aux=True)
    one = jnp.ones_like(found[0])
    if len(found) == 1:
        return found[0], pull((one,))[0], aux
    shared, private = pull((one, 0 * one))[0].shared, pull((0 * one, one))[0].private
    return found[1], Parts(private, shared), aux


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


def minibatches(
    training: LocalTraining, key: jax.Array, num_users: int, observed: jax.Array, steps: int
) -> jax.Array:
    """The users of each local step, i32[K, n]: every epoch a new order of the client's users.

    Each user draws a number of its own, so the order does not depend on the padding; users
    without training ratings (padding among them) come last.
    """
    users = jnp.arange(num_users)
    if steps == 1:
        return jnp.broadcast_to(users, (training.local_epochs, num_users))
    size = num_users // steps
    empty = ~observed.any(axis=1)

    def epoch_order(epoch: jax.Array) -> jax.Array:
        # Local steps fold in 0..K-1; epochs count down from the top of uint32.
        epoch_key = jax.random.fold_in(key, jnp.uint32(2**32 - 1) - epoch)
        draws = jax.vmap(lambda u: jax.random.uniform(jax.random.fold_in(epoch_key, u)))(users)
        return jnp.argsort(jnp.where(empty, jnp.inf, draws))

    orders = jax.vmap(epoch_order)(jnp.arange(training.local_epochs, dtype=jnp.uint32))
    return orders.reshape(-1, size)


def dropout_mask(
    training: LocalTraining, key: jax.Array, users: jax.Array, dtype: Any
) -> jax.Array | None:
    """Multiplier of the code of each user, f[n, code]: 0, or 1 over the keep rate."""
    if not training.dropout:
        return None
    keep = 1 - training.dropout
    size = training.model.code_size
    kept = jax.vmap(
        lambda user: jax.random.bernoulli(jax.random.fold_in(key, user), keep, (size,))
    )(users)
    return kept.astype(dtype) / keep


def batch_loss(
    training: LocalTraining, params: Params, batch: ClientData, mask: jax.Array | None
) -> jax.Array:
    """Loss of the whole model's ``params`` on a minibatch, f[]; ``mask`` f[n, code] or None.

    Of several members: the sum of their losses.
    """
    one_user = partial(predict, training.model, params)
    predictions = jax.vmap(one_user)(batch.inputs, batch.profile, mask)
    if training.model.members == 1:
        return training.loss(predictions, batch.targets, batch.observed)
    of_member = jax.vmap(training.loss, in_axes=(1, None, None))
    return of_member(predictions, batch.targets, batch.observed).sum()


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
