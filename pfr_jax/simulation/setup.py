"""From settings to a ``Simulation``: ratings, split, clients, model, algorithm.

Data flows one way: ratings -> split -> targets -> clients. Nothing is trained here.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from pfr_jax.algorithms import AlgorithmSpec
from pfr_jax.algorithms.federated import Algorithm, Federation
from pfr_jax.client.compressors import Compressor
from pfr_jax.config import Config
from pfr_jax.data.examples import Examples
from pfr_jax.data.splits import Split
from pfr_jax.data.standard import Standard, nothing_subtracted
from pfr_jax.data.table import Ratings
from pfr_jax.errors import InputError
from pfr_jax.evaluation.cold import Fallback
from pfr_jax.evaluation.task import Task
from pfr_jax.models.model import Model
from pfr_jax.population.buckets import Layout, Sizes, common_layout
from pfr_jax.population.devices import client_mesh
from pfr_jax.population.interactions import build_interactions, outline_interactions
from pfr_jax.population.population import Population
from pfr_jax.population.stacking import outline, with_tables
from pfr_jax.privacy.accounting import Plan
from pfr_jax.seeding import cohort_size
from pfr_jax.simulation.chosen import Chosen, MakeModel, choose
from pfr_jax.simulation.dealing import Dealt, deal
from pfr_jax.simulation.filling import Filled, fill_clients, held_by_clients
from pfr_jax.simulation.programs import programs_of

BUCKETS_OF_NEWCOMERS = 2


@dataclass(frozen=True)
class Simulation:
    """One experiment, ready to run: everything that does not change from round to round."""

    config: Config
    spec: AlgorithmSpec
    task: Task
    ratings: Ratings
    split: Split
    target: np.ndarray  # f64[N], what every rating is trained on: stars, or 0 and 1
    examples: Examples  # what clients train on: these targets, or some and drawn negatives
    decoys: Examples  # and besides; none but with --upload=decoy
    standard: Standard  # what becomes of targets before a model sees them
    new_users: np.ndarray  # bool[U], held out of training
    fallback: Fallback | None  # where users or items have no training ratings; None: all have some
    population: Population
    newcomers: Population | None  # the clients of the new users once more, to be adapted
    data: Any  # what a round reads: the population's buckets, or the interactions if centralised
    model: Model
    federation: Federation
    engine_choice: str  # why this engine
    algorithm: Algorithm
    adaptation: Algorithm | None  # fits what is private on new users; None: nothing is private
    reconstruction: Algorithm | None  # the same for all clients, where they keep nothing
    plan: Plan | None  # what of the run is released, with how much noise; None: no --upload=dp
    popularity: np.ndarray | None  # f64[I], released: about how many clients chose each item

    @property
    def num_clients(self) -> int:
        """Clients that may take part in a round; a centralised trainer counts as one."""
        return 1 if self.spec.centralized else len(self.population.trainable)

    @property
    def room(self) -> int:
        """Clients that a round has places for; of a centralised trainer users."""
        return len(self.population.trainable) if self.spec.centralized else self.cohort_size

    @property
    def cohort_size(self) -> int:
        """Clients in a round, that is, whose updates it wants; at most, of Poisson cohorts."""
        run = self.config.run
        return cohort_size(self.num_clients, run.cohort_fraction, run.sampling)


class Meanwhile(NamedTuple):
    """What is done with a simulation as far as it is known from its shapes.

    Its population, and the data of its rounds, have shapes in the place of arrays, and it has no
    standardisation yet.
    """

    look: Callable[[Simulation], None]  # before anything is filled; it may raise
    beside: Executor  # fills it
    work: Callable[[Simulation], None]  # meanwhile


def prepare(
    config: Config,
    ratings: Ratings,
    split: Split,
    dtype: type = np.float32,
    *,
    spec: AlgorithmSpec | None = None,
    model: MakeModel | None = None,
    compressor: Compressor | None = None,
) -> Simulation:
    """Deals users to clients, centres their targets, builds model and algorithm.

    Args:
      config: all settings.
      ratings: the table of ratings.
      split: which of its rows are for training, validation and test.
      dtype: the type of data, parameters and optimizer states.
      spec: an algorithm of one's own, instead of the one that --algorithm names.
      model: likewise (number of items, entries of a profile) -> a model, instead of --model; there
        are --members of it side by side.
      compressor: likewise, instead of --compressor.

    Returns:
      The simulation, for ``simulate``. Nothing has been trained.

    Raises:
      InputError: the settings do not go together, or not with the ratings.
    """
    chosen = choose(config, spec, model, compressor)
    return prepare_alike([(config, ratings, split)], dtype, chosen)[0]


def prepare_alike(
    runs: Sequence[tuple[Config, Ratings, Split]],
    dtype: type = np.float32,
    chosen: Chosen | None = None,
    meanwhile: Meanwhile | None = None,
) -> list[Simulation]:
    """Simulations that differ in seeds and splits, as ``prepare`` makes them one by one.

    All are of the same shapes, and share their compiled programs where their users have as many
    ratings in the mean. ``meanwhile``: what is done while the first is being filled with data.
    """
    chosen = chosen or choose(runs[0][0])
    spec = chosen.algorithm
    dealt = [deal(spec, *run) for run in runs]
    client = dealt[0].config.client
    sizes = [one.sizes for one in dealt]
    layout = common_layout(sizes, client.batch_size, client.max_buckets)
    new = [one.sizes_of_newcomers for one in dealt if len(one.split.query)]
    layout_of_new = common_layout(new, client.batch_size, BUCKETS_OF_NEWCOMERS) if new else None
    simulations: list[Simulation] = []
    for one, sizes_of_one in zip(dealt, sizes, strict=True):
        # Programs hold the ratings of the mean user, if their number is used.
        used = client.weighting == "ratings" or client.ridge > 0
        alike = (
            made
            for made, other in zip(simulations, dealt, strict=False)
            if (not used or other.ratings_per_user == one.ratings_per_user)
            and other.plan == one.plan
        )
        like = next(alike, None)
        bare = _outlined(one, sizes_of_one, (layout, layout_of_new), dtype, chosen, like)
        filled: Callable[[], Filled] = partial(fill_clients, one, bare.population, bare.newcomers)
        if meanwhile and not simulations:
            meanwhile.look(bare)
            filled = meanwhile.beside.submit(filled).result
            meanwhile.work(bare)
        simulations.append(_with_data(one, bare, filled()))
    return simulations


def _outlined(
    dealt: Dealt,
    sizes: Sizes,
    layouts: tuple[Layout, Layout | None],
    dtype: type,
    chosen: Chosen,
    like: Simulation | None,
) -> Simulation:
    """A simulation of what was dealt, without data; with the programs of ``like`` if there is one.

    ``layouts`` are that of all clients and that of new users' clients once more.
    """
    config, ratings, spec, profile = dealt.config, dealt.ratings, dealt.spec, dealt.profile
    if (spec.centralized or "item" in spec.private_sides) and jax.process_count() > 1:
        raise InputError(f"--algorithm={spec.name} runs in one process only")
    outlined = partial(
        outline,
        batch_size=config.client.batch_size,
        dtype=dtype,
        mesh=client_mesh(1 if spec.centralized else config.run.num_devices),
        profile_size=profile.shape[1],
    )
    population = outlined(
        *(sizes, layouts[0], dealt.client_of_user),
        new_users=dealt.new_users,
        decoys=len(dealt.decoys) > 0,
    )
    newcomers = None
    if layouts[1] is not None and len(dealt.split.query):
        newcomers = outlined(dealt.sizes_of_newcomers, layouts[1], dealt.newcomers)
    return Simulation(
        config=config,
        spec=spec,
        task=dealt.task,
        ratings=ratings,
        split=dealt.split,
        target=dealt.target,
        standard=nothing_subtracted(ratings.num_users, ratings.num_items),
        new_users=dealt.new_users,
        examples=dealt.examples,
        decoys=dealt.decoys,
        fallback=None,
        population=population,
        newcomers=newcomers,
        data=_outlined_data(dealt, population),
        plan=dealt.plan,
        popularity=dealt.popularity,
        **programs_of(
            *(chosen, dealt.task, config, ratings.num_items, profile.shape[1]),
            *(population, newcomers, dealt.ratings_per_user, dealt.plan, like),
        ),
    )


def _outlined_data(dealt: Dealt, population: Population) -> Any:
    """Shapes of what a round reads."""
    if not dealt.spec.centralized:
        return population.buckets
    user = dealt.examples.user[~dealt.new_users[dealt.examples.user]]
    sizes = dealt.profile.shape, len(user), len(np.unique(user))
    return outline_interactions(*sizes, population.buckets[0].values.dtype, population.mesh)


def _with_data(dealt: Dealt, bare: Simulation, filled: Filled) -> Simulation:
    """The outlined simulation with its data."""
    population = with_tables(bare.population, filled.clients)
    data: Any = population.buckets
    if bare.spec.centralized:
        held = held_by_clients(dealt, dealt.examples.of_users(~dealt.new_users))
        dtype = population.buckets[0].values.dtype.type
        data = build_interactions(held.user, held.item, held.value, held.profile, dtype)
    newcomers = with_tables(bare.newcomers, filled.newcomers) if bare.newcomers else None
    return replace(
        bare,
        standard=dealt.find_standard(),
        fallback=filled.fallback,
        population=population,
        newcomers=newcomers,
        data=data,
    )
