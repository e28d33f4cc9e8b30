"""The programs that a run consists of, each with the shapes it is compiled for.

A part of a run makes of a bare simulation a jitted function and its arguments, as the run itself
does it with arrays.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from pfr_jax.algorithms.federated import Algorithm
from pfr_jax.client.engines import block_sizes
from pfr_jax.evaluation import ranking, scoring
from pfr_jax.population.devices import EVERYWHERE, placed, shape
from pfr_jax.population.population import Population
from pfr_jax.simulation.layout import jitted_round
from pfr_jax.simulation.rounds import params_shapes
from pfr_jax.simulation.setup import Simulation
from pfr_jax.simulation.shapes import arguments_of_round, cohort_of, key_of, state_of

HELD_OUT = 0.05  # of all ratings, that are scored in an evaluation
SEEN = 25_600  # pairs that a block of users has seen, whose lists are made


class Program(NamedTuple):
    """A program as it is compiled."""

    function: Any  # jitted
    arguments: tuple[Any, ...]  # shapes with their places
    blocks: tuple[int, ...] = ()  # how often the loops over blocks run, per bucket
    stacks: Any = ()  # arguments that must not be copied: what clients keep


Part = Callable[[Simulation], Program]


def expected_blocks(simulation: Simulation, clients: int, sizes: tuple[int, ...]) -> Any:
    """Blocks per bucket on a device that a round of so many clients takes, in the mean."""
    share = clients / simulation.num_clients / simulation.federation.mesh.size
    counts = [share * len(bucket) for bucket in simulation.population.buckets]
    return tuple(max(1, math.ceil(n / size)) for n, size in zip(counts, sizes, strict=True))


def round_part(simulation: Simulation) -> Program:
    """A round, whose state is given up to it."""
    federation, round = simulation.federation, simulation.algorithm.round
    arguments = arguments_of_round(simulation)
    if simulation.spec.centralized:
        return Program(jax.jit(round, donate_argnums=0), arguments)
    blocks = expected_blocks(simulation, simulation.cohort_size, federation.block_sizes)
    stacks = arguments[0].clients
    if federation.on_host:
        return Program(jax.jit(round, donate_argnums=0), arguments, blocks, stacks)
    return Program(jitted_round(round, arguments), arguments, blocks, stacks)


def _params(simulation: Simulation) -> Any:
    dtype = simulation.population.buckets[0].values.dtype
    shapes = params_shapes(simulation.model, dtype)
    return placed(shapes, simulation.federation.mesh, EVERYWHERE)


def init_part(simulation: Simulation) -> Program:
    """The state before the first round."""
    init = jax.jit(simulation.algorithm.init)
    return Program(init, (_params(simulation), simulation.population.buckets))


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
    cohort = cohort_of(population, sizes, clients)
    state = state_of(algorithm, simulation.model, population.buckets, population.mesh)
    of_device = [slots.shape[0] // population.mesh.size for slots in cohort.slots]
    blocks = tuple(count // size for count, size in zip(of_device, sizes, strict=True))
    arguments = state, population.buckets, cohort, key_of(population.mesh)
    return Program(jax.jit(algorithm.round), arguments, blocks)


def features_part(simulation: Simulation) -> Program:
    """What the output layer sees of every user, with which an evaluation begins."""
    federation, population = simulation.federation, simulation.population
    buckets = population.buckets
    state = state_of(simulation.algorithm, simulation.model, buckets, population.mesh)
    features = jax.jit(partial(_features, federation, population.num_users))
    return Program(features, (state, buckets))


def _features(federation: Any, num_users: int, state: Any, buckets: Any) -> jax.Array:
    return scoring.user_features(federation, state, buckets, num_users)


def _scorer(simulation: Simulation) -> scoring.Scorer:
    """Of a federation whose decoder is shared; on the first device, as evaluations have it."""
    mesh, model = _first(simulation), simulation.model
    of_users = simulation.population.num_users, model.feature_size
    hidden = shape(of_users, np.float32, mesh, EVERYWHERE)
    output = _params(simulation)["decoder"]["output"]
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
