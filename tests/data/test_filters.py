"""Users and items with few ratings dropped until none is left that has too few."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfr_jax.data import Ratings, Scale
from pfr_jax.data.filters import keep_active
from pfr_jax.errors import InputError


def table(pairs: list[tuple[int, int]]) -> Ratings:
    user, item = np.array(pairs).T
    return Ratings.from_columns(user, item, np.ones(len(pairs)), Scale(1.0, 5.0), "drawn")


def pairs_of(ratings: Ratings) -> set[tuple[int, int]]:
    users, items = ratings.user_ids[ratings.user], ratings.item_ids[ratings.item]
    return set(zip(users.tolist(), items.tolist(), strict=True))


def test_by_hand():
    """Item 9 has one rating; without it user 3 has one; without user 3 item 8 has one."""
    square = [(1, 5), (1, 6), (2, 5), (2, 6)]
    ratings = keep_active(table([*square, (3, 9), (3, 8), (1, 8)]), 2, 2)
    assert pairs_of(ratings) == set(square)
    assert ratings.removed == {"of_rare_users_or_items": 3}
    assert ratings.notes[-1].startswith("3 ratings, 1 users and 2 items were dropped")
    with pytest.raises(InputError, match="--min_ratings_per_user=3 .* leave no rating of drawn"):
        keep_active(table(square), 3, 0)


@given(
    st.sets(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1),
    st.integers(0, 4),
    st.integers(0, 4),
)
def test_the_largest_part_in_which_all_have_enough(pairs, per_user, per_item):
    left = set(pairs)
    while True:  # one pair at a time, in any order: the end is the same
        poor = [
            (user, item)
            for user, item in left
            if sum(u == user for u, _ in left) < per_user
            or sum(i == item for _, i in left) < per_item
        ]
        if not poor:
            break
        left.remove(poor[0])
    if left:
        assert pairs_of(keep_active(table(sorted(pairs)), per_user, per_item)) == left
    else:
        with pytest.raises(InputError, match="leave no rating"):
            keep_active(table(sorted(pairs)), per_user, per_item)
