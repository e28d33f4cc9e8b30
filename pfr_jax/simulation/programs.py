"""What of a simulation holds no data: model, federation, and the rounds made of them."""

from typing import Any

from pfr_jax.config import Config
from pfr_jax.evaluation.task import Task
from pfr_jax.population.population import Population
from pfr_jax.privacy.accounting import Plan
from pfr_jax.simulation.chosen import Chosen
from pfr_jax.simulation.federation import build_federation
from pfr_jax.simulation.rounds import build_adaptation, build_algorithm

PROGRAMS = ("model", "federation", "engine_choice", "algorithm", "adaptation", "reconstruction")


def programs_of(
    chosen: Chosen,
    task: Task,
    config: Config,
    num_items: int,
    profile_size: int,
    population: Population,
    newcomers: Population | None,
    ratings_per_user: float,
    plan: Plan | None,
    like: Any,
) -> dict[str, Any]:
    """The fields of a simulation that hold no data; those of ``like``, if it is one."""
    if like is not None:
        return {name: getattr(like, name) for name in PROGRAMS}
    spec, compressor = chosen.algorithm, chosen.compressor
    model = chosen.model(num_items, profile_size)
    federation, why = build_federation(
        spec, task, config, model, population, compressor, ratings_per_user, plan
    )
    algorithm = build_algorithm(spec, config, federation)
    adaptation, reconstruction = None, None
    if newcomers:
        epochs = config.run.adaptation_epochs
        adaptation = build_adaptation(spec, config, federation, newcomers, epochs)
    if federation.side.stateless:
        epochs = config.client.private_epochs
        reconstruction = build_adaptation(spec, config, federation, population, epochs)
    made = model, federation, why, algorithm, adaptation, reconstruction
    return dict(zip(PROGRAMS, made, strict=True))
