"""Length buckets: how many rows each client is padded to.

Clients differ in their number of rated items by factors of hundreds, and a compiled program
has fixed shapes. A few shapes, well chosen, keep both the padding and the compile time small.
"""

import numpy as np

ALIGNMENT = 8  # rows; keeps vector loads whole
ROW_EQUIVALENT = 128  # what a client costs apart from its item rows, in rows (the hidden layers)


def bucket_lengths(lengths: np.ndarray, max_buckets: int) -> np.ndarray:
    """The at most ``max_buckets`` padded lengths that make the total work least.

    lengths i64[N], rows per client -> i64[b], increasing multiples of 8; a client belongs to the
    first one that holds it. Work is the sum over clients of (padded length + a constant), so
    dynamic programming over the distinct lengths finds the optimum.
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
