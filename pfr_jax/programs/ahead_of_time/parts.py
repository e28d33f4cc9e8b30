"""The programs that a run consists of, each with the shapes it is compiled for.

A part of a run makes of a bare simulation a jitted function and its arguments, as the run itself
does it with arrays.
"""

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from pfr_jax.algorithms.federated import Algorithm, FederationState
from pfr_jax.client.engines import block_sizes
from pfr_jax.client.host_memory import capacities, in_blocks
from pfr_jax.evaluation import ranking, scoring
from pfr_jax.population.devices import BY_CLIENT, EVERYWHERE
from pfr_jax.population.population import Bucket, Cohort, Population
from pfr_jax.programs.ahead_of_time.shapes import placed, shape
from pfr_jax.simulation.layout import jitted_round
from pfr_jax.simulation.setup import Simulation
from pfr_jax.simulation.start import initial_params

HELD_OUT = 0.05  # of all ratings, that are scored in an evaluation
SEEN = 25_600  # pairs that a block of users has seen, whose lists are made


class Program(NamedTuple):
    """A program as it is compiled."""

    function: Any  # jitted
    arguments: tuple[Any, ...]  # shapes with their places
    blocks: tuple[int, ...] = ()  # how often the loops over blocks run, per bucket
    stacks: Any = ()  # arguments that must not be copied: what clients keep


Part = Callable[[Simulation], Program]


def state_of(
    simulation: Simulation, algorithm: Algorithm, buckets: tuple[Bucket, ...]
) -> FederationState:
    """The federation's state before the first round."""
    mesh = simulation.federation.mesh
    state = jax.eval_shape(algorithm.init, params_of(simulation), buckets)
    clients = placed(state.clients, mesh, BY_CLIENT)
    return dataclasses.replace(placed(state, mesh, EVERYWHERE), clients=clients)


def params_of(simulation: Simulation) -> Any:
    params = jax.eval_shape(lambda: initial_params(simulation))
    return placed(params, simulation.federation.mesh, EVERYWHERE)


def key_of(simulation: Simulation) -> Any:
    """Of a round."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    return placed(key, simulation.federation.mesh, EVERYWHERE)


def cohort_of(
    simulation: Simulation, population: Population, sizes: tuple[int, ...], clients: int
) -> Cohort:
    """A round's cohort of so many ``clients``, in blocks of these ``sizes``."""
    mesh = simulation.federation.mesh
    cohort = jax.eval_shape(lambda: population.cohort(np.zeros(0, np.int64), sizes, clients))
    slots, blocks = placed((cohort.slots, cohort.blocks), mesh, BY_CLIENT)
    return Cohort(slots, blocks, placed(cohort.clients, mesh, EVERYWHERE))


def expected_blocks(simulation: Simulation, clients: int, sizes: tuple[int, ...]) -> Any:
    """Blocks per bucket on a device that a round of so many clients takes, in the mean."""
    share = clients / simulation.num_clients / simulation.federation.mesh.size
    counts = [share * len(bucket) for bucket in simulation.population.buckets]
    return tuple(max(1, math.ceil(n / size)) for n, size in zip(counts, sizes, strict=True))


def round_part(simulation: Simulation) -> Program:
    """A round, whose state is given up to it."""
    federation, population = simulation.federation, simulation.population
    key, round = key_of(simulation), simulation.algorithm.round
    step = jax.jit(round, donate_argnums=0)
    if simulation.spec.centralized:
        state = state_of(simulation, simulation.algorithm, population.buckets)
        users = simulation.population.trainable
        cohort = cohort_of(simulation, population, federation.block_sizes, len(users))
        return Program(step, (state, simulation.data, cohort, key))
    clients, sizes = simulation.cohort_size, federation.block_sizes
    cohort = cohort_of(simulation, population, sizes, clients)
    buckets = population.buckets
    if federation.on_host:
        buckets, cohort = _near(simulation, cohort)
    state = state_of(simulation, simulation.algorithm, buckets)
    arguments = state, buckets, cohort, key
    if not federation.on_host:
        step = jitted_round(round, arguments)
    blocks = expected_blocks(simulation, clients, sizes)
    return Program(step, arguments, blocks, state.clients)


