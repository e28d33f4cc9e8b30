"""A population's shapes, its tables, and both put together. Legend as in ``population``.

The shapes follow from how many rows and users each client has: so what is compiled for them can be
compiled while the tables are still being filled.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jax.sharding import Mesh

from pfr_jax.population.buckets import (
    Layout,
    Sizes,
    assign_buckets,
    client_sizes,
    common_layout,
)
from pfr_jax.population.devices import BY_CLIENT, client_mesh, put, shape
from pfr_jax.population.population import Bucket, Population

Tables = dict[str, np.ndarray]  # of a bucket, by the names of its arrays


@dataclass(frozen=True, eq=False)
class Held:
    """What lies on clients.

    Attributes:
      user: i[n], whose rating.
      item: i[n], of what.
      value: f64[n], centred.
      profile: f[U, P], of the users.
      rated: bool[n], what is no decoy; None: all of it.
    """

    user: np.ndarray
    item: np.ndarray
    value: np.ndarray
    profile: np.ndarray
    rated: np.ndarray | None = None


def outline(
    sizes: Sizes,
    layout: Layout,
    client_of_user: np.ndarray,
    *,
    batch_size: int,
    dtype: Any = np.float32,
    mesh: Mesh | None = None,
    profile_size: int = 0,
    new_users: np.ndarray | None = None,
    decoys: bool = False,
) -> Population:
    """A population whose buckets are shapes, with their places on the devices.

    Args:
      sizes: of all clients.
      layout: of the buckets.
      client_of_user: i64[U]; -1: of a population elsewhere.
      batch_size: users of a minibatch.
      dtype: of values and profiles.
      mesh: the devices, which need not be here; None: one.
      profile_size: P.
      new_users: bool[U], whose clients never take part in a round, nor do clients without ratings.
      decoys: some of what clients hold is.
    """
    mesh = mesh or client_mesh()
    bucket_of = assign_buckets(sizes, layout, batch_size)
    slot_of = np.empty(len(bucket_of), np.int64)
    buckets = []
    for index, (steps, rows, users, room) in enumerate(layout):
        members = np.flatnonzero(bucket_of == index)
        slot_of[members] = np.arange(len(members))
        count = -(-room // mesh.size) * mesh.size
        of_ratings = count, users, rows
        tables: dict[str, tuple[tuple[int, ...], Any]] = {
            "client": ((count,), np.int32),
            "items": ((count, rows), np.int32),
            "users": ((count, users), np.int32),
            "values": (of_ratings, dtype),
            "observed": (of_ratings, np.bool_),
            "profile": ((count, users, profile_size), dtype),
        }
        if decoys:
            tables["rated"] = of_ratings, np.bool_
        arrays = {name: shape(*of, mesh, BY_CLIENT) for name, of in tables.items()}
        buckets.append(Bucket(**arrays, steps=steps))
    trainable = sizes.rows > 0
    if new_users is not None:
        trainable[client_of_user[new_users]] = False
    return Population(
        buckets=tuple(buckets),
        bucket_of=bucket_of,
        slot_of=slot_of,
        rows=sizes.rows,
        client_of_user=client_of_user,
        trainable=np.flatnonzero(trainable),
        mesh=mesh,
    )


def fill(population: Population, held: Held, num_items: int) -> list[Tables]:
    """The tables of an outlined population's buckets: numpy alone, for any thread."""
    client_of_user, num_clients = population.client_of_user, population.num_clients
    user, item, slot_of = held.user, held.item, population.slot_of
    users_here = np.flatnonzero(client_of_user >= 0)

    # A client's rows are its distinct items in ascending order.
    pairs, row = _distinct(client_of_user[user] * num_items + item)
    pair_client, pair_item = np.divmod(pairs, num_items)
    starts = _starts(population.rows)
    local_row = row - starts[client_of_user[user]]

    order = users_here[np.argsort(client_of_user[users_here], kind="stable")]
    users = np.bincount(client_of_user[users_here], minlength=num_clients)
    position = np.empty(len(client_of_user), np.int64)  # of a user among its client's users
    position[order] = np.arange(len(order)) - _starts(users)[client_of_user[order]]
    # Small numbers: every bucket looks through those of all pairs and entries.
    bucket_of = population.bucket_of.astype(np.int32)
    bucket_of_user = np.where(client_of_user >= 0, bucket_of[client_of_user], np.int32(-1))
    bucket_of_pair, bucket_of_entry = bucket_of[pair_client], bucket_of_user[user]
    found = []
    for index, bucket in enumerate(population.buckets):
        tables = _empty(bucket, num_clients, num_items, len(client_of_user))
        members = np.flatnonzero(bucket_of == index)
        tables["client"][: len(members)] = members
        mine = np.flatnonzero(bucket_of_pair == index)
        client = pair_client[mine]
        tables["items"][slot_of[client], mine - starts[client]] = pair_item[mine]
        own = np.flatnonzero(bucket_of_user == index)
        place = slot_of[client_of_user[own]], position[own]
        tables["users"][place] = own
        tables["profile"][place] = held.profile[own]
        entry = np.flatnonzero(bucket_of_entry == index)
        of = user[entry]
        where = slot_of[client_of_user[of]], position[of], local_row[entry]
        tables["values"][where], tables["observed"][where] = held.value[entry], True
        if held.rated is not None:
            tables["rated"][where] = held.rated[entry]
        found.append(tables)
    return found


