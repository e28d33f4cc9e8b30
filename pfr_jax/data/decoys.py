"""Decoys: items that a client has not rated and trains on all the same (--upload=decoy).

The rows that a client uploads tell which items it has. With decoys among them they tell less: they
are drawn as likely as others rate them, are the same in every round, since what comes again would
stand out among what does not, and fill up to a power of two, so that numbers of rows are alike.
A row that does not change would give itself away, so that decoys have ratings, made up of the
user's own. A client knows its own training ratings and nothing else: a held-out item may well be
among its decoys.

Legend: U users, I items, n ratings on clients.
"""

import numpy as np

from pfr_jax.data.examples import Examples, draw_unrated
from pfr_jax.data.standard import Standard
from pfr_jax.seeding import Stream, bit_generator


def draw_decoys(
    held: Examples,
    standard: Standard,
    per_rating: float,
    seed: int,
    drawing: np.ndarray,
) -> Examples:
    """Decoys and their made-up ratings, by user and item.

    Args:
      held: the ratings on clients.
      standard: what is expected of a user and an item, as far as the client knows.
      per_rating: decoys per rating, at least; see ``rows_wanted``.
      seed: of the draws, which are each user's own.
      drawing: bool[U], the users who have decoys, and whose ratings make the public popularity: not
        new ones, who upload nothing.

    Returns:
      As many for each user as it takes to have that number of rows, or all that somebody has rated.
      They depend on the seed, the user's own ratings and the popularity of items. A made-up rating
      is one of the user's own, each as likely.
    """
    order = np.argsort(held.user, kind="stable")
    user, item, target = held.user[order], held.item[order], held.target[order]
    border = np.searchsorted(user, np.arange(len(drawing) + 1))
    rated = np.diff(border)
    weight = np.bincount(item[drawing[user]], minlength=len(standard.item)).astype(np.float64)
    rest = target - standard.center(user, item)
    up_to, wanted = np.cumsum(weight), rows_wanted(rated, per_rating) - rated
    users = np.flatnonzero(drawing & (rated > 0))
    items, targets = [item[:0]], [target[:0]]
    for one in users.tolist():
        own = slice(border[one], border[one + 1])
        bits = bit_generator(Stream.DECOYS, seed, one)
        drawn = draw_unrated(weight, up_to, item[own], int(wanted[one]), bits)
        which = (np.random.Generator(bits).random(len(drawn)) * rated[one]).astype(np.int64)
        likely = standard.user[one] + standard.item[drawn] + rest[own][which]
        items.append(drawn.astype(item.dtype))
        targets.append(_nearest(np.sort(target[own]), likely))
    counts = [len(drawn) for drawn in items[1:]]
    return Examples(
        np.repeat(users, counts).astype(user.dtype), np.concatenate(items), np.concatenate(targets)
    )


def _nearest(choices: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Of the ``choices`` (f64[...], ascending) the nearest to each of ``values`` f64[n]."""
    above = np.searchsorted(choices, values)
    low = choices[np.maximum(above - 1, 0)]
    high = choices[np.minimum(above, len(choices) - 1)]
    return np.where(values - low < high - values, low, high)


def rows_wanted(rated: np.ndarray, per_rating: float) -> np.ndarray:
    """Rows i64[U] of users with ``rated`` i64[U] items: the next power of two that holds these and
    ``per_rating`` decoys for each; 0 without any."""
    least = rated + np.ceil(np.round(per_rating * rated, 6)).astype(np.int64)
    _, bits = np.frexp(np.maximum(least - 1, 0))  # as many as least - 1 has
    return np.where(rated > 0, 1 << bits.astype(np.int64), 0)
