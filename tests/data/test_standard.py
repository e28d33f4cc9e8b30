"""Standardisation: by hand, there and back, and the same whatever the unit."""

import numpy as np
import pytest
from federations import ragged_ratings, simulation_of, small_config
from hypothesis import given
from hypothesis import strategies as st

from pfr_jax.baselines.effects import fit_baselines
from pfr_jax.data.standard import (
    Center,
    Standard,
    fit_standard,
    sums_per_client,
    sums_per_row,
)
from pfr_jax.data.table import Ratings, Scale
from pfr_jax.errors import InputError
from pfr_jax.privacy.secure_sum.costs import client_costs
from pfr_jax.simulation.costs import traffic_before
from pfr_jax.simulation.loop import simulate
from pfr_jax.simulation.setup import prepare_alike

RATINGS = ragged_ratings()
CENTERS: tuple[Center, ...] = ("none", "global", "user", "bias", "adaptive")


def fitted(center: Center, scaled: bool, times: float = 1.0, plus: float = 0.0) -> Standard:
    target = RATINGS.rating.astype(np.float64) * times + plus
    everybody = np.ones(len(target), bool)
    size = RATINGS.num_users, RATINGS.num_items
    return fit_standard(RATINGS.user, RATINGS.item, target, everybody, size, center, scaled)


@pytest.mark.parametrize("center", ["none", "global", "user"])
def test_users_centres_by_hand(center: Center) -> None:
    rows = np.arange(0, len(RATINGS), 3)  # user 0 has one of them, user 1 none
    rows = rows[RATINGS.user[rows] != 1]
    user, stars = RATINGS.user[rows], RATINGS.rating[rows].astype(np.float64)
    trained = user != 5
    mean = stars[trained].mean()
    found = fit_standard(user, RATINGS.item[rows], stars, trained, (13, 23), center, False)
    assert not found.item.any() and found.scale == 1
    for index in range(13):
        own = [s - mean for u, s in zip(user, stars, strict=True) if u == index]
        shrunk = mean + sum(own) / (len(own) + 5)
        expected = {"none": 0, "global": mean, "user": shrunk}[center]
        assert found.user[index] == pytest.approx(expected)


@pytest.mark.parametrize("center", CENTERS)
def test_what_is_public_tells_a_users_part_by_what_is_left(center: Center) -> None:
    """It is a mean shrunk towards the public one, so the sum of the rest is a multiple of it."""
    found, user = fitted(center, scaled=True), RATINGS.user
    values = found.values(RATINGS.rating.astype(np.float64), user, RATINGS.item)
    rest = found.scale * np.bincount(user, values)
    shrunk = rest / found.user_shrinkage if found.user_shrinkage else np.zeros_like(rest)
    np.testing.assert_allclose(found.user, found.mean + shrunk, atol=1e-9)


@pytest.mark.parametrize(("center", "name"), [("bias", "bias_only"), ("adaptive", "adaptive_bias")])
def test_effects_are_those_of_a_baseline(center: Center, name: str) -> None:
    found = fitted(center, scaled=True)
    predict = fit_baselines(RATINGS, np.arange(len(RATINGS)))[name]
    pairs = np.arange(13), np.arange(13)[::-1]
    np.testing.assert_allclose(found.center(*pairs), predict(*pairs), atol=1e-12)


def test_a_new_user_changes_no_sum() -> None:
    """The mean, the items' effects and the scale are of the users that train."""
    target, size = RATINGS.rating.astype(np.float64), (RATINGS.num_users, RATINGS.num_items)
    trained = RATINGS.user != 12
    common = {"size": size, "center": "bias", "scaled": True}
    with_new = fit_standard(RATINGS.user, RATINGS.item, target, trained, **common)
    rest = RATINGS.user[trained], RATINGS.item[trained], target[trained]
    without = fit_standard(*rest, np.ones(trained.sum(), bool), **common)
    np.testing.assert_array_equal(with_new.item, without.item)
    assert with_new.scale == without.scale
    np.testing.assert_array_equal(with_new.user[:12], without.user[:12])
    assert with_new.user[12] != without.user[12]


@given(
    center=st.sampled_from(CENTERS),
    times=st.floats(1e-3, 1e3),
    plus=st.floats(-1e3, 1e3),
)
def test_there_and_back_and_the_unit_does_not_matter(
    center: Center, times: float, plus: float
) -> None:
    plus = 0.0 if center == "none" else plus  # without a centre 0 has a meaning
    plain, other = fitted(center, True), fitted(center, True, times, plus)
    stars = RATINGS.rating.astype(np.float64)
    pairs = RATINGS.user, RATINGS.item
    np.testing.assert_allclose(plain.targets(plain.values(stars, *pairs), *pairs), stars)
    values = other.values(stars * times + plus, *pairs)
    np.testing.assert_allclose(values, plain.values(stars, *pairs), atol=1e-6)
    assert np.sqrt(np.mean(values**2)) == pytest.approx(1)


