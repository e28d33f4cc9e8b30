"""What lists hold, whoever likes it: how many items, how evenly, how popular and how unexpected.

Legend: I items, n users with a list, k length of a list; a position without an item has -1. An
item's share is that of the users with seen ratings who have it among these.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Popularity:
    """Who has seen what."""

    counts: np.ndarray  # i64[I], users who have the item among their seen ratings
    users: int  # with any seen rating

    @staticmethod
    def of(seen: tuple[np.ndarray, np.ndarray], num_items: int) -> "Popularity":
        """Of (user, item) pairs, i[...] each; a pair that is there twice counts once."""
        # NumPy's own unique takes half a minute for ten million pairs, and sorting them a second.
        pairs = np.sort(np.asarray(seen[0], np.int64) * num_items + seen[1])
        user, item = np.divmod(pairs[np.diff(pairs, prepend=-1) > 0], num_items)
        users = np.count_nonzero(np.diff(user, prepend=-1))
        return Popularity(np.bincount(item, minlength=num_items), int(users))

    @property
    def shares(self) -> np.ndarray:
        """Of the users with seen ratings, f64[I] in [0, 1]; 0 everywhere if there are none."""
        return self.counts / max(self.users, 1)


def make_up(items: np.ndarray, popularity: Popularity) -> dict[str, float]:
    """Figures of lists as a whole.

    Args:
      items: the lists, i64[n, k], -1 for none.
      popularity: of all I items.

    Returns:
      ``coverage``: the share of all items that are on any list.
      ``gini``: see ``gini_index``, of how often each of the I items is listed.
      ``novelty``: the mean of -log2(share) over all listed items, in bits; see ``information``.
      ``popularity``: the mean of the shares on each user's list, and of these over the users.
      All but the coverage are NaN where nothing is listed.
    """
    listed = items >= 0
    times = np.bincount(items[listed], minlength=len(popularity.counts))
    if not times.any():
        return {"coverage": 0.0} | dict.fromkeys(("gini", "novelty", "popularity"), float("nan"))
    length = listed.sum(axis=1)
    shares = np.where(listed, popularity.shares[items], 0).sum(axis=1)
    return {
        "coverage": float((times > 0).mean()),
        "gini": gini_index(times),
        "novelty": float(times @ information(popularity) / times.sum()),
        "popularity": float((shares[length > 0] / length[length > 0]).mean()),
    }


def gini_index(times: np.ndarray) -> float:
    """How unevenly ``times`` i[I] are dealt out: 0 if they are all equal, 1 - 1/I if one has all.

    With times x_1 <= ... <= x_I it is sum_i (2 i - I - 1) x_i / (I sum_i x_i). At least one is
    above 0.
    """
    count = len(times)
    weights = 2 * np.arange(1, count + 1) - count - 1
    return float(weights @ np.sort(times) / (count * times.sum()))


def information(popularity: Popularity) -> np.ndarray:
    """-log2 of each item's share, f64[I]: how unexpected it is to see the item.

    An item that nobody has seen has the share 1/(2 U), half of what one of the U users with seen
    ratings would make, so that it is one bit above an item that one user has seen.
    """
    seen = np.where(popularity.counts > 0, popularity.counts, 0.5)
    return -np.log2(seen / max(popularity.users, 1))
