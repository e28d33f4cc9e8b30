"""What a run under differential privacy releases: its budget, and what comes before the rounds."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from pfr_jax.config import FROM_HERE_ON, MAY_CHANGE, READING, Config
from pfr_jax.data.examples import Examples
from pfr_jax.data.private_effects import Noise, noised_popularity, private_standard, releases_of
from pfr_jax.data.standard import Center, Standard
from pfr_jax.data.table import Ratings, Scale
from pfr_jax.evaluation.task import Task
from pfr_jax.privacy.accounting import Plan, find_plan


@dataclass(frozen=True, eq=False)
class Released:
    """What is made of the sums before the first round."""

    standard: Standard
    popularity: np.ndarray | None  # f64[I], about how many clients chose each item


def plan_of(config: Config, num_clients: int) -> Plan | None:
    """What a run releases, with how much noise; None where it is not under differential privacy."""
    privacy, run = config.privacy, config.run
    if not privacy.dp:
        return None
    of_center = releases_of(config.data.center, privacy.effects_releases)
    return find_plan(
        clients=num_clients,
        rate=run.cohort_fraction,
        rounds=run.rounds,
        releases=of_center + _popularity_is_released(config),
        share=privacy.effects_share,
        epsilon=privacy.epsilon,
        noise_multiplier=privacy.noise_multiplier,
        release_multiplier=privacy.release_multiplier,
        delta=privacy.delta,
        quantile=privacy.clip_quantile > 0,
    )


def noise_seed(config: Config, plan: Plan) -> int:
    """What all noise of a run is drawn from, in [0, 2^32).

    Runs of one seed share it only if they agree in the whole plan and in every setting that shapes
    their numbers: from two runs with the same noise on other sums the noise could be solved for.
    A run that may be made longer has the same noise however many rounds it has.
    """
    free = MAY_CHANGE | READING | FROM_HERE_ON | {"release_multiplier"}
    if config.client.schedule == "constant":
        free |= {"rounds"}
    settings = {name: value for name, value in config.flat().items() if name not in free}
    released = dataclasses.asdict(dataclasses.replace(plan, rounds=0))
    text = json.dumps([_as_floats(settings), _as_floats(released)], sort_keys=True)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])


def _as_floats(settings: dict[str, Any]) -> dict[str, Any]:
    """With one way to write a number: 4 and 4.0 are the same setting."""
    return {
        name: float(value) if isinstance(value, int | float) else value
        for name, value in settings.items()
    }


def release(
    plan: Plan,
    config: Config,
    center: Center,
    task: Task,
    ratings: Ratings,
    client: np.ndarray,
    examples: Examples,
    trained: np.ndarray,
) -> Released:
    """The releases before the first round.

    ``client`` (i[n]) and ``trained`` (bool[n]) are whose an example is, and whether it is of a
    client that takes part.
    """
    popularity_too = _popularity_is_released(config)
    releases = plan.releases - popularity_too
    noise = Noise(releases, plan.release_multiplier, noise_seed(config, plan))
    standard = private_standard(
        *(client, examples.user, examples.item, examples.target, trained),
        (ratings.num_users, ratings.num_items),
        center,
        config.data.standardize and task.adds_center,
        ratings.scale if task.adds_center else Scale(0.0, 1.0, 1.0),
        noise,
        plan.clients,
    ).standard
    popularity = None
    if popularity_too:
        chosen = trained & (examples.target > 0)
        once = dataclasses.replace(noise, releases=1)
        size = int(client.max()) + 1, ratings.num_items
        popularity = noised_popularity(client[chosen], examples.item[chosen], size, once)
        popularity = np.minimum(popularity, plan.clients)
    return Released(standard, popularity)


def _popularity_is_released(config: Config) -> bool:
    """The output layer begins at it."""
    return config.model.output_bias == "item"
