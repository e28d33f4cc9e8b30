"""Optax optimizers from settings. Clients' rates are applied outside, by the round's schedule."""

from collections.abc import Callable
from typing import Any

import jax
import optax

from pfr_jax.client.training import Parts
from pfr_jax.config import ClientConfig, ServerConfig

VECTORS = ("bias", "item_bias", "scale")


def client_optimizers(config: ClientConfig, ratings_per_user: float) -> Parts:
    """The optimizers of a client's parts, with learning rate 1: the round's rate scales them.

    ``ratings_per_user`` are the training ratings of the mean user.
    """
    decay = config.weight_decay + config.ridge / ratings_per_user
    private = shared = _client_optimizer(config, decay)
    if config.private_rate_factor != 1:
        private = optax.chain(private, optax.scale(config.private_rate_factor))
    return Parts(private, shared)


def _client_optimizer(config: ClientConfig, weight_decay: float) -> optax.GradientTransformation:
    """Weight decay is coupled (added to the gradient, after clipping), as in PyTorch's SGD."""
    optimizers = {
        "sgd": lambda: optax.sgd(1.0, momentum=config.momentum or None, nesterov=config.nesterov),
        "adam": lambda: optax.adam(1.0),
        "adagrad": lambda: optax.adagrad(1.0),
        "rmsprop": lambda: optax.rmsprop(1.0),
    }
    decay = optax.add_decayed_weights(weight_decay, None if config.decay_biases else _is_matrix)
    return optax.chain(decay, optimizers[config.client_optimizer]())


def _is_matrix(params: Any) -> Any:
    """Which leaves are weight matrices and not biases or norms: a tree like ``params`` of bools."""

    def one(path: tuple[Any, ...], leaf: Any) -> bool:
        del leaf
        names = [entry.key for entry in path if hasattr(entry, "key")]
        return not names or str(names[-1]).rpartition("/")[2] not in VECTORS

    return jax.tree_util.tree_map_with_path(one, params)


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
