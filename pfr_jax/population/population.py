"""The clients and their data, stacked by length bucket, and cohorts of them.

Legend: N clients, Nb clients in a bucket, V users of a client (padded), L distinct items of a
client (padded), I items, U users, D devices. A client is known by its index 0..N-1 for ever; its
bucket and its slot there are where its data and its state are stored. A bucket's slots are cut into
D equal runs, one per device (``pfr_jax.population.devices``).
"""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from pfr_jax.population.buckets import Layout, Sizes, assign_buckets, common_layout
from pfr_jax.population.devices import EVERYWHERE, client_mesh, put
from pfr_jax.seeding import Stream, permutation


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Bucket:
    """Clients of similar size, padded to one shape. Padding: item I, user U, observed False.

    Nb is a multiple of D: the last slots may hold nobody (client N).
    """

    client: jax.Array  # i32[Nb], index of the client
    items: jax.Array  # i32[Nb, L], the distinct items of its training ratings
    users: jax.Array  # i32[Nb, V], its users
    values: jax.Array  # f[Nb, V, L], centred training ratings, 0 where not observed
    observed: jax.Array  # bool[Nb, V, L]
    profile: jax.Array  # f[Nb, V, P], the users' profiles; P = 0: not used
    steps: int = field(metadata={"static": True})  # minibatches per local epoch
    # bool[Nb, V, L], what of the observed is really rated; None: all of it, there are no decoys
    rated: jax.Array | None = None

    def __len__(self) -> int:
        return self.client.shape[0]

    @property
    def known(self) -> jax.Array:
        """bool[Nb, V, L], what tells something of the users: no decoys."""
        return self.observed if self.rated is None else self.rated


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Cohort:
    """The clients of a round, as blocks of slots per bucket and device.

    Slots are counted from the first of the device's own Nb/D; from Nb/D on: empty places.
    """

    slots: tuple[jax.Array, ...]  # per bucket i32[D capacity], capacity in whole blocks
    blocks: tuple[jax.Array, ...]  # per bucket i32[D], how many blocks are in use
    clients: jax.Array  # f[], how many clients


