"""Optax optimizers from settings. Clients' rates are applied outside, by the round's schedule."""

from collections.abc import Callable
from typing import Any

import optax

from pfr_jax.config import ClientConfig, ServerConfig


def client_optimizer(config: ClientConfig) -> optax.GradientTransformation:
    """The client's optimizer with learning rate 1: its updates are scaled by the round's rate.

    Weight decay is coupled (added to the gradient, after clipping), as in PyTorch's SGD.
    """
    optimizers = {
        "sgd": lambda: optax.sgd(1.0, momentum=config.momentum or None, nesterov=config.nesterov),
        "adam": lambda: optax.adam(1.0),
        "adagrad": lambda: optax.adagrad(1.0),
        "rmsprop": lambda: optax.rmsprop(1.0),
    }
    decay = optax.add_decayed_weights(config.weight_decay)
    return optax.chain(decay, optimizers[config.client_optimizer]())


def client_learning_rate(config: ClientConfig, rounds: int) -> Callable[[Any], Any]:
    """Round index (from 0) -> learning rate of its local steps."""
    if config.schedule == "constant":
        return optax.constant_schedule(config.client_learning_rate)
    return optax.cosine_decay_schedule(config.client_learning_rate, rounds)


def server_optimizer(config: ServerConfig) -> optax.GradientTransformation:
    """The server's optimizer, fed with the negative mean change of the shared part."""
    if config.server_optimizer == "adam":
        return optax.adam(config.server_learning_rate)
    return optax.sgd(config.server_learning_rate, momentum=config.server_momentum or None)
