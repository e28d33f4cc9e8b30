"""The Anime Recommendations Database of Kaggle, with the filters of the paper's experiments."""

import dataclasses
from pathlib import Path

import numpy as np

from pfr_jax.data.formats import ReadOptions, read_ratings
from pfr_jax.data.table import Ratings, Scale
from pfr_jax.errors import InputError

SCALE = Scale(1.0, 10.0, 1.0)
UNRATED = -1  # instead of a rating: watched, but not rated
MIN_RATINGS = 20  # of a user, and of an item
NUM_USERS = 6_000
FILTERS = {"version": 1, "min_ratings": MIN_RATINGS, "num_users": NUM_USERS}  # for the cache's key

BY_HAND = (
    "It needs an account and cannot be downloaded for you: log in to "
    "https://www.kaggle.com/datasets/CooperUnion/anime-recommendations-database, download the "
    'archive and put its rating.csv at {path}; its licence is on that page, under "License"'
)


def read_anime(path: Path, options: ReadOptions, name: str) -> Ratings:
    """The ratings of `rating.csv` that pass `keep`; rows marked -1 are none.

    Raises InputError as `read_ratings` does.
    """
    return keep(read_ratings(path, options, name))


def keep(ratings: Ratings) -> Ratings:
    """`ratings` after the filters, in this order; the second works on what the first has left.

    1. Ratings of users with fewer than 20 ratings, and ratings of items with fewer than 20, go.
       Both are counted once, before either goes: who or what remains may have fewer in the end.
    2. Of the users that remain, the 6,000 with the lowest ids stay.

    The paper's order within 1 is not known; counted again and again, fewer would stay.
    """
    user, item = ratings.user, ratings.item
    often = np.bincount(user, minlength=ratings.num_users) >= MIN_RATINGS
    known = np.bincount(item, minlength=ratings.num_items) >= MIN_RATINGS
    frequent = often[user] & known[item]
    first = np.unique(user[frequent])[:NUM_USERS]  # numbered in the order of their ids
    rows = frequent & np.isin(user, first)
    if not rows.any():
        raise InputError(
            f"{ratings.name}: no rating remains of users and items with {MIN_RATINGS} ratings; "
            "get the file again"
        )
    note = (
        f"{ratings.name}: {len(ratings):,} ratings; {frequent.sum():,} by users and of items with "
        f"at least {MIN_RATINGS} ratings (counted once, together); {rows.sum():,} by the first "
        f"{len(first):,} such users are used."
    )
    removed = {
        "of_rare_users_or_items": int((~frequent).sum()),
        "of_further_users": int((frequent & ~rows).sum()),
    }
    removed = {**ratings.removed, **{why: count for why, count in removed.items() if count}}
    return dataclasses.replace(ratings.select(rows), notes=(*ratings.notes, note), removed=removed)
