"""From a ``Federation`` to its rounds, and the shapes of what they begin with."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax

from pfr_jax.algorithms.centralized import Trainer, centralized
from pfr_jax.algorithms.federated import Algorithm, Federation, FederationState, federated
from pfr_jax.algorithms.spec import AlgorithmSpec
from pfr_jax.client.engines import block_sizes
from pfr_jax.client.training import Parts
from pfr_jax.config import Config
from pfr_jax.models.model import Model, Params, init_params, parts_on
from pfr_jax.population.population import Bucket, Population


def state_shapes(
    algorithm: Algorithm, model: Model, buckets: tuple[Bucket, ...]
) -> FederationState:
    """Shapes of the federation's state before the first round; of the buckets shapes suffice."""
    params = params_shapes(model, buckets[0].values.dtype)
    state: FederationState = jax.eval_shape(algorithm.init, params, buckets)
    return state


def params_shapes(model: Model, dtype: Any) -> Params:
    """Shapes of the model that everybody starts from."""
    return jax.eval_shape(partial(init_params, model, dtype=dtype), jax.random.key(0))


def build_algorithm(spec: AlgorithmSpec, config: Config, federation: Federation) -> Algorithm:
    """The rounds of the algorithm that the record describes."""
    if spec.centralized:
        training, batch_size = federation.side.training, config.client.batch_size
        algorithm = centralized(Trainer(training, batch_size, federation.learning_rate))
    else:
        algorithm = _federated(spec, federation)
    precise = in_precision(config.run.matmul_precision, algorithm.round)
    return algorithm._replace(round=precise)


def in_precision(precision: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, whose matrix products are traced with this precision."""

    def round(*args: Any) -> Any:  # the name of the compiled program
        with jax.default_matmul_precision(precision):
            return function(*args)

    return round


def _federated(spec: AlgorithmSpec, federation: Federation) -> Algorithm:
    model = federation.side.training.model
    return federated(federation, parts_on(model, spec.shared), parts_on(model, spec.private_sides))


def build_adaptation(
    spec: AlgorithmSpec, config: Config, federation: Federation, newcomers: Population, epochs: int
) -> Algorithm | None:
    """Rounds that move nothing but the private part, at a constant rate; for new users.

    None if nothing is private.
    """
    if not spec.has_private:
        return None
    side = federation.side
    moves = Parts((True,) * epochs, (False,) * epochs)
    training = dataclasses.replace(side.training, moves=moves)
    frozen = dataclasses.replace(
        federation,
        side=dataclasses.replace(
            side, training=training, stateless=False, compressor=None, mechanism=None
        ),
        expected=None,
        learning_rate=partial(_constant, config.client.client_learning_rate),
        block_sizes=block_sizes(config.client, side.training.model, federation.engine, newcomers),
    )
    return _federated(spec, frozen)


def _constant(value: float, index: Any) -> float:
    del index
    return value
