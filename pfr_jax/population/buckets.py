"""Length buckets: how many rows each client is padded to, and which client goes where.

Clients differ in their number of rated items by factors of hundreds, and a compiled program
has fixed shapes. A few shapes, well chosen, keep both the padding and the compile time small.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

ALIGNMENT = 8  # rows; keeps vector loads whole
ROW_EQUIVALENT = 128  # what a client costs apart from its item rows, in rows (the hidden layers)
# What one more shape costs to compile, in rows of all clients: about the time in which they train
# for 300 rounds in cohorts of a tenth, with five local steps each.
COMPILATION = 150_000
MOST_BUCKETS = 6


def bucket_lengths(lengths: np.ndarray, max_buckets: int, price: int = 0) -> np.ndarray:
    """The at most ``max_buckets`` padded lengths that make the total work least.

    Args:
      lengths: i64[N], rows per client.
      max_buckets: 1 or more.
      price: what every length but the first adds to the work.

    Returns:
      i64[b], increasing multiples of 8; a client belongs to the first one that holds it. Work is
      the sum over clients of (padded length + a constant), so dynamic programming over the distinct
      lengths finds the optimum.
    """
    padded = np.maximum(ALIGNMENT, -(-lengths // ALIGNMENT) * ALIGNMENT)
    sizes, counts = np.unique(padded, return_counts=True)
    cumulative = np.concatenate([[0], np.cumsum(counts)])
    best = cumulative[1:] * (sizes + ROW_EQUIVALENT)  # one bucket up to each size
    choices: list[np.ndarray] = []
    for _ in range(min(max_buckets, len(sizes)) - 1):
        # cost[i, j]: the buckets so far end at size i, one more ends at size j > i.
        cost = best[:, None] + (cumulative[None, 1:] - cumulative[1:, None]) * (
            sizes + ROW_EQUIVALENT
        )
        cost = cost + price
        cost = np.where(np.arange(len(sizes))[:, None] < np.arange(len(sizes)), cost, np.inf)
        choice = cost.argmin(axis=0)
        best_with_one_more = cost[choice, np.arange(len(sizes))]
        keep = best <= best_with_one_more
        choices.append(np.where(keep, -1, choice))
        best = np.where(keep, best, best_with_one_more)
    ends = [len(sizes) - 1]
    for choice in reversed(choices):
        previous = choice[ends[-1]]
        if previous >= 0:
            ends.append(previous)
    return sizes[ends[::-1]]


class Shape(NamedTuple):
    """Of a bucket."""

    steps: int  # minibatches per local epoch
    rows: int  # L
    users: int  # V
    room: int  # clients, in all


Layout = tuple[Shape, ...]


class Sizes(NamedTuple):
    """What a client's place depends on."""

    rows: np.ndarray  # i64[N], distinct items of each client
    users: np.ndarray  # i64[N], its users; 0: it is not in this population


def client_sizes(
    user: np.ndarray, item: np.ndarray, client_of_user: np.ndarray, num_items: int
) -> Sizes:
    """Arguments as for ``build_population``."""
    num_clients = int(client_of_user.max()) + 1
    client = client_of_user[user]
    # Stable, which is fast where they are in order; np.unique would hash, five times slower.
    pairs = np.sort(client * num_items + item, kind="stable")
    again = pairs[1:][pairs[1:] == pairs[:-1]]  # of another user of the client
    counted, more = (np.bincount(of, minlength=num_clients) for of in (client, again // num_items))
    here = client_of_user[client_of_user >= 0]
    return Sizes(rows=counted - more, users=np.bincount(here, minlength=num_clients))


def common_layout(populations: Sequence[Sizes], batch_size: int, max_buckets: int) -> Layout:
    """Buckets that hold the clients of any of these populations, one population at a time.

    Clients of one bucket make the same number of local steps, so no step is a masked no-op.
    ``max_buckets`` 0: as many as save more work than they take to compile.
    """
    price = 0 if max_buckets else COMPILATION * len(populations)
    pooled = Sizes(*(np.concatenate(column) for column in zip(*populations, strict=True)))
    groups = np.unique(-(-pooled.users[pooled.users > 0] // batch_size))
    layout = []
    for group in groups:
        members = -(-pooled.users // batch_size) == group
        most = max(1, (max_buckets or MOST_BUCKETS) // len(groups))
        lengths = bucket_lengths(pooled.rows[members], most, price)
        choice = np.searchsorted(lengths, pooled.rows[members])
        for index, length in enumerate(lengths):
            most_users = pooled.users[members][choice == index].max()
            users = most_users if group == 1 else group * batch_size
            layout.append(Shape(int(group), int(length), int(users), 0))
    places = [assign_buckets(sizes, layout, batch_size) for sizes in populations]
    counts = [np.bincount(p[p >= 0], minlength=len(layout)) for p in places]
    return tuple(
        shape._replace(room=int(count))
        for shape, count in zip(layout, np.max(counts, axis=0), strict=True)
    )


def assign_buckets(sizes: Sizes, layout: Sequence[Shape], batch_size: int) -> np.ndarray:
    """The bucket of each client, i64[N]; -1: it has no users."""
    bucket_of = np.full(len(sizes.rows), -1)
    steps = -(-sizes.users // batch_size)
    # From the largest of its group to the smallest that holds it.
    for index in reversed(range(len(layout))):
        fits = (steps == layout[index].steps) & (sizes.rows <= layout[index].rows)
        bucket_of[fits] = index
    return bucket_of