def _near(simulation: Simulation, cohort: Cohort) -> tuple[tuple[Bucket, ...], Cohort]:
    """What of the tables and the cohort is on the devices where clients stay on the host."""
    federation, buckets = simulation.federation, simulation.population.buckets
    mesh = federation.mesh
    room = capacities(simulation.num_clients, simulation.cohort_size, buckets)
    parts = zip(buckets, cohort.slots, federation.block_sizes, room, strict=True)
    taken, slots = [], []
    for bucket, places, size, most in parts:
        count = mesh.size * min(in_blocks(most, size), places.shape[0] // mesh.size)
        cut = partial(_with_length, count)
        taken.append(placed(jax.tree.map(cut, bucket), mesh, BY_CLIENT))
        slots.append(placed(cut(places), mesh, BY_CLIENT))
    return tuple(taken), dataclasses.replace(cohort, slots=tuple(slots))


def _with_length(count: int, leaf: Any) -> Any:
    return jax.ShapeDtypeStruct((count, *leaf.shape[1:]), leaf.dtype)


def init_part(simulation: Simulation) -> Program:
    """The state before the first round."""
    init = jax.jit(simulation.algorithm.init)
    return Program(init, (params_of(simulation), simulation.population.buckets))


def adaptation_part(simulation: Simulation) -> Program:
    """The private parts of new users, fitted all at once at the end."""
    algorithm, newcomers = simulation.adaptation, simulation.newcomers
    assert algorithm is not None and newcomers is not None
    return _all_at_once(simulation, algorithm, newcomers)


def reconstruction_part(simulation: Simulation) -> Program:
    """Private parts of all clients, which keep none, for an evaluation."""
    assert simulation.reconstruction is not None
    return _all_at_once(simulation, simulation.reconstruction, simulation.population)


def _all_at_once(simulation: Simulation, algorithm: Algorithm, population: Population) -> Program:
    """The one round of ``evaluate.adapt``."""
    engine = simulation.federation.engine
    sizes = block_sizes(simulation.config.client, simulation.model, engine, population)
    clients = len(population.trainable)
    cohort = cohort_of(simulation, population, sizes, clients)
    state = state_of(simulation, algorithm, population.buckets)
    of_device = [slots.shape[0] // population.mesh.size for slots in cohort.slots]
    blocks = tuple(count // size for count, size in zip(of_device, sizes, strict=True))
    arguments = state, population.buckets, cohort, key_of(simulation)
    return Program(jax.jit(algorithm.round), arguments, blocks)


def features_part(simulation: Simulation) -> Program:
    """What the output layer sees of every user, with which an evaluation begins."""
    federation, population = simulation.federation, simulation.population
    state = state_of(simulation, simulation.algorithm, population.buckets)
    features = jax.jit(partial(_features, federation, population.num_users))
    return Program(features, (state, population.buckets))


def _features(federation: Any, num_users: int, state: Any, buckets: Any) -> jax.Array:
    return scoring.user_features(federation, state, buckets, num_users)


def _scorer(simulation: Simulation) -> scoring.Scorer:
    """Of a federation whose decoder is shared; on the first device, as evaluations have it."""
    mesh, model = _first(simulation), simulation.model
    of_users = simulation.population.num_users, model.feature_size
    hidden = shape(of_users, np.float32, mesh, EVERYWHERE)
    output = params_of(simulation)["decoder"]["output"]
    rows = placed(jax.eval_shape(model.output_rows, output), mesh, EVERYWHERE)
    return scoring.Scorer(hidden, rows, ())


def _first(simulation: Simulation) -> Any:
    """A mesh of the first device alone."""
    mesh = simulation.federation.mesh
    return jax.sharding.Mesh(mesh.devices[:1], mesh.axis_names)


def pairs_part(simulation: Simulation) -> Program:
    """Scores of a held-out part's pairs."""
    count = round(HELD_OUT * simulation.population.rows.sum())
    pair = shape((count,), np.int32, _first(simulation), EVERYWHERE)
    return Program(scoring.score_of_pairs, (_scorer(simulation), pair, pair))


def lists_part(simulation: Simulation) -> Program:
    """Lists of a block of users out of all items."""
    mesh = _first(simulation)
    users = shape((ranking.USERS_PER_BLOCK,), np.int32, mesh, EVERYWHERE)
    seen = shape((SEEN,), np.int32, mesh, EVERYWHERE)
    lists = jax.jit(partial(_lists, simulation.config.run.top_k))
    return Program(lists, (_scorer(simulation), users, seen, seen))


def _lists(k: int, scorer: Any, users: Any, row: Any, item: Any) -> jax.Array:
    return ranking.top_of_block(scorer, users, row, item, k)


PARTS: dict[str, Part] = {
    "round": round_part,
    "init": init_part,
    "adaptation": adaptation_part,
    "reconstruction": reconstruction_part,
    "features": features_part,
    "pairs": pairs_part,
    "lists": lists_part,
}
