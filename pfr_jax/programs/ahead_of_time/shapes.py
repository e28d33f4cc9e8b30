"""Simulations of the size of a data set that have shapes and no data.

Everything static is what ``prepare`` makes: layout of the buckets, engine, blocks, algorithm. How
many training ratings each user has comes from the synthetic data set's own long tail and split;
which items they are of is never drawn. Legend: U users, N clients, D devices.
"""

from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh

from pfr_jax import seeding
from pfr_jax.config import Config, DataConfig
from pfr_jax.data.examples import Examples
from pfr_jax.data.splits import Split, choose_new_users
from pfr_jax.data.standard import nothing_subtracted
from pfr_jax.data.synthetic import SyntheticSpec, activity
from pfr_jax.data.table import Ratings, Scale
from pfr_jax.evaluation.tasks import choose_task
from pfr_jax.population.buckets import Sizes, common_layout
from pfr_jax.population.interactions import outline_interactions
from pfr_jax.population.population import Population
from pfr_jax.population.stacking import outline
from pfr_jax.simulation.chosen import choose
from pfr_jax.simulation.programs import programs_of
from pfr_jax.simulation.releases import plan_of
from pfr_jax.simulation.setup import BUCKETS_OF_NEWCOMERS, Simulation


class Users(NamedTuple):
    """All that a shape depends on; every user is a client."""

    rows: np.ndarray  # i64[U], training ratings of each
    new: np.ndarray  # bool[U], held out of training
    num_items: int


def users_like(spec: SyntheticSpec, config: DataConfig) -> Users:
    """As many training ratings per user as the synthetic data set ``spec`` gives them.

    A split takes ratings at random, whosever they are: so does the draw from each user's number.
    """
    of_data = seeding.bit_generator(seeding.Stream.SYNTHETIC, config.split_seed, 0)
    rated = activity(spec, np.random.Generator(of_data))
    share = 1 - config.test_fraction - config.validation_fraction
    random = np.random.Generator(seeding.bit_generator(seeding.Stream.SPLIT, config.split_seed))
    wanted = round(share * spec.num_ratings)
    rows = random.multivariate_hypergeometric(rated, wanted, method="marginals")
    new = choose_new_users(spec.num_users, config.holdout_users, config.split_seed)
    return Users(rows, new, spec.num_items)


def bare_simulation(config: Config, users: Users, mesh: Mesh) -> Simulation:
    """What ``prepare`` makes of such users: of data there are shapes alone.

    Args:
      config: all settings; every user is a client, without a profile.
      users: how many ratings they have.
      mesh: the devices, which need not be here.

    Raises:
      InputError: the settings do not go together.
    """
    chosen, task = choose(config), choose_task(config.data)

    def population_of(there: np.ndarray, new: np.ndarray | None, max_buckets: int) -> Population:
        sizes = Sizes(np.where(there, users.rows, 0), there.astype(np.int64))
        layout = common_layout([sizes], config.client.batch_size, max_buckets)
        client = np.where(there, np.arange(len(there)), -1)
        batch_size = config.client.batch_size
        return outline(sizes, layout, client, batch_size=batch_size, mesh=mesh, new_users=new)

    everybody = np.ones_like(users.new)
    population = population_of(everybody, users.new, config.client.max_buckets)
    newcomers = None
    if users.new.any():
        newcomers = population_of(users.new, None, BUCKETS_OF_NEWCOMERS)
    trained = users.rows[population.trainable]
    plan = plan_of(config, len(trained))
    nobody, no_targets = np.zeros(0, np.int32), np.zeros(0)
    nothing = Examples(nobody, nobody, no_targets)
    data: Any = population.buckets
    if chosen.algorithm.centralized:
        count = int(users.rows[~users.new].sum())
        there = int(((users.rows > 0) & ~users.new).sum())
        data = outline_interactions((len(users.rows), 0), count, there, np.float32, mesh)
    return Simulation(
        config=config,
        spec=chosen.algorithm,
        task=task,
        ratings=_no_ratings(len(users.rows), users.num_items),
        split=Split(nobody, nobody, nobody),
        target=no_targets,
        examples=nothing,
        decoys=nothing,
        standard=nothing_subtracted(len(users.rows), users.num_items),
        new_users=users.new,
        fallback=None,
        population=population,
        newcomers=newcomers,
        data=data,
        plan=plan,
        popularity=None,
        **programs_of(
            *(chosen, task, config, users.num_items, 0),
            *(population, newcomers, float(trained.mean()), plan, None),
        ),
    )


def _no_ratings(num_users: int, num_items: int) -> Ratings:
    nobody = np.zeros(0, np.int32)
    labels = np.arange(num_users), np.arange(num_items)
    return Ratings(nobody, nobody, np.zeros(0, np.float32), *labels, Scale(1.0, 5.0), "shapes")