def test_nothing_left_to_divide() -> None:
    same = np.full(len(RATINGS), 4.0)
    everybody = np.ones(len(same), bool)
    found = fit_standard(RATINGS.user, RATINGS.item, same, everybody, (13, 23), "user", True)
    assert found.scale == 1 and not found.values(same, RATINGS.user, RATINGS.item).any()


@pytest.mark.slow
@pytest.mark.parametrize("center", ["global", "user", "bias", "adaptive"])
def test_a_run_in_another_unit_is_the_same_run(center: Center) -> None:
    """Stars times 20, and divided by 4 and shifted: RMSE in units of the file."""

    units = [(1, 0), (20, 0), (0.25, 0), (1, -3), (0.5, 100)]
    config = small_config(center=center, standardize=True, clip_predictions=True, dropout=0.0)
    split = simulation_of(config, RATINGS).split

    def ratings(times: float, plus: float) -> Ratings:
        scale = Scale(1 * times + plus, 5 * times + plus)
        stars = RATINGS.rating * np.float32(times) + np.float32(plus)
        labels = RATINGS.user_ids[RATINGS.user], RATINGS.item_ids[RATINGS.item]
        return Ratings.from_columns(*labels, stars, scale, "other unit")

    plain, *others = (
        list(simulate(simulation))[-1].evaluation.test.rmse / times  # type: ignore[union-attr]
        for simulation, (times, _) in zip(
            prepare_alike([(config, ratings(*unit), split) for unit in units]), units, strict=True
        )
    )
    assert others == pytest.approx([plain] * len(others), rel=1e-4)


def test_what_the_sums_weigh_by_hand() -> None:
    """Up: 11 numbers a row (ten sweeps and a count), 2 sums and 2 counts a client; 4 bytes each."""
    config = small_config(center="bias", standardize=True)
    simulation = simulation_of(config, RATINGS)
    rows, clients = int(simulation.population.rows.sum()), 13
    found = traffic_before(simulation)
    assert found.payload_up == 4 * (11 * rows + 4 * clients)
    assert found.index_up == 4 * rows
    assert found.payload_down == 4 * (10 * rows + 2 * clients)
    # Shrinkage that is learned: besides, 21 sums of a client up and 20 numbers down.
    adaptive = traffic_before(
        simulation_of(small_config(center="adaptive", standardize=True), RATINGS)
    )
    assert adaptive.payload_up == found.payload_up + 4 * 21 * clients
    assert adaptive.payload_down == found.payload_down + 4 * 20 * clients
    # So that ratings weigh alike: a count up and a mean down.
    weighed = small_config(center="bias", standardize=True, weighting="ratings")
    by_rating = traffic_before(simulation_of(weighed, RATINGS))
    assert by_rating.payload_up == found.payload_up + 4 * clients
    assert by_rating.payload_down == found.payload_down + 4 * clients
    nothing = traffic_before(simulation_of(small_config(), RATINGS))
    assert (nothing.up, nothing.down) == (0, 0)


@pytest.mark.parametrize(
    ("settings", "numbers"),
    [
        ({}, 2),  # per item the sum of ratings and their number, for the mean
        ({"output_bias": "item"}, 2),  # which knows both
        ({"center": "bias"}, 11),  # whose effects score cold pairs
        ({"feedback": "ranking", "negatives": 2}, 1),  # how many chose it
    ],
)
def test_what_scores_cold_pairs_is_paid_for(settings: dict[str, object], numbers: int) -> None:
    simulation = simulation_of(small_config(test_fraction=0.85, **settings), RATINGS)
    assert simulation.fallback is not None
    rows, found = int(simulation.population.rows.sum()), traffic_before(simulation)
    of_client = found.payload_up - 4 * numbers * rows
    assert 0 <= of_client < 4 * rows and of_client % (4 * simulation.num_clients) == 0
    assert found.index_up == 4 * rows


@pytest.mark.parametrize(
    ("center", "scaled", "sums"),
    [
        ("none", True, 1),  # the squares of all targets
        ("user", False, 1),  # the mean
        ("user", True, 2),  # the mean; what it and the users' leave, squared
        ("bias", True, 12),  # counts and the mean; ten sweeps; the scale
        ("adaptive", True, 13),  # counts and the mean; ten sweeps; the last sweep's rest; the scale
    ],
)
def test_secure_sums_that_wait_for_each_other(center: Center, scaled: bool, sums: int) -> None:
    config = small_config(center=center, standardize=scaled, upload="secure_sum")
    simulation = simulation_of(config, RATINGS)
    rows, clients = simulation.population.rows, simulation.num_clients
    up, _ = sums_per_row(center)
    up_once, _ = sums_per_client(center, scaled)
    numbers = len(rows) * 4 * (up * simulation.model.num_items + up_once)
    found = traffic_before(simulation)
    assert found.payload_up - numbers == clients * sums * client_costs(0, clients).up


def test_labels_have_no_effects_to_add_back() -> None:
    with pytest.raises(InputError, match="--center=bias: --feedback=implicit"):
        simulation_of(small_config(center="bias", feedback="implicit"), RATINGS)
