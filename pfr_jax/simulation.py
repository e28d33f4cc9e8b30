"""The round loop: sample a cohort, run the round, evaluate, select on validation.

Data flows one way: ratings -> split -> population -> rounds -> figures. A ``Simulation`` holds
what stays the same during a run; ``simulate`` yields one ``RoundRecord`` per round.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import jax
import numpy as np

from pfr_jax import optimizers
from pfr_jax.algorithms import ALGORITHMS, Algorithm, Federation, FederationState
from pfr_jax.client.block import ClientSide
from pfr_jax.client.training import LocalTraining, Parts
from pfr_jax.config import Config, DataConfig
from pfr_jax.data import load
from pfr_jax.data.lines import Columns
from pfr_jax.data.population import Population, build_population, deal_users
from pfr_jax.data.splits import Split, random_split
from pfr_jax.data.table import Ratings, Scale
from pfr_jax.errors import InputError
from pfr_jax.evaluation.metrics import Figures, errors_by_user, rating_figures
from pfr_jax.evaluation.scoring import predict_ratings, user_features
from pfr_jax.ledger import Ledger, Traffic, shared_ledger
from pfr_jax.model import AutoEncoder, Params, init_params
from pfr_jax.objectives import masked_squared_error
from pfr_jax.sampling import Stream, permutation
from pfr_jax.server import DENOMINATORS

BLOCK_SIZE = {"cpu": 4}  # clients; on a CPU a block's matrices must stay in its cache
BLOCK_SIZE_ELSEWHERE = 256


@dataclass(frozen=True)
class Simulation:
    """One experiment, ready to run: everything that does not change from round to round."""

    config: Config
    ratings: Ratings
    split: Split
    population: Population
    model: AutoEncoder
    federation: Federation
    algorithm: Algorithm
    cohort_size: int  # clients


@dataclass(frozen=True)
class Evaluation:
    """Figures of one round. Test figures are there only for rounds that report them."""

    validation: Figures | None
    improved: bool  # the best validation RMSE so far
    test: Figures | None
    test_by_user: dict[str, np.ndarray] | None  # rmse, mae: f64[U]


@dataclass(frozen=True)
class Timing:
    """Wall-clock seconds, device work included.

    Compilation is apart and happens once, with the initial state and a first evaluation of it.
    """

    train: float
    eval: float
    compile: float


@dataclass(frozen=True)
class RoundRecord:
    """What one round did. ``round`` counts from 1."""

    round: int
    loss: float
    learning_rate: float
    clients: np.ndarray  # i64[C], who took part
    traffic: Traffic  # of this round
    evaluation: Evaluation | None  # every eval_every rounds and after the last
    timing: Timing


def load_ratings(config: DataConfig) -> Ratings:
    """The ratings that these settings name, reduced to a sample of users if they say so."""
    ratings = load(
        config.dataset,
        data_dir=config.data_dir or None,
        columns=_columns(config.columns),
        scale=Scale(*config.scale) if config.scale else None,
        seed=config.split_seed,
    )
    if config.num_users in (0, ratings.num_users):
        return ratings
    return ratings.take_users(config.num_users, config.split_seed)


def _columns(texts: tuple[str, ...]) -> Columns | None:
    """Names, or positions where all three are numbers."""
    if not texts:
        return None
    user, item, rating = texts
    if all(text.isdecimal() for text in texts):
        return int(user), int(item), int(rating)
    return user, item, rating


def prepare(config: Config, ratings: Ratings, dtype: type = np.float32) -> Simulation:
    """Splits the ratings, deals users to clients and builds the algorithm.

    ``dtype`` is that of data, parameters and optimizer states.
    """
    data, client = config.data, config.client
    if data.num_clients > ratings.num_users:
        raise InputError(
            f"--num_clients={data.num_clients}: there are only {ratings.num_users} users"
        )
    split = random_split(
        len(ratings), data.validation_fraction, data.test_fraction, data.split_seed
    )
    population = build_population(
        ratings,
        split.train,
        deal_users(ratings.num_users, data.num_clients, data.split_seed),
        center=data.center,
        batch_size=client.batch_size,
        max_buckets=client.max_buckets,
        dtype=dtype,
    )
    model = AutoEncoder(config.model.hidden_sizes, ratings.num_items)
    federation = build_federation(config, model)
    return Simulation(
        config=config,
        ratings=ratings,
        split=split,
        population=population,
        model=model,
        federation=federation,
        algorithm=ALGORITHMS[config.run.algorithm](federation),
        # Rounded first: 0.07 x 100 is a little more than 7 in floating point.
        cohort_size=math.ceil(round(config.run.cohort_fraction * population.num_clients, 6)),
    )


def build_federation(config: Config, model: AutoEncoder) -> Federation:
    """The static description of clients and server that these settings ask for."""
    client = config.client
    training = LocalTraining(
        model=model,
        optimizer=optimizers.client_optimizer(client),
        loss=masked_squared_error,
        dropout=config.model.dropout,
        clip_norm=client.clip_norm,
        local_epochs=client.local_epochs,
    )
    carry = Parts(client.private_momentum == "carry", client.shared_momentum == "carry")
    platform_size = BLOCK_SIZE.get(jax.default_backend(), BLOCK_SIZE_ELSEWHERE)
    return Federation(
        side=ClientSide(training, client.partial_compression, carry),
        server_optimizer=optimizers.server_optimizer(config.server),
        denominator=DENOMINATORS[config.server.denominator],
        learning_rate=optimizers.client_learning_rate(client, config.run.rounds),
        block_size=client.block_size or platform_size,
    )


def seed_keys(seed: int) -> tuple[jax.Array, jax.Array]:
    """The key of the initial weights and the key that every round's key is folded from."""
    init_key, rounds_key = jax.random.split(jax.random.key(seed))
    return init_key, rounds_key


