"""Dense minibatches from the flat table."""

import jax
import numpy as np
import pytest
from federations import ragged_ratings

from pfr_jax.population import interactions
from pfr_jax.population.interactions import build_interactions, dense_rows

RATINGS = ragged_ratings()
PROFILE = np.random.default_rng(0).random((13, 2))
TRAIN = np.flatnonzero(RATINGS.user != 4)  # user 4 has no training ratings
VALUE = RATINGS.rating[TRAIN].astype(np.float64) - 3  # 0 for three stars: observed all the same


def build():
    shuffled = np.random.default_rng(1).permutation(len(TRAIN))
    rows = TRAIN[shuffled]
    return build_interactions(
        RATINGS.user[rows], RATINGS.item[rows], VALUE[shuffled], PROFILE, np.float32
    )


@pytest.mark.parametrize("chunk", [1, 7, 4096])
@pytest.mark.parametrize("users", [[12, 4, 13, 0], [4], [13, 13], [5, 2, 7, 1, 3]])
def test_minibatches_are_rows_of_the_dense_matrix(users, chunk, monkeypatch):
    """User 13 is padding; chunks smaller than, and larger than, what a minibatch holds."""
    monkeypatch.setattr(interactions, "CHUNK", chunk)
    values, observed = np.zeros((14, 23)), np.zeros((14, 23), bool)
    where = RATINGS.user[TRAIN], RATINGS.item[TRAIN]
    values[where], observed[where] = VALUE, True
    rows = jax.jit(lambda data, users: dense_rows(data, users, 23))(build(), np.array(users))
    np.testing.assert_array_equal(rows[0], values[users])
    np.testing.assert_array_equal(rows[1], observed[users])


def test_who_is_trained_and_whose_profile():
    data = build()
    assert data.trained.tolist() == [u for u in range(13) if u != 4]
    np.testing.assert_allclose(data.profile[:13], PROFILE, rtol=1e-6)
    assert not data.profile[13].any()
