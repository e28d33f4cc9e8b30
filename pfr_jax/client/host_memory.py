"""Clients' states in the machine's own memory, for accelerators that have too little.

The states are NumPy arrays; a round takes those of its cohort to the devices and brings them back.
For the factored engine, whose clients begin as zeros: memory of clients never sampled is never
touched here either. Legend as in ``pfr_jax.population.population``.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from pfr_jax.client.block import ClientState, take_slots
from pfr_jax.models.item_rows import Tree
from pfr_jax.population.devices import put
from pfr_jax.population.population import Bucket, Cohort

CLIENTS_AT_ONCE = 1024  # whose features are computed together, per device


def initial(init: Callable[..., Any]) -> Callable[..., Any]:
    """``Algorithm.init``, but the clients' states are on the host."""

    def on_host(params: Tree, buckets: tuple[Bucket, ...]) -> Any:
        def without_states(params: Tree, buckets: tuple[Bucket, ...]) -> Any:
            state = init(params, buckets)
            constants = tuple(states.constant for states in state.clients)
            return dataclasses.replace(state, clients=()), constants

        state, constants = jax.jit(without_states)(params, buckets)
        shapes = jax.eval_shape(init, params, buckets).clients
        zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
        clients = tuple(
            dataclasses.replace(states, constant=jax.tree.map(np.array, constant))
            for states, constant in zip(zeros, constants, strict=True)
        )
        return dataclasses.replace(state, clients=clients)

    return on_host


def capacities(num_clients: int, cohort_size: int, buckets: tuple[Bucket, ...]) -> tuple[int, ...]:
    """Clients of a bucket for whom a round has room; six standard deviations above the mean."""
    means = [cohort_size * len(bucket) / num_clients for bucket in buckets]
    return tuple(math.ceil(mean + 6 * math.sqrt(mean)) for mean in means)


def in_blocks(clients: int, size: int) -> int:
    """So many clients, rounded up to whole blocks of ``size``."""
    return -(-clients // size) * size


def _global_slots(slots: np.ndarray, bucket: Bucket, mesh: Mesh) -> np.ndarray:
    """Slots [D, n] counted per device -> in the bucket; an empty place: the device's last."""
    of_device = len(bucket) // mesh.size
    return np.minimum(slots, of_device - 1) + of_device * np.arange(mesh.size)[:, None]


def _to_devices(tree: Tree, slots: np.ndarray, mesh: Mesh) -> Tree:
    return put(jax.tree.map(lambda leaf: leaf[slots.reshape(-1)], tree), mesh)


def _table_on_devices(bucket: Bucket, slots: np.ndarray, mesh: Mesh) -> Bucket:
    return put(take_slots(bucket, jnp.asarray(slots.reshape(-1))), mesh)


class HostRound:
    """A round (``Algorithm.round``) whose clients come from the host, and go back there.

    ``room``: see ``capacities``; a cohort that needs more is compiled for by itself.
    """

    def __init__(
        self,
        round: Callable[..., Any],
        block_sizes: tuple[int, ...],
        mesh: Mesh,
        room: tuple[int, ...],
    ) -> None:
        self._round = jax.jit(round, donate_argnums=0)
        self._block_sizes, self._mesh, self._room = block_sizes, mesh, room
        self._compiled: dict[tuple[int, ...], Callable[..., Any]] = {}  # by clients per bucket

    def compile(self, state: Any, data: Any, cohort: Cohort, key: Any) -> "HostRound":
        """Itself, ready for such a cohort; all as shapes, of what is near the devices."""
        self._program(state, data, cohort, key)
        return self

    def bring_nobody(self, state: Any, buckets: tuple[Bucket, ...], cohort: Cohort) -> None:
        """Brings an empty cohort near, which compiles what brings others."""
        jax.block_until_ready(self._taken(state, buckets, cohort, self._places(buckets, cohort)))

    def __call__(
        self, state: Any, buckets: tuple[Bucket, ...], cohort: Cohort, key: jax.Array
    ) -> tuple[Any, Any]:
        """The next state and the report; the arrays of ``state.clients`` are changed in place."""
        places = self._places(buckets, cohort)
        taken = self._taken(state, buckets, cohort, places)
        new, report = self._program(*taken, key)(*taken, key)
        for host, trained, (slots, _, present) in zip(
            state.clients, new.clients, places, strict=True
        ):
            where = slots[present]

            def bring_back(into: np.ndarray, leaf: jax.Array) -> None:
                into[where] = np.asarray(leaf)[present.reshape(-1)]  # noqa: B023

            jax.tree.map(bring_back, host, trained)
        return dataclasses.replace(new, clients=state.clients), report

    def _program(self, state: Any, data: Any, cohort: Cohort, key: jax.Array) -> Callable[..., Any]:
        shape = tuple(slots.shape[0] for slots in cohort.slots)
        if shape not in self._compiled:
            self._compiled[shape] = self._round.lower(state, data, cohort, key).compile()
        return self._compiled[shape]

    def _taken(
        self, state: Any, buckets: tuple[Bucket, ...], cohort: Cohort, places: list[Any]
    ) -> tuple[Any, Any, Cohort]:
        """State, tables and cohort of the cohort's clients alone, on the devices."""
        mesh = self._mesh
        own = zip(state.clients, buckets, places, strict=True)
        taken = [
            (_to_devices(host, slots, mesh), _table_on_devices(bucket, slots, mesh), at)
            for host, bucket, (slots, at, _) in own
        ]
        clients, data, slots = zip(*taken, strict=True)
        near = dataclasses.replace(cohort, slots=put(slots, mesh))
        return dataclasses.replace(state, clients=clients), data, near

    def _places(
        self, buckets: tuple[Bucket, ...], cohort: Cohort
    ) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Per bucket: where its clients lie on the host i[D, n], where on their device i32[D n]
        (from n on: nobody), and which places hold somebody, bool[D, n]."""
        parts = zip(
            buckets, cohort.slots, cohort.blocks, self._block_sizes, self._room, strict=True
        )
        places = []
        for bucket, slots, blocks, size, room in parts:
            table = np.asarray(slots).reshape(self._mesh.size, -1)
            wide = in_blocks(room, size)
            if int(np.asarray(blocks).max()) * size <= wide:
                table = table[:, :wide]
            present = table < len(bucket) // self._mesh.size
            count = table.shape[1]
            at = np.where(present, np.arange(count), count + np.arange(count)).astype(np.int32)
            places.append((_global_slots(table, bucket, self._mesh), at.reshape(-1), present))
        return places


def in_parts(
    clients: tuple[ClientState, ...], buckets: tuple[Bucket, ...], mesh: Mesh
) -> Iterator[tuple[tuple[ClientState, ...], tuple[Bucket, ...]]]:
    """All clients on the devices, some at a time: (states, tables), each of one bucket.

    The last part of a bucket repeats clients, lest it have a shape of its own.
    """
    for states, bucket in zip(clients, buckets, strict=True):
        of_device = len(bucket) // mesh.size
        size = min(CLIENTS_AT_ONCE, of_device)
        for begin in range(0, of_device, size):
            first = min(begin, of_device - size)
            slots = np.tile(np.arange(first, first + size), (mesh.size, 1))
            place = _global_slots(slots, bucket, mesh)
            yield (
                (_to_devices(states, place, mesh),),
                (_table_on_devices(bucket, place, mesh),),
            )