def initial_params(simulation: Simulation) -> Params:
    """The model that every client and the server start from."""
    config = simulation.config
    bias = simulation.population.mean_value if config.model.output_bias == "mean" else 0.0
    dtype = simulation.population.buckets[0].values.dtype
    return init_params(simulation.model, seed_keys(config.run.seed)[0], bias, dtype)


def initial_state(simulation: Simulation) -> FederationState:
    """The federation before its first round."""
    init = jax.jit(lambda buckets: simulation.algorithm.init(initial_params(simulation), buckets))
    return init(simulation.population.buckets)


def sample_cohort(simulation: Simulation, round: int) -> np.ndarray:
    """The clients of a round (counted from 0), i64[C], without replacement."""
    num_clients = simulation.population.num_clients
    order = permutation(num_clients, Stream.COHORT, simulation.config.run.seed, round)
    return order[: simulation.cohort_size]


def traffic_ledger(simulation: Simulation) -> Ledger:
    params = jax.eval_shape(lambda: initial_params(simulation))
    shared = {name: params[name] for name in simulation.algorithm.shared}
    return shared_ledger(
        shared, simulation.model.num_items, simulation.config.client.partial_compression
    )


def simulate(simulation: Simulation) -> Iterator[RoundRecord]:
    """Runs all rounds. Stops with an InputError if the training loss is no longer finite."""
    run, population = simulation.config.run, simulation.population
    ledger = traffic_ledger(simulation)
    block_size = simulation.federation.block_size
    _, rounds_key = seed_keys(run.seed)

    started = time.perf_counter()
    state = initial_state(simulation)
    cohort = population.cohort(sample_cohort(simulation, 0), block_size)
    step = jax.jit(simulation.algorithm.round, donate_argnums=0)
    compiled = step.lower(state, population.buckets, cohort, rounds_key).compile()
    evaluate(simulation, state, math.inf, last=True)  # compiles what evaluations run
    compile_seconds = time.perf_counter() - started

    best = math.inf
    for index in range(run.rounds):
        started = time.perf_counter()
        clients = sample_cohort(simulation, index)
        cohort = population.cohort(clients, block_size)
        key = jax.random.fold_in(rounds_key, index)
        state, report = compiled(state, population.buckets, cohort, key)
        jax.block_until_ready(state)
        loss = float(report.loss)
        trained = time.perf_counter()
        if not math.isfinite(loss):
            raise InputError(
                f"round {index + 1}: the training loss is {loss}; lower "
                "--client_learning_rate or --server_learning_rate, or set --clip_norm"
            )
        evaluation, last = None, index + 1 == run.rounds
        if last or (index + 1) % run.eval_every == 0:
            evaluation = evaluate(simulation, state, best, last)
            if evaluation.improved and evaluation.validation:
                best = evaluation.validation.rmse
        yield RoundRecord(
            round=index + 1,
            loss=loss,
            learning_rate=float(report.learning_rate),
            clients=clients,
            traffic=ledger.round_traffic(population.rows[clients]),
            evaluation=evaluation,
            timing=Timing(
                train=trained - started,
                eval=time.perf_counter() - trained,
                compile=compile_seconds if index == 0 else 0.0,
            ),
        )


def evaluate(simulation: Simulation, state: FederationState, best: float, last: bool) -> Evaluation:
    """Validation figures; test figures too if validation beats ``best`` or it is the last round."""
    ratings, split = simulation.ratings, simulation.split
    if not len(split.validation) and not (last and len(split.test)):
        return Evaluation(None, False, None, None)
    population = simulation.population
    hidden = user_features(simulation.model, state, population.buckets, population.num_users)

    def held_out(part: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        prediction = predict_ratings(
            state, hidden, population, ratings, part, simulation.config.run.clip_predictions
        )
        return ratings.user[part], ratings.rating[part], prediction

    validation, improved = None, False
    if len(split.validation):
        validation = rating_figures(*held_out(split.validation))
        improved = validation.rmse < best
    if not len(split.test) or not (improved or last):
        return Evaluation(validation, improved, None, None)
    user, rating, prediction = held_out(split.test)
    return Evaluation(
        validation=validation,
        improved=improved,
        test=rating_figures(user, rating, prediction),
        test_by_user=errors_by_user(user, rating, prediction, population.num_users),
    )
