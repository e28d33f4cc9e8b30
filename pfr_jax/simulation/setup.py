"""From settings to a ``Simulation``: ratings, split, clients, model, algorithm.

Data flows one way: ratings -> split -> targets -> clients. Nothing is trained here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from pfr_jax.algorithms import ALGORITHMS, AlgorithmSpec
from pfr_jax.algorithms.federated import Algorithm, Federation
from pfr_jax.client.compressors import Compressor
from pfr_jax.config import Config, DataConfig, ModelConfig
from pfr_jax.data import load
from pfr_jax.data.filters import keep_active
from pfr_jax.data.formats import ReadOptions
from pfr_jax.data.formats.options import Columns
from pfr_jax.data.given_split import read_premade
from pfr_jax.data.sources import is_known
from pfr_jax.data.splits import Split, choose_new_users, hold_out_users, random_split
from pfr_jax.data.table import Ratings, Scale
from pfr_jax.data.targets import user_centers
from pfr_jax.errors import InputError
from pfr_jax.evaluation.cold import Fallback, fit_fallback
from pfr_jax.evaluation.task import Task
from pfr_jax.evaluation.tasks import TASKS
from pfr_jax.models.factorization import MatrixFactorization
from pfr_jax.models.model import AutoEncoder, Model
from pfr_jax.paths import expanded
from pfr_jax.population.buckets import Layout, Sizes, client_sizes, common_layout
from pfr_jax.population.devices import client_mesh
from pfr_jax.population.interactions import build_interactions
from pfr_jax.population.population import Population, build_population, deal_with_new_users
from pfr_jax.seeding import cohort_size
from pfr_jax.simulation.federation import (
    build_adaptation,
    build_algorithm,
    build_compressor,
    build_federation,
)

PROGRAMS = ("model", "federation", "engine_choice", "algorithm", "adaptation", "reconstruction")


@dataclass(frozen=True)
class Simulation:
    """One experiment, ready to run: everything that does not change from round to round."""

    config: Config
    spec: AlgorithmSpec
    task: Task
    ratings: Ratings
    split: Split
    target: np.ndarray  # f64[N], what every rating is trained on: stars, or 0 and 1
    center: np.ndarray  # f64[U]; known to the user's client alone, except a global mean
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

    @property
    def num_clients(self) -> int:
        """Clients that may take part in a round; a centralised trainer counts as one."""
        return 1 if self.spec.centralized else len(self.population.trainable)

    @property
    def cohort_size(self) -> int:
        """Clients in a round, that is, whose updates it wants."""
        return cohort_size(self.num_clients, self.config.run.cohort_fraction)


def load_ratings(config: DataConfig) -> tuple[Ratings, Split]:
    """The ratings that these settings name, filtered and reduced to a sample of users if so, and
    their split.
    """
    if config.validation_file or config.test_file:
        return _load_premade(config)
    ratings = load(
        config.dataset,
        data_dir=config.data_dir or None,
        options=read_options(config),
        seed=config.split_seed,
        download=config.download,
        user_profile=config.user_profile,
    )
    if max(config.min_ratings_per_user, config.min_ratings_per_item) > 1:
        ratings = keep_active(ratings, config.min_ratings_per_user, config.min_ratings_per_item)
    if config.num_users not in (0, ratings.num_users):
        ratings = ratings.take_users(config.num_users, config.split_seed)
    fractions = config.validation_fraction, config.test_fraction
    return ratings, random_split(len(ratings), *fractions, config.split_seed)


def _load_premade(config: DataConfig) -> tuple[Ratings, Split]:
    """A split that comes in files of its own."""
    flag = "--test_file" if config.test_file else "--validation_file"
    if is_known(config.dataset):
        raise InputError(
            f"{flag} goes with a training file of your own: give its path as --dataset, not "
            f"{config.dataset}"
        )
    for name in ("num_users", "min_ratings_per_user", "min_ratings_per_item"):
        if getattr(config, name):
            raise InputError(f"--{name} cannot change a split of one's own ({flag}); leave it out")
    validation, test = (
        expanded(path) if path else None for path in (config.validation_file, config.test_file)
    )
    return read_premade(expanded(config.dataset), validation, test, read_options(config))


def read_options(config: DataConfig) -> ReadOptions:
    """What these settings say about a file of ratings."""
    return ReadOptions(
        columns=_columns(config.columns),
        separator={"": None, r"\t": "\t"}.get(config.separator, config.separator),
        header={"auto": None, "yes": True, "no": False}[config.header],
        scale=Scale(*config.scale) if config.scale else None,
        rating_range=(config.rating_range[0], config.rating_range[1])
        if config.rating_range
        else None,
        duplicates=config.duplicates,
    )


def _columns(texts: tuple[str, ...]) -> Columns | None:
    """Names, or positions where all are numbers."""
    if not texts:
        return None
    return tuple(map(int, texts)) if all(text.isdecimal() for text in texts) else texts


@dataclass(frozen=True)
class Dealt:
    """Ratings split, centred and dealt to clients: what is done before anything is stacked."""

    spec: AlgorithmSpec
    task: Task
    config: Config
    ratings: Ratings
    split: Split
    target: np.ndarray  # f64[N]
    center: np.ndarray  # f64[U]
    profile: np.ndarray  # f32[U, P]
    new_users: np.ndarray  # bool[U]
    client_of_user: np.ndarray  # i64[U]

    @property
    def held(self) -> np.ndarray:
        """The rows of the table that lie on clients."""
        return np.sort(np.concatenate([self.split.train, self.split.support]))

    @property
    def value(self) -> np.ndarray:
        """f64[N], centred targets."""
        return self.target - self.center[self.ratings.user]

    @property
    def sizes(self) -> Sizes:
        return self._sizes(self.held, self.client_of_user)

    @property
    def newcomers(self) -> np.ndarray:
        """The client of each new user, i64[U]; -1 for the others."""
        return np.where(self.new_users, self.client_of_user, -1)

    @property
    def sizes_of_newcomers(self) -> Sizes:
        return self._sizes(self.split.support, self.newcomers)

    def _sizes(self, rows: np.ndarray, client_of_user: np.ndarray) -> Sizes:
        user, item = self.ratings.user[rows], self.ratings.item[rows]
        return client_sizes(user, item, client_of_user, self.ratings.num_items)


def prepare(
    config: Config,
    ratings: Ratings,
    split: Split,
    dtype: type = np.float32,
    spec: AlgorithmSpec | None = None,
    compressor: Compressor | None = None,
) -> Simulation:
    """Deals users to clients, centres their targets and builds the algorithm.

    ``dtype`` is that of data, parameters and optimizer states; ``spec`` and ``compressor`` are an
    algorithm and a compressor of one's own, instead of those that the settings name.
    """
    return prepare_alike([(config, ratings, split)], dtype, spec, compressor)[0]


def prepare_alike(
    runs: Sequence[tuple[Config, Ratings, Split]],
    dtype: type = np.float32,
    spec: AlgorithmSpec | None = None,
    compressor: Compressor | None = None,
) -> list[Simulation]:
    """Simulations that differ in seeds and splits, as ``prepare`` makes them one by one.

    All are of the same shapes and share their compiled programs.
    """
    spec = spec or ALGORITHMS[runs[0][0].run.algorithm]
    compressor = compressor or build_compressor(runs[0][0].client)
    dealt = [deal(spec, *run) for run in runs]
    client, ratings = dealt[0].config.client, dealt[0].ratings
    max_buckets = client.max_buckets or (4 if ratings.num_users < 10_000 else 6)
    layout = common_layout([one.sizes for one in dealt], client.batch_size, max_buckets)
    new = [one.sizes_of_newcomers for one in dealt if len(one.split.support)]
    layouts = layout, common_layout(new, client.batch_size, 2) if new else None
    simulations: list[Simulation] = []
    for one in dealt:
        like = simulations[0] if simulations else None
        simulations.append(_assemble(one, layouts, dtype, compressor, like))
    return simulations


def deal(spec: AlgorithmSpec, config: Config, ratings: Ratings, split: Split) -> Dealt:
    """Splits off the new users, centres the targets and deals the users to clients."""
    data = config.data
    new_users = choose_new_users(ratings.num_users, data.holdout_users, data.split_seed)
    split = hold_out_users(split, ratings.user, new_users)
    if not len(split.train):
        raise InputError("no rating is left to train on; hold out fewer users or ratings")
    task = TASKS[data.feedback]
    target = task.targets(ratings, data.implicit_threshold)
    mean = float(target[split.train].mean())
    task.check(mean)
    held = np.sort(np.concatenate([split.train, split.support]))
    center = user_centers(ratings.user[held], target[held], ratings.num_users, data.center, mean)
    profile, client = user_profiles(data, ratings), _clients_of_users(spec, config, new_users)
    return Dealt(spec, task, config, ratings, split, target, center, profile, new_users, client)


def _assemble(
    dealt: Dealt,
    layouts: tuple[Layout, Layout | None],
    dtype: type,
    compressor: Compressor | None,
    like: Simulation | None,
) -> Simulation:
    """A simulation of what was dealt; with the programs of ``like`` if there is one.

    ``layouts`` are that of all clients and that of new users' clients once more.
    """
    config, ratings, split, profile = dealt.config, dealt.ratings, dealt.split, dealt.profile
    spec, task, value = dealt.spec, dealt.task, dealt.value
    if (spec.centralized or "item" in spec.private_sides) and jax.process_count() > 1:
        raise InputError(f"--algorithm={spec.name} runs in one process only")
    mesh = client_mesh(1 if spec.centralized else config.run.num_devices)

    def stack(rows: np.ndarray, client: np.ndarray, **settings: Any) -> Population:
        return build_population(
            *(ratings.user[rows], ratings.item[rows], value[rows], client, profile),
            num_items=ratings.num_items,
            batch_size=config.client.batch_size,
            dtype=dtype,
            mesh=mesh,
            **settings,
        )

    new, client = dealt.new_users, dealt.client_of_user
    population = stack(dealt.held, client, new_users=new, layout=layouts[0])
    newcomers = None
    if len(split.query):
        newcomers = stack(split.support, dealt.newcomers, layout=layouts[1])
    read: Any = population.buckets
    if spec.centralized:
        train = split.train
        read = build_interactions(
            ratings.user[train], ratings.item[train], value[train], profile, dtype
        )
    return Simulation(
        config=config,
        spec=spec,
        task=task,
        ratings=ratings,
        split=split,
        target=dealt.target,
        center=dealt.center,
        new_users=new,
        fallback=fit_fallback(
            ratings, split, dealt.target, dealt.center, task.adds_center, task.link
        ),
        population=population,
        newcomers=newcomers,
        data=read,
        **_programs(
            *(spec, task, config, ratings.num_items, profile.shape[1]),
            *(population, newcomers, compressor, like),
        ),
    )


def _programs(
    spec: AlgorithmSpec,
    task: Task,
    config: Config,
    num_items: int,
    profile_size: int,
    population: Population,
    newcomers: Population | None,
    compressor: Compressor | None,
    like: Simulation | None,
) -> dict[str, Any]:
    """The fields of a simulation that hold no data."""
    if like is not None:
        return {name: getattr(like, name) for name in PROGRAMS}
    model = build_model(config.model, num_items, profile_size)
    federation, why = build_federation(spec, task, config, model, population, compressor)
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


def build_model(config: ModelConfig, num_items: int, profile_size: int) -> Model:
    """The model that --model names."""
    if config.model == "autoencoder":
        return AutoEncoder(config.hidden_sizes, num_items, profile_size)
    if profile_size:
        raise InputError(f"--user_profile: --model={config.model} has no use for profiles")
    return MatrixFactorization(config.hidden_sizes[-1], num_items)


def user_profiles(config: DataConfig, ratings: Ratings) -> np.ndarray:
    """One-hot profiles f32[U, P]; P = 0 where they are not asked for."""
    if not config.user_profile:
        return np.zeros((ratings.num_users, 0), np.float32)
    if ratings.profile is None:
        raise InputError(f"--user_profile: {ratings.name} has no user profiles; leave the flag out")
    return ratings.profile


def _clients_of_users(spec: AlgorithmSpec, config: Config, new_users: np.ndarray) -> np.ndarray:
    """The client of each user, i64[U]."""
    data, num_trained = config.data, int((~new_users).sum())
    if data.num_clients > num_trained:
        raise InputError(
            f"--num_clients={data.num_clients}: there are only {num_trained} users to train"
        )
    # The users of a centralised trainer are evaluated one by one.
    num_clients = 0 if spec.centralized else data.num_clients
    return deal_with_new_users(new_users, num_clients, data.split_seed)