@dataclass(frozen=True)
class Population:
    """All clients. The buckets go to the device; the index arrays stay on the host."""

    buckets: tuple[Bucket, ...]
    bucket_of: np.ndarray  # i64[N]; -1: not in this population
    slot_of: np.ndarray  # i64[N]
    rows: np.ndarray  # i64[N], distinct training items of each client
    client_of_user: np.ndarray  # i64[U]
    trainable: np.ndarray  # i64[...], ascending: the clients that may take part in a round
    mesh: Mesh  # of the D devices

    @property
    def num_clients(self) -> int:
        return len(self.bucket_of)

    @property
    def num_users(self) -> int:
        return len(self.client_of_user)

    def cohort(
        self, clients: np.ndarray, block_sizes: tuple[int, ...], room: int | None = None
    ) -> Cohort:
        """Lays the given clients (i64[C], distinct) out in blocks of each bucket's size.

        Shapes depend on ``room`` (at least C, which it is if left out) and the block sizes alone,
        so no cohort causes a recompilation.
        """
        room = len(clients) if room is None else room
        slots, blocks, num_devices = [], [], self.mesh.size
        sizes = zip(self.buckets, block_sizes, strict=True)
        for index, (bucket, block_size) in enumerate(sizes):
            of_device = len(bucket) // num_devices
            device, slot = np.divmod(
                self.slot_of[clients[self.bucket_of[clients] == index]], of_device
            )
            capacity = -(-min(of_device, room) // block_size) * block_size
            # No slot twice, empty places included.
            padded = np.tile(np.arange(of_device, of_device + capacity), (num_devices, 1))
            for own, row in enumerate(padded):
                chosen = slot[device == own]
                row[: len(chosen)] = chosen
            used = np.bincount(device, minlength=num_devices)
            slots.append(padded.reshape(-1).astype(np.int32))
            blocks.append(-(-used // block_size).astype(np.int32))
        slots, blocks = put((tuple(slots), tuple(blocks)), self.mesh)
        size = np.asarray(len(clients), self.buckets[0].values.dtype)
        return Cohort(slots, blocks, put(size, self.mesh, EVERYWHERE))


def deal_users(num_users: int, num_clients: int, seed: int) -> np.ndarray:
    """The client of each user, i64[U]: dealt at random and evenly; 0 clients: one per user."""
    if num_clients in (0, num_users):
        return np.arange(num_users)
    client = np.empty(num_users, np.int64)
    client[permutation(num_users, Stream.DEAL, seed)] = np.arange(num_users) % num_clients
    return client


def deal_with_new_users(new_users: np.ndarray, num_clients: int, seed: int) -> np.ndarray:
    """As ``deal_users``, i64[U], for the others; each of ``new_users`` (bool[U]) is a client."""
    client = np.empty(len(new_users), np.int64)
    client[~new_users] = deal_users(int((~new_users).sum()), num_clients, seed)
    client[new_users] = client[~new_users].max() + 1 + np.arange(new_users.sum())
    return client


def build_population(
    user: np.ndarray,
    item: np.ndarray,
    value: np.ndarray,
    client_of_user: np.ndarray,
    profile: np.ndarray,
    *,
    num_items: int,
    new_users: np.ndarray | None = None,
    rated: np.ndarray | None = None,
    batch_size: int = 10,
    max_buckets: int = 4,
    layout: Layout | None = None,
    dtype: jnp.dtype | type = np.float32,
    mesh: Mesh | None = None,
) -> Population:
    """Deals what clients hold to them and stacks it.

    Arguments: user i[n], item i[n] and centred value f64[n] of the ratings on clients,
    client_of_user i64[U] (-1: of a population elsewhere, and so are clients that have no users
    here), profile f[U, P]; ``rated`` bool[n]: what is no decoy, all if left out; ``layout``: its
    own best of ``max_buckets`` if left out; ``mesh``: one device. The clients of ``new_users``
    (bool[U]) and clients without ratings never take part in a round.
    """
    mesh = mesh or client_mesh()
    num_clients = int(client_of_user.max()) + 1
    users_here = np.flatnonzero(client_of_user >= 0)

    # A client's rows are its distinct items in ascending order.
    pairs, row = np.unique(client_of_user[user] * num_items + item, return_inverse=True)
    pair_client, pair_item = np.divmod(pairs, num_items)
    users = np.bincount(client_of_user[users_here], minlength=num_clients)
    rows = np.bincount(pair_client, minlength=num_clients)
    sizes = Sizes(rows, users)
    local_row = row - _starts(rows)[client_of_user[user]]

    order = users_here[np.argsort(client_of_user[users_here], kind="stable")]
    position = np.empty(len(client_of_user), np.int64)  # of a user among its client's users
    position[order] = np.arange(len(order)) - _starts(users)[client_of_user[order]]

    layout = layout or common_layout([sizes], batch_size, max_buckets)
    bucket_of = assign_buckets(sizes, layout, batch_size)
    bucket_of_user = np.where(client_of_user >= 0, bucket_of[client_of_user], -1)
    slot_of = np.empty(num_clients, np.int64)
    buckets = []
    for index, (steps, num_rows, num_slots, room) in enumerate(layout):
        members = np.flatnonzero(bucket_of == index)
        slot_of[members] = np.arange(len(members))
        count = -(-room // mesh.size) * mesh.size
        client = np.full(count, num_clients, np.int32)
        client[: len(members)] = members
        items_table = np.full((count, num_rows), num_items, np.int32)
        mine = bucket_of[pair_client] == index
        column = np.flatnonzero(mine) - _starts(rows)[pair_client[mine]]
        items_table[slot_of[pair_client[mine]], column] = pair_item[mine]

        users_table = np.full((count, num_slots), len(client_of_user), np.int32)
        own = np.flatnonzero(bucket_of_user == index)
        place = slot_of[client_of_user[own]], position[own]
        users_table[place] = own
        profiles = np.zeros((count, num_slots, profile.shape[1]), dtype)
        profiles[place] = profile[own]

        values = np.zeros((count, num_slots, num_rows), dtype)
        observed = np.zeros(values.shape, bool)
        entry = bucket_of_user[user] == index
        where = (slot_of[client_of_user[user[entry]]], position[user[entry]], local_row[entry])
        values[where], observed[where] = value[entry], True
        tables = {
            "client": client,
            "items": items_table,
            "users": users_table,
            "values": values,
            "observed": observed,
            "profile": profiles,
        }
        if rated is not None:
            tables["rated"] = np.zeros_like(observed)
            tables["rated"][where] = rated[entry]
        buckets.append(Bucket(**put(tables, mesh), steps=steps))
    trainable = rows > 0
    if new_users is not None:
        trainable[client_of_user[new_users]] = False
    return Population(
        buckets=tuple(buckets),
        bucket_of=bucket_of,
        slot_of=slot_of,
        rows=rows,
        client_of_user=client_of_user,
        trainable=np.flatnonzero(trainable),
        mesh=mesh,
    )


def _starts(counts: np.ndarray) -> np.ndarray:
    """Where each of consecutive runs of these lengths begins."""
    return np.cumsum(counts) - counts
