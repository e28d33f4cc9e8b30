"""The records that a run is made of: those that its settings name, or a user's own."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from pfr_jax.algorithms import ALGORITHMS, AlgorithmSpec
from pfr_jax.client.compressors import COMPRESSORS, Compressor
from pfr_jax.config import Config, ModelConfig
from pfr_jax.errors import InputError
from pfr_jax.models.autoencoder import AutoEncoder
from pfr_jax.models.factorization import MatrixFactorization
from pfr_jax.models.members import side_by_side
from pfr_jax.models.model import Model

MakeModel = Callable[[int, int], Model]  # (number of items, entries of a user's profile) -> model


@dataclass(frozen=True)
class Chosen:
    """What may be a user's own."""

    algorithm: AlgorithmSpec
    model: MakeModel
    compressor: Compressor | None  # None: changes travel whole


def choose(
    config: Config,
    algorithm: AlgorithmSpec | None = None,
    model: MakeModel | None = None,
    compressor: Compressor | None = None,
) -> Chosen:
    """These records; where one is None, that which the settings name.

    Raises:
      InputError: --upload does not go with them.
    """
    client = config.client
    make = model or partial(MODELS[config.model.model], config.model)

    def members(num_items: int, profile_size: int) -> Model:
        return side_by_side(make(num_items, profile_size), config.model.members)

    spec = algorithm or ALGORITHMS[config.run.algorithm]
    encoder = compressor or COMPRESSORS[client.compressor](client.topk_share, client.lowrank_rank)
    config.privacy.require_uploads(spec, encoder.name if encoder else "none")
    return Chosen(spec, members, encoder)


def autoencoder(config: ModelConfig, num_items: int, profile_size: int) -> Model:
    """--model=autoencoder."""
    return AutoEncoder(config.hidden_sizes, num_items, profile_size)


def matrix_factorization(config: ModelConfig, num_items: int, profile_size: int) -> Model:
    """--model=mf."""
    if profile_size:
        raise InputError(f"--user_profile: --model={config.model} has no use for profiles")
    return MatrixFactorization(config.hidden_sizes[-1], num_items)


MODELS: dict[str, Callable[[ModelConfig, int, int], Model]] = {
    "autoencoder": autoencoder,
    "mf": matrix_factorization,
}
