"""The clients and their data, stacked by length bucket, and cohorts of them.

Legend: N clients, Nb clients in a bucket, V users of a client (padded), L distinct items of a
client (padded), I items, U users, D devices. A client is known by its index 0..N-1 for ever; its
bucket and its slot there are where its data and its state are stored. A bucket's slots are cut into
D equal runs, one per device (``pfr_jax.population.devices``).
"""

from dataclasses import dataclass, field

import jax
import numpy as np
from jax.sharding import Mesh

from pfr_jax.population.devices import EVERYWHERE, put
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
