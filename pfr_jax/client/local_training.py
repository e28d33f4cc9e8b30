"""Local training of one client on its active rows (the paper's component PC, in compute too).

Written for one client, unbatched; ``pfr_jax.client.active_rows`` maps it over a block of clients.
A row of an item that the client never rated gets no gradient and never reaches its output, so
the parameters here are views on the client's L rows. Legend: V users of the client, n users
in a minibatch, K local steps.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import chex
import jax
import jax.numpy as jnp

from pfr_jax.client.moves import clipped, move, moves_of_steps, of_moving_parts, with_proximal_term
from pfr_jax.client.training import ClientData, LocalTraining, Parts
from pfr_jax.models.model import Params, predict

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
