"""Slices of clients' states: from the devices a few clients at a time, and back to wherever.

A slice holds clients of one bucket, by name of the leaf: their indices under ``client``, and their
parts of every leaf of ``ClientState`` but its ``constant``, which is derived. A client is known by
its index, so it does not matter how many devices or processes wrote a slice. Clients that never
took part are in none. Small slices are packed together. Legend as in ``population.population``.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from pfr_jax.client.block import ClientState, put_slots, take_slots
from pfr_jax.population.population import Population

SLICE_BYTES = 64 * 2**20  # of a slice's arrays; a few times as much is needed to write it
Slice = dict[str, np.ndarray]
Clients = tuple[ClientState, ...]

_take = jax.jit(take_slots)
_put = jax.jit(put_slots, donate_argnums=0)


def slices(clients: Clients, population: Population, known: np.ndarray) -> Iterator[Slice]:
    """This process's clients whose number of rounds differs from ``known`` (i64[N])."""
    for part, own, rounds in _parts_with_rounds(clients, population):
        slots = np.flatnonzero(rounds != known[own])
        leaves = _without_constant(part)
        size = min(len(part.rounds), max(1, SLICE_BYTES // _bytes_per_client(leaves)))
        for begin in range(0, len(slots), size):
            some = slots[begin : begin + size]
            taken = _taken(leaves, some, size)
            yield {"client": own[some].astype(np.int32), **_named(taken)}


def packed(found: Iterable[Slice]) -> Iterator[dict[str, np.ndarray]]:
    """Slices put together up to about SLICE_BYTES: names begin with the number of the slice."""
    pack: dict[str, np.ndarray] = {}
    for number, one in enumerate(found):
        pack.update({f"{number}.{name}": array for name, array in one.items()})
        if sum(array.nbytes for array in pack.values()) >= SLICE_BYTES // 2:
            yield pack
            pack = {}
    if pack:
        yield pack


def unpacked(pack: Mapping[str, np.ndarray]) -> Iterator[Slice]:
    """The slices of a pack."""
    found: dict[int, Slice] = {}
    for key, array in pack.items():
        number, _, name = key.partition(".")
        found.setdefault(int(number), {})[name] = array
    return (found[number] for number in sorted(found))


def rounds_of_clients(clients: Clients, population: Population) -> np.ndarray:
    """How many rounds each of this process's clients has taken part in, i64[N]; 0 elsewhere."""
    found = np.zeros(population.num_clients, np.int64)
    for _, own, rounds in _parts_with_rounds(clients, population):
        found[own] = rounds
    return found


def put_back(clients: Clients, population: Population, found: Iterable[Slice]) -> Clients:
    """The states with those of the slices in place, a later slice over an earlier one.

    ``clients`` is used up. Clients of other processes are passed over.
    """
    parts = [_local_parts(states) for states in clients]
    for one in found:
        own = one["client"]
        index = int(population.bucket_of[own[0]])
        slots = population.slot_of[own]
        for which, (first, part) in enumerate(parts[index]):
            mine = np.flatnonzero((slots >= first) & (slots < first + len(part.rounds)))
            if len(mine):
                new = _with(part, slots[mine] - first, {n: leaf[mine] for n, leaf in one.items()})
                parts[index][which] = first, new
    return tuple(map(_whole, clients, parts))


def digests(one: Slice) -> dict[int, bytes]:
    """A SHA-256 of the state of each client of a slice."""
    names = sorted(one)
    return {
        int(client): hashlib.sha256(b"".join(one[name][place].tobytes() for name in names)).digest()
        for place, client in enumerate(one["client"])
    }


def leaf_types(clients: Clients) -> dict[str, str]:
    """Name of each leaf -> type and shape per client; per bucket, arrays or their shapes."""
    return {
        f"{index}.{name}": f"{leaf.dtype}{list(leaf.shape[1:])}"
        for index, states in enumerate(clients)
        for name, leaf in _named(_without_constant(states)).items()
    }


def _parts_with_rounds(
    clients: Clients, population: Population
) -> Iterator[tuple[ClientState, np.ndarray, np.ndarray]]:
    """Each device's states in each bucket, whose they are (i64[n]), and their rounds (i32[n]).

    The last slots may be nobody's, and are not counted in n.
    """
    for index, states in enumerate(clients):
        members = np.flatnonzero(population.bucket_of == index)
        for first, part in _local_parts(states):
            rounds = np.asarray(part.rounds)
            own = members[first : first + len(rounds)]
            yield part, own, rounds[: len(own)]


def _local_parts(states: ClientState) -> list[tuple[int, ClientState]]:
    """(first slot, states of the slots from there on) of each of this process's devices."""
    if isinstance(states.rounds, np.ndarray):
        return [(0, states)]
    firsts = [shard.index[0].start or 0 for shard in states.rounds.addressable_shards]

    def of_device(place: int) -> ClientState:
        return jax.tree.map(lambda leaf: leaf.addressable_shards[place].data, states)

    return [(first, of_device(place)) for place, first in enumerate(firsts)]


def _whole(states: ClientState, parts: list[tuple[int, ClientState]]) -> ClientState:
    """The opposite of ``_local_parts``; ``states`` is looked at for its shapes only."""
    if isinstance(states.rounds, np.ndarray):
        return parts[0][1]

    def join(leaf: jax.Array, *on_devices: jax.Array) -> jax.Array:
        return jax.make_array_from_single_device_arrays(leaf.shape, leaf.sharding, [*on_devices])

    return jax.tree.map(join, states, *(part for _, part in parts))


def _taken(leaves: ClientState, slots: np.ndarray, size: int) -> ClientState:
    if isinstance(leaves.rounds, np.ndarray):
        return jax.tree.map(lambda leaf: leaf[slots], leaves)
    padded = np.resize(slots, size).astype(np.int32)  # one compilation per bucket
    return jax.tree.map(lambda leaf: np.asarray(leaf)[: len(slots)], _take(leaves, padded))


def _with(part: ClientState, slots: np.ndarray, leaves: Mapping[str, np.ndarray]) -> ClientState:
    """A device's states with these slots' leaves in place; ``part`` is used up."""
    target = _without_constant(part)
    paths, tree = jax.tree_util.tree_flatten_with_path(target)
    values = [
        leaves.get(_name(path), np.zeros((len(slots), *leaf.shape[1:]), leaf.dtype))
        for path, leaf in paths
    ]
    if isinstance(part.rounds, np.ndarray):
        for (_, leaf), value in zip(paths, values, strict=True):
            leaf[slots] = value
        return part
    room = 1 << (len(slots) - 1).bit_length()  # few shapes, few compilations
    padded = len(part.rounds) + np.arange(room, dtype=np.int32)  # distinct, and nobody's
    padded[: len(slots)] = slots
    wide = [np.resize(value, (room, *value.shape[1:])) for value in values]
    new = _put(target, padded, jax.tree.unflatten(tree, wide))
    return replace(new, constant=part.constant)


def _without_constant(states: ClientState) -> ClientState:
    return replace(states, constant=None)


def _bytes_per_client(states: ClientState) -> int:
    leaves = jax.tree.leaves(states)
    return max(1, sum(leaf.nbytes for leaf in leaves) // len(states.rounds))


def _named(states: ClientState) -> dict[str, Any]:
    return {_name(p): leaf for p, leaf in jax.tree_util.tree_flatten_with_path(states)[0]}


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")
