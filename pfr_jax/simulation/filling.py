"""What an outlined simulation is filled with: no arrays of JAX's, so that any thread can do it."""

from typing import NamedTuple

import numpy as np

from pfr_jax.data.examples import Examples
from pfr_jax.evaluation.cold import Fallback
from pfr_jax.population.population import Population
from pfr_jax.population.stacking import Held, Tables, fill
from pfr_jax.simulation.dealing import Dealt


class Filled(NamedTuple):
    """Tables per bucket, and what scores cold pairs."""

    clients: list[Tables]
    newcomers: list[Tables]
    fallback: Fallback | None


def fill_clients(dealt: Dealt, population: Population, newcomers: Population | None) -> Filled:
    """The tables of both outlined populations."""
    examples, task, new = dealt.examples, dealt.task, dealt.new_users
    num_items, of_new = dealt.ratings.num_items, []
    clients = fill(population, held_by_clients(dealt, dealt.trained_on), num_items)
    if newcomers:
        of_new = fill(newcomers, held_by_clients(dealt, examples.of_users(new)), num_items)
    fallback = task.cold.fit(
        *(examples, ~new[examples.user], dealt.find_standard()),
        *(task.adds_center, task.link, num_items),
    )
    return Filled(clients, of_new, fallback)


def held_by_clients(dealt: Dealt, some: Examples) -> Held:
    """Some of the examples as they lie on clients; behind them there may be decoys."""
    value = dealt.find_standard().values(some.target, some.user, some.item)
    rated = None
    if len(some) > len(dealt.examples):
        rated = np.arange(len(some)) < len(dealt.examples)
    return Held(some.user, some.item, value, dealt.profile, rated)
