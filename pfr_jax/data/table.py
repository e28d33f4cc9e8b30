"""The table of ratings: who rated what, with how many stars."""

import dataclasses
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from pfr_jax import seeding
from pfr_jax.errors import InputError


@dataclass(frozen=True)
class Scale:
    """The stars a rating may have: low to high, in steps; `step=None` allows any between.

    Example:
      >>> Scale(0.5, 2, 0.5).levels().tolist()
      [0.5, 1.0, 1.5, 2.0]
      >>> Scale(1, 5, 1).contains(np.array([0.0, 3.0, 3.5])).tolist()
      [False, True, False]
    """

    low: float
    high: float
    step: float | None = None

    def __post_init__(self):
        if not self.low <= self.high or (self.step is not None and not self.step > 0):
            raise InputError(
                f"{self} is no rating scale: want low <= high and step > 0; see --scale"
            )

    def levels(self) -> np.ndarray:
        """Every rating the scale allows, f64[levels], ascending; only for a scale with a step."""
        if self.step is None:
            raise ValueError("a scale without a step has no levels")
        return self.low + self.step * np.arange(round((self.high - self.low) / self.step) + 1)

    def contains(self, ratings: np.ndarray) -> np.ndarray:
        """Which of `ratings` [n] the scale allows, bool[n]; NaN is never allowed."""
        inside = (ratings >= self.low) & (ratings <= self.high)
        if self.step is None:
            return inside
        steps = (ratings - self.low) / self.step
        return inside & (np.abs(steps - np.rint(steps)) < 1e-3)

    def __str__(self) -> str:
        step = "" if self.step is None else f" in steps of {self.step:g}"
        return f"{self.low:g} to {self.high:g}{step}"


