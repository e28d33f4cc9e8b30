"""Who rated what: a long-tailed pattern of (user, item) pairs, without the stars."""

import numpy as np
from scipy.special import ndtr, ndtri

from pfr_jax.errors import InputError


def long_tail(
    n: int, total: int, low: int, high: int, log_sd: float, random: np.random.Generator
) -> np.ndarray:
    """`n` counts i64[n] from `low` to `high` that sum to `total`: low + a cut log-normal.

    The log-normal is cut, not clipped, so that no two dozen users share the maximum; and drawn
    at evenly spread quantiles, so that median and maximum hardly depend on the seed. Its median
    is found by bisection, and rounding down is made up where most was lost.
    """
    quantile = random.permutation((np.arange(n) + random.random(n)) / n)
    span = high - low

    def values(log_median: float) -> np.ndarray:
        below = ndtr((np.log(span) - log_median) / log_sd)  # the share that is not cut
        return low + np.minimum(np.exp(log_median + log_sd * ndtri(below * quantile)), span)

    lower, upper = -20.0, np.log(span) + 20 * log_sd
    for _ in range(60):
        middle = (lower + upper) / 2
        lower, upper = (middle, upper) if values(middle).sum() < total else (lower, middle)
    exact = values(lower)
    counts = np.floor(exact).astype(np.int64)
    missing = total - counts.sum()
    if not 0 <= missing <= n:
        raise InputError(f"{n} counts from {low} to {high} cannot sum to {total} in a long tail")
    counts[np.argsort(counts - exact, kind="stable")[:missing]] += 1
    return counts


def draw_pairs(
    activity: np.ndarray, popularity: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Give user u `activity[u]` different items, picked by `popularity`; users and items i32[N].

    `activity` i64[U] counts ratings; `popularity` [I] are weights above 0. Every item occurs.
    Pairs are ascending and none occurs twice.
    """
    num_items = len(popularity)
    # Drawing again what was drawn before takes long for users who rated much of the catalogue.
    many = activity > num_items // 8
    pairs = [_draw_few(np.where(many, 0, activity), popularity, random)]
    pairs += [_draw_many(int(u), activity[u], popularity, random) for u in np.flatnonzero(many)]
    pair = _reach_every_item(np.sort(np.concatenate(pairs)), num_items, random)
    user, item = np.divmod(pair, num_items)
    return user.astype(np.int32), item.astype(np.int32)


def _draw_few(wanted: np.ndarray, weight: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """`wanted` i64[U] different items for each user, by `weight` [I]; pairs u * I + i, any order.

    Draw with replacement, keep what is new, and draw again for what is missing: this gives each
    order of items the same chance as drawing without replacement.
    """
    num_users, num_items = len(wanted), len(weight)
    border = np.cumsum(weight / weight.sum())
    border /= border[-1]
    done, open_pairs = [], np.empty(0, np.int64)
    missing = wanted.copy()
    while missing.any():
        user = np.repeat(np.arange(num_users), missing)
        item = np.searchsorted(border, random.random(len(user)), side="right")
        open_pairs = np.sort(np.concatenate([open_pairs, user * num_items + item]))
        open_pairs = open_pairs[np.diff(open_pairs, prepend=-1) > 0]
        owner = open_pairs // num_items
        had = np.bincount(owner, minlength=num_users)
        missing = np.where(missing > 0, wanted - had, 0)
        done.append(open_pairs[missing[owner] == 0])
        open_pairs = open_pairs[missing[owner] > 0]
    return np.concatenate([*done, open_pairs])


def _draw_many(
    user: int, wanted: int, weight: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """`wanted` different items for one user, as pairs: the highest log(weight) + Gumbel noise."""
    keys = np.log(weight) + random.gumbel(size=len(weight))
    return user * len(weight) + np.argpartition(-keys, wanted - 1)[:wanted]


def _reach_every_item(pair: np.ndarray, num_items: int, random: np.random.Generator) -> np.ndarray:
    """`pair` [N], ascending, with some ratings moved to the items that had none.

    The last rating of each item stays. No pair can come to occur twice, for nobody
    had rated the items they move to.
    """
    item = pair % num_items
    last = np.full(num_items, -1)
    last[item] = np.arange(len(pair))
    absent = np.flatnonzero(last < 0)
    movable = np.ones(len(pair), bool)
    movable[last[last >= 0]] = False
    moved = random.choice(np.flatnonzero(movable), len(absent), replace=False)
    pair[moved] += absent - item[moved]
    return np.sort(pair)
