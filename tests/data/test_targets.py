"""What the model is trained on, against plain loops."""

import dataclasses

import numpy as np
import pytest
from federations import ragged_ratings

from pfr_jax.data.targets import explicit_targets, implicit_targets
from pfr_jax.errors import InputError

RATINGS = ragged_ratings()


def test_explicit_targets_are_the_stars():
    np.testing.assert_array_equal(explicit_targets(RATINGS), RATINGS.rating)


def test_implicit_targets_count_from_the_threshold_on():
    stars = RATINGS.rating.tolist()
    for threshold in (2.0, 3.5, 5.0):
        expected = [1.0 if s >= threshold else 0.0 for s in stars]
        assert implicit_targets(RATINGS, threshold).tolist() == expected
    own = dataclasses.replace(RATINGS, threshold=4.0)
    assert implicit_targets(own, None).tolist() == [1.0 if s >= 4 else 0.0 for s in stars]
    assert implicit_targets(own, 2.0).sum() == sum(s >= 2 for s in stars)


def test_a_threshold_must_be_known_and_divide_the_ratings():
    unknown = dataclasses.replace(RATINGS, threshold=None)
    with pytest.raises(InputError, match="--implicit_threshold"):
        implicit_targets(unknown, None)
    with pytest.raises(InputError, match="threshold=1: every rating"):
        implicit_targets(RATINGS, 1.0)
    with pytest.raises(InputError, match="threshold=5.5: no rating"):
        implicit_targets(RATINGS, 5.5)


def test_one_users_ratings_may_be_alike():
    """A newcomer's: 5 for everything says something, as others have given less."""
    nobody, users = np.zeros_like(RATINGS.user), np.zeros(1, int)
    fives = np.full_like(RATINGS.rating, 5)
    alike = dataclasses.replace(RATINGS, user=nobody, user_ids=users, rating=fives)
    assert (explicit_targets(alike) == 5).all()
    assert (implicit_targets(alike, 3.0) == 1).all()
    for wrong in (explicit_targets, lambda r: implicit_targets(r, 3.0)):
        with pytest.raises(InputError, match="every rating"):
            wrong(dataclasses.replace(RATINGS, rating=fives))
