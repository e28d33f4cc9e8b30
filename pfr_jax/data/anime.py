"""The Anime Recommendations Database of Kaggle, with the filters of the paper's experiments."""

import dataclasses
import logging
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
_log = logging.getLogger(__name__)


def read_anime(path: Path, options: ReadOptions, name: str) -> Ratings:
    """The ratings of `rating.csv` that pass `keep`.

    Raises InputError as `read_ratings` does: also for a pair that is given twice, rated or not.
    """
    # A scale from -1 takes 0 too, which no rating is.
    whole = Scale(float(UNRATED), SCALE.high, SCALE.step)
    ratings = read_ratings(path, dataclasses.replace(options, scale=whole), name)
    wrong = np.flatnonzero((ratings.rating != UNRATED) & ~SCALE.contains(ratings.rating))
    if len(wrong):
        raise InputError(
            f"{path}:{wrong[0] + 2}: the rating {ratings.rating[wrong[0]]:g} is neither on the "
            f"scale {SCALE} nor {UNRATED} (watched, not rated); get the file again"
        )  # + 2: lines count from 1, and the first is the header
    return keep(ratings)


def keep(ratings: Ratings) -> Ratings:
    """`ratings` after the filters, in this order; each works on what the one before has left.

    1. Ratings of -1 go.
    2. Ratings of users with fewer than 20 ratings, and ratings of items with fewer than 20, go.
       Both are counted once, before either goes: who or what remains may have fewer in the end.
    3. Of the users that remain, the 6,000 with the lowest ids stay.

    The paper's order within 2 is not known; counted again and again, fewer would stay.
    """
    rated = ratings.rating != UNRATED
    user, item = ratings.user, ratings.item
    often = np.bincount(user[rated], minlength=ratings.num_users) >= MIN_RATINGS
    known = np.bincount(item[rated], minlength=ratings.num_items) >= MIN_RATINGS
    frequent = rated & often[user] & known[item]
    first = np.unique(user[frequent])[:NUM_USERS]  # numbered in the order of their ids
    rows = frequent & np.isin(user, first)
    if not rows.any():
        raise InputError(
            f"{ratings.name}: no rating remains of users and items with {MIN_RATINGS} ratings; "
            "get the file again"
        )
    _log.info(
        f"{ratings.name}: {len(ratings):,} rows, {rated.sum():,} of them rated; "
        f"{frequent.sum():,} by users and of items with at least {MIN_RATINGS} ratings (counted "
        f"once, together); {rows.sum():,} by the first {len(first):,} such users are used"
    )
    return dataclasses.replace(ratings.select(rows), scale=SCALE)
