"""Centralised training: one trainer that holds everybody's ratings. The paper's "Joint".

The same autoencoder, loss and client settings as in the federation, but plain minibatches of
users drawn from all of them. A round is ``local_epochs`` passes over the users; nothing is
transmitted. Private and shared do not exist here: the whole model is in ``ServerState``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from pfr_jax.algorithms.federated import Algorithm, Buckets, FederationState, RoundReport
from pfr_jax.client.block import ClientState
from pfr_jax.client.local_training import batch_loss, dropout_mask
from pfr_jax.client.moves import clipped, optimizer_step
from pfr_jax.client.training import ClientData, LocalTraining
from pfr_jax.models.model import Params
from pfr_jax.population.interactions import Interactions, dense_rows
from pfr_jax.population.population import Cohort
from pfr_jax.server import ServerState


@dataclass(frozen=True)
class Trainer:
    """The static description of the trainer."""

    training: LocalTraining
    batch_size: int  # users
    learning_rate: Callable[[Any], Any]  # round index -> learning rate


def centralized(trainer: Trainer) -> Algorithm:
    """Centralised training as an (init, round) pair; ``data`` of a round are ``Interactions``."""
    training = trainer.training
    optimizer = training.optimizer.shared

    def init(params: Params, buckets: Buckets) -> FederationState:
        # The buckets serve evaluation; no client has any state.
        clients = tuple(
            ClientState({}, None, None, jnp.zeros((len(b),), jnp.int32)) for b in buckets
        )
        server = ServerState(params, optimizer.init(params))
        return FederationState(jnp.int32(0), server, {}, clients)

    def round(
        state: FederationState, data: Interactions, cohort: Cohort, key: jax.Array
    ) -> tuple[FederationState, RoundReport]:
        del cohort
        dtype = data.value.dtype
        learning_rate = jnp.asarray(trainer.learning_rate(state.round.astype(dtype)), dtype)

        def step(carry: tuple[Params, Any], batch: tuple[jax.Array, jax.Array]) -> Any:
            params, opt_state = carry
            users, step_key = batch
            values, observed = dense_rows(data, users, training.model.num_items)
            given = training.inputs(values, observed)
            inputs = ClientData(given, data.profile[users], values, observed)
            mask = dropout_mask(training, step_key, users, dtype)
            loss, grads = jax.value_and_grad(batch_loss, argnums=1)(training, params, inputs, mask)
            grads = clipped(training, grads)
            new = optimizer_step(optimizer, params, grads, opt_state, learning_rate)
            return new, loss

        batches = epoch_batches(data, trainer.batch_size, training.local_epochs, key)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(len(batches)))
        carry = state.server.shared, state.server.opt_state
        (params, opt_state), losses = jax.lax.scan(step, carry, (batches, keys))
        server = ServerState(params, opt_state)
        new_state = FederationState(state.round + 1, server, state.start, state.clients)
        return new_state, RoundReport(
            losses.mean() / training.model.members,
            learning_rate,
            jnp.ones((), dtype),
            jnp.zeros((2,), jnp.int32),
        )

    return Algorithm(init, round, tuple(training.model.sides))


def epoch_batches(data: Interactions, batch_size: int, epochs: int, key: jax.Array) -> jax.Array:
    """The users of every step of a round, i32[steps, n]: a new order for every epoch.

    The last batch of an epoch is filled up with the user without ratings.
    """
    count = len(data.trained)
    size = min(batch_size, count)
    steps = -(-count // size)

    def one_epoch(epoch: jax.Array) -> jax.Array:
        # Steps fold in 0, 1, ...; epochs count down from the top of uint32.
        epoch_key = jax.random.fold_in(key, jnp.uint32(2**32 - 1) - epoch)
        order = jax.random.permutation(epoch_key, data.trained)
        nobody = jnp.full((steps * size - count,), len(data.start) - 2, order.dtype)
        return jnp.concatenate([order, nobody]).reshape(steps, size)

    return jax.vmap(one_epoch)(jnp.arange(epochs, dtype=jnp.uint32)).reshape(-1, size)
