"""A vectorized JAX simulator of personalized federated recommenders (PersonalFR).

Every user is a federated client with a private encoder; a server averages the shared decoder. What
is named here is the public interface; it is imported when it is first asked for.

    import pfr_jax

    config = pfr_jax.Config(run=pfr_jax.RunConfig(rounds=20))
    ratings, split = pfr_jax.load_ratings(config.data)
    simulation = pfr_jax.prepare(config, ratings, split)
    for record in pfr_jax.simulate(simulation):
        if record.evaluation:
            print(record.round, record.evaluation.validation.rmse)
"""

from contextlib import suppress
from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pfr_jax.algorithms import ALGORITHMS, AlgorithmSpec
    from pfr_jax.client.compressors import COMPRESSORS, Compressor
    from pfr_jax.config import (
        ClientConfig,
        Config,
        DataConfig,
        FaultConfig,
        ModelConfig,
        PrivacyConfig,
        RunConfig,
        ServerConfig,
    )
    from pfr_jax.data import Ratings, ReadOptions, Scale, Split, load, random_split
    from pfr_jax.errors import InputError, Stopped
    from pfr_jax.evaluation.task import Task
    from pfr_jax.evaluation.tasks import TASKS
    from pfr_jax.jax_setup import set_up_jax
    from pfr_jax.models.model import Model
    from pfr_jax.recommend.loading import load_run
    from pfr_jax.recommend.recommender import Recommender
    from pfr_jax.runs.experiment import train
    from pfr_jax.runs.trainer import Report
    from pfr_jax.simulation.loading import load_ratings
    from pfr_jax.simulation.loop import RoundRecord, simulate
    from pfr_jax.simulation.setup import Simulation, prepare

_HOMES = {
    "pfr_jax.algorithms": ("ALGORITHMS", "AlgorithmSpec"),
    "pfr_jax.config": (
        *("ClientConfig", "Config", "DataConfig", "FaultConfig", "ModelConfig"),
        *("PrivacyConfig", "RunConfig", "ServerConfig"),
    ),
    "pfr_jax.data": ("Ratings", "ReadOptions", "Scale", "Split", "load", "random_split"),
    "pfr_jax.client.compressors": ("COMPRESSORS", "Compressor"),
    "pfr_jax.errors": ("InputError", "Stopped"),
    "pfr_jax.evaluation.task": ("Task",),
    "pfr_jax.evaluation.tasks": ("TASKS",),
    "pfr_jax.jax_setup": ("set_up_jax",),
    "pfr_jax.models.model": ("Model",),
    "pfr_jax.recommend.loading": ("load_run",),
    "pfr_jax.recommend.recommender": ("Recommender",),
    "pfr_jax.runs.experiment": ("train",),
    "pfr_jax.runs.trainer": ("Report",),
    "pfr_jax.simulation.loading": ("load_ratings",),
    "pfr_jax.simulation.setup": ("Simulation", "prepare"),
    "pfr_jax.simulation.loop": ("RoundRecord", "simulate"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [  # noqa: F822
    "ALGORITHMS",
    "AlgorithmSpec",
    "COMPRESSORS",
    "ClientConfig",
    "Compressor",
    "Config",
    "DataConfig",
    "FaultConfig",
    "InputError",
    "Model",
    "ModelConfig",
    "PrivacyConfig",
    "Ratings",
    "ReadOptions",
    "Recommender",
    "Report",
    "RoundRecord",
    "RunConfig",
    "Scale",
    "ServerConfig",
    "Simulation",
    "Split",
    "Stopped",
    "TASKS",
    "Task",
    "__version__",
    "load",
    "load_ratings",
    "load_run",
    "prepare",
    "random_split",
    "set_up_jax",
    "simulate",
    "train",
]


def __getattr__(name: str) -> Any:
    """Imports a public name from where it lives; importing everything would take seconds."""
    if name == "__version__":
        with suppress(metadata.PackageNotFoundError):
            return metadata.version("pfr_jax")
        return "not installed"
    if name in _HOME_OF:
        return getattr(import_module(_HOME_OF[name]), name)
    raise AttributeError(f"module 'pfr_jax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
