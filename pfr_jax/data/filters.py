"""Filters on a whole table of ratings."""

import dataclasses

import numpy as np

from pfr_jax.data.table import Ratings
from pfr_jax.errors import InputError


def keep_active(ratings: Ratings, per_user: int, per_item: int) -> Ratings:
    """The ratings of users and items that have at least so many, counted again until all do.

    This is the largest part of the table in which it holds (with equal numbers: its k-core).
    Raises InputError where nothing remains.
    """
    left = ratings
    while len(left):
        of_user = np.bincount(left.user, minlength=left.num_users)[left.user]
        of_item = np.bincount(left.item, minlength=left.num_items)[left.item]
        rows = (of_user >= per_user) & (of_item >= per_item)
        if rows.all():
            break
        left = left.select(rows)
    flags = f"--min_ratings_per_user={per_user} and --min_ratings_per_item={per_item}"
    if not len(left):
        raise InputError(f"{flags} leave no rating of {ratings.name}; lower one of them")
    dropped = len(ratings) - len(left)
    note = (
        f"{dropped:,} ratings, {ratings.num_users - left.num_users:,} users and "
        f"{ratings.num_items - left.num_items:,} items were dropped by {flags}."
    )
    removed = {**left.removed, **({"of_rare_users_or_items": dropped} if dropped else {})}
    return dataclasses.replace(left, notes=(*left.notes, note), removed=removed)