@dataclass(frozen=True, eq=False)
class Ratings:
    """N ratings of I items by U users. Users and items are numbered without gaps."""

    user: np.ndarray  # i32[N], row of user_ids
    item: np.ndarray  # i32[N], row of item_ids
    rating: np.ndarray  # f32[N], stars
    user_ids: np.ndarray  # [U], the source's own labels, ascending; i64 or text
    item_ids: np.ndarray  # [I], likewise
    scale: Scale
    name: str  # of the source, for logs and messages
    expected: np.ndarray | None = None  # f32[N], stars; synthetic only: planted mean of each rating
    threshold: float | None = None  # stars from which a rating counts as positive
    profile: np.ndarray | None = None  # f32[U, P], one-hot
    profile_names: tuple[str, ...] = ()  # of the P columns
    scale_inferred: bool = False  # from the lowest and the highest rating
    notes: tuple[str, ...] = ()  # what was found out or done while reading, in sentences
    rated: bool = True  # False: user and item alone were given; every row is a choice, a 1
    removed: dict[str, int] = field(default_factory=dict)  # why -> how many ratings
    time: np.ndarray | None = None  # [N], when each was made; kept where a split wants it

    @classmethod
    def from_columns(
        cls,
        user_labels: np.ndarray | pa.Array,
        item_labels: np.ndarray | pa.Array,
        ratings: np.ndarray,
        scale: Scale,
        name: str,
        expected: np.ndarray | None = None,
    ) -> "Ratings":
        """Ratings from columns.

        Args:
          user_labels: who rated, [N] integers or texts.
          item_labels: what, likewise.
          ratings: the stars, [N].
          scale: the stars that a rating may have.
          name: what the ratings are called.
          expected: of synthetic ratings: the mean of each one's distribution, f[N].

        Returns:
          The ratings in this order; users and items are numbered in the order of their labels.
          Nothing is checked: that is the reader's matter, for files.

        Example:
          >>> ratings = Ratings.from_columns(
          ...     np.array(["ann", "bo", "ann"]), np.array([7, 7, 9]), np.array([4, 2, 5]),
          ...     Scale(1, 5, 1), "mine")
          >>> ratings.num_users, ratings.num_items, len(ratings)
          (2, 2, 3)
        """
        user, user_ids = _number(user_labels)
        item, item_ids = _number(item_labels)
        rating = np.asarray(ratings, np.float32)
        return cls(user, item, rating, user_ids, item_ids, scale, name, expected)

    @property
    def num_users(self) -> int:
        return len(self.user_ids)

    @property
    def num_items(self) -> int:
        return len(self.item_ids)

    def __len__(self) -> int:
        return len(self.rating)

    def take_users(self, n: int, seed: int) -> "Ratings":
        """The ratings of a random sample of `n` users; items that no longer occur are dropped.

        A smaller sample of the same seed is part of a larger one.
        """
        if not 1 <= n <= self.num_users:
            raise InputError(
                f"--num_users={n}: cannot take {n:,} of the {self.num_users:,} users of "
                f"{self.name}; want 1 to {self.num_users:,}"
            )
        chosen = seeding.permutation(self.num_users, seeding.Stream.SUBSET, seed)[:n]
        return self.select(np.isin(self.user, chosen))

    def select(self, rows: np.ndarray) -> "Ratings":
        """The ratings at ``rows`` (bool[N]); users and items that no longer occur are dropped."""
        user, user_ids = _close_gaps(self.user[rows], self.user_ids)
        item, item_ids = _close_gaps(self.item[rows], self.item_ids)
        users = np.bincount(self.user[rows], minlength=self.num_users) > 0
        return dataclasses.replace(
            self,
            user=user,
            item=item,
            rating=self.rating[rows],
            user_ids=user_ids,
            item_ids=item_ids,
            expected=None if self.expected is None else self.expected[rows],
            time=None if self.time is None else self.time[rows],
            profile=None if self.profile is None else self.profile[users],
        )

    @cached_property
    def description(self) -> dict[str, Any]:
        """The ``statistics`` for people, with the kinds of labels and the scale in force."""
        inferred = ", from the lowest and the highest rating" if self.scale_inferred else ""
        scale = f"{self.scale}{inferred}" if self.rated else "none; every row is a choice"
        return {
            **self.statistics(),
            "users": _labels_text(self.user_ids),
            "items": _labels_text(self.item_ids),
            "scale": scale,
        }

    def statistics(self) -> dict[str, float]:
        """Sizes, density, and the spread of ratings per user, per item and in stars."""
        stars = self.rating.astype(np.float64)
        return {
            "users": self.num_users,
            "items": self.num_items,
            "ratings": len(self),
            "density": len(self) / (self.num_users * self.num_items),
            **_spread("per_user", np.bincount(self.user, minlength=self.num_users)),
            **_spread("per_item", np.bincount(self.item, minlength=self.num_items)),
            "rating_mean": float(stars.mean()),
            "rating_std": float(stars.std()),
        }


def _number(labels: np.ndarray | pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers i32[N] of the labels in their sorted distinct values, and those values.

    Arrow hashes where np.unique sorts: 10 M labels in a second, text no slower than integers.
    """
    encoded = pa.array(labels).dictionary_encode()
    ids = encoded.dictionary.to_numpy(zero_copy_only=False)
    if ids.dtype == object:
        ids = ids.astype(str)
    order = np.argsort(ids)
    rank = np.empty(len(ids), np.int32)
    rank[order] = np.arange(len(ids), dtype=np.int32)
    return rank[encoded.indices.to_numpy()], ids[order]


def _labels_text(ids: np.ndarray) -> str:
    """How many different labels there are, and of what kind."""
    return f"{'text' if ids.dtype.kind == 'U' else 'integers'}, {len(ids):,} different"


def _close_gaps(codes: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Renumber `codes` [N] to the ones that occur; the ids of those."""
    occurs = np.bincount(codes, minlength=len(ids)) > 0
    return (np.cumsum(occurs, dtype=np.int32) - 1)[codes], ids[occurs]


def _spread(prefix: str, counts: np.ndarray) -> dict[str, float]:
    return {
        f"{prefix}_min": int(counts.min()),
        f"{prefix}_median": float(np.median(counts)),
        f"{prefix}_mean": float(counts.mean()),
        f"{prefix}_max": int(counts.max()),
    }