def _distinct(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct values of i64[n], ascending, and where each of all is among them."""
    order = np.argsort(keys, kind="stable")  # fast where they are in order
    ordered = keys[order]
    first = np.diff(ordered, prepend=-1) > 0
    place = np.empty(len(keys), np.int64)
    place[order] = np.cumsum(first) - 1
    return ordered[first], place


def _empty(bucket: Bucket, num_clients: int, num_items: int, num_users: int) -> Tables:
    """The tables of a bucket that nobody is in."""
    padding = {"client": num_clients, "items": num_items, "users": num_users}
    shapes: dict[str, Any] = {
        name: leaf for name, leaf in vars(bucket).items() if name != "steps" and leaf is not None
    }
    return {
        name: np.full(leaf.shape, padding[name], leaf.dtype)
        if name in padding
        else np.zeros(leaf.shape, leaf.dtype)
        for name, leaf in shapes.items()
    }


def with_tables(population: Population, tables: Sequence[Tables]) -> Population:
    """The outlined population with its tables on the devices."""
    pairs = zip(population.buckets, tables, strict=True)
    buckets = [replace(bucket, **put(table, population.mesh)) for bucket, table in pairs]
    return replace(population, buckets=tuple(buckets))


def build_population(
    held: Held,
    client_of_user: np.ndarray,
    *,
    num_items: int,
    batch_size: int = 10,
    max_buckets: int = 4,
    layout: Layout | None = None,
    **settings: Any,
) -> Population:
    """Deals what clients hold to them and stacks it.

    Args:
      held: by users.
      client_of_user: as for ``outline``, where clients may be without users here, too.
      num_items: I.
      batch_size: users of a minibatch.
      max_buckets: of the best layout for these clients.
      layout: another one.
      **settings: the others of ``outline``.
    """
    sizes = client_sizes(held.user, held.item, client_of_user, num_items)
    layout = layout or common_layout([sizes], batch_size, max_buckets)
    population = outline(
        *(sizes, layout, client_of_user),
        batch_size=batch_size,
        profile_size=held.profile.shape[1],
        decoys=held.rated is not None,
        **settings,
    )
    return with_tables(population, fill(population, held, num_items))


def _starts(counts: np.ndarray) -> np.ndarray:
    """Where each of consecutive runs of these lengths begins."""
    return np.cumsum(counts) - counts
