"""What a round is given, as shapes with their places: all that compiling it takes."""

import dataclasses
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from pfr_jax.algorithms.federated import Algorithm, FederationState
from pfr_jax.client.host_memory import capacities, in_blocks
from pfr_jax.models.model import Model
from pfr_jax.population.devices import BY_CLIENT, EVERYWHERE, placed
from pfr_jax.population.population import Bucket, Cohort, Population
from pfr_jax.simulation.rounds import state_shapes
from pfr_jax.simulation.setup import Simulation


def arguments_of_round(
    simulation: Simulation, clients: int | None = None
) -> tuple[FederationState, Any, Cohort, Any]:
    """State, data, cohort and key of a round, whatever they are.

    Args:
      simulation: of its data nothing but shapes is looked at.
      clients: in the cohort; None: as many as its settings say.

    Returns:
      Shapes. Where clients are kept on the host, those of what is near the devices in a round.
    """
    federation, population = simulation.federation, simulation.population
    mesh, centralized = federation.mesh, simulation.spec.centralized
    room = simulation.room if clients is None else clients
    cohort = cohort_of(population, federation.block_sizes, room)
    buckets = placed(population.buckets, mesh, BY_CLIENT)
    if federation.on_host:
        buckets, cohort = _near(simulation, cohort)
    data = placed(simulation.data, mesh, EVERYWHERE) if centralized else buckets
    state = state_of(simulation.algorithm, simulation.model, buckets, mesh)
    return state, data, cohort, key_of(mesh)


def state_of(
    algorithm: Algorithm, model: Model, buckets: tuple[Bucket, ...], mesh: Mesh
) -> FederationState:
    """The federation's state before the first round."""
    state = state_shapes(algorithm, model, buckets)
    clients = placed(state.clients, mesh, BY_CLIENT)
    return dataclasses.replace(placed(state, mesh, EVERYWHERE), clients=clients)


def key_of(mesh: Mesh) -> Any:
    """Of a round."""
    return placed(jax.eval_shape(lambda: jax.random.key(0)), mesh, EVERYWHERE)


def cohort_of(population: Population, sizes: tuple[int, ...], clients: int) -> Cohort:
    """A cohort of so many ``clients``, in blocks of these ``sizes``."""
    cohort = jax.eval_shape(lambda: population.cohort(np.zeros(0, np.int64), sizes, clients))
    slots, blocks = placed((cohort.slots, cohort.blocks), population.mesh, BY_CLIENT)
    return Cohort(slots, blocks, placed(cohort.clients, population.mesh, EVERYWHERE))


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
