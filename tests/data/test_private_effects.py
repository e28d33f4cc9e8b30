"""The centre under differential privacy: what a client can change, the noise, what comes of it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pfr_jax.data import private_effects
from pfr_jax.data.effects import Residuals, fixed_effects
from pfr_jax.data.private_effects import (
    Noise,
    PrivateStandard,
    Vectors,
    noised_popularity,
    noised_sum,
    private_standard,
    sums_of,
)
from pfr_jax.data.standard import Center
from pfr_jax.data.synthetic import PRESETS, generate, plant
from pfr_jax.data.table import Scale
from pfr_jax.errors import InputError

STARS = Scale(1.0, 5.0, 1.0)
CLIENTS, USERS, ITEMS = 6, 7, 5  # users 5 and 6 share a client
CLIENT_OF_USER = np.array([0, 1, 2, 3, 4, 5, 5])

# Of a user: item -> stars. No, one and every item; equal and extreme ratings.
user_ratings = st.one_of(
    st.dictionaries(st.integers(0, ITEMS - 1), st.sampled_from([1.0, 2.0, 3.0, 4.0, 5.0])),
    st.sampled_from([1.0, 3.0, 5.0]).map(lambda stars: dict.fromkeys(range(ITEMS), stars)),
    st.just({0: 1.0, 1: 5.0}),
)
everybody = st.lists(user_ratings, min_size=USERS, max_size=USERS)
Rows = tuple[np.ndarray, np.ndarray, np.ndarray]  # user i[n], item i[n], stars f64[n]


def rows_of(given_by: list[dict[int, float]]) -> Rows:
    rows = [(u, i, r) for u, ratings in enumerate(given_by) for i, r in ratings.items()]
    user, item, stars = np.array(rows, float).reshape(-1, 3).T
    return user.astype(int), item.astype(int), stars


def fitted(rows: Rows, center: Center = "bias", **changes: Any) -> PrivateStandard:
    user, item, stars = rows
    settings: dict[str, Any] = {
        "client": CLIENT_OF_USER[user],
        "trained": np.ones(len(user), bool),
        "size": (USERS, ITEMS),
        "scaled": True,
        "scale": STARS,
        "noise": Noise(3, 0.5, 0),
        "num_clients": CLIENTS,
    }
    return private_standard(
        user=user, item=item, target=stars, center=center, **(settings | changes)
    )


def dense(vectors: Vectors) -> np.ndarray:
    """f64[C, length]; no entry may come twice."""
    found = np.zeros((CLIENTS, vectors.length))
    places = list(zip(vectors.client.tolist(), vectors.place.tolist(), strict=True))
    assert len(set(places)) == len(places)
    found[vectors.client, vectors.place] = vectors.value
    return found


def sent(
    monkeypatch: pytest.MonkeyPatch,
    compute: Callable[[], Any],
    answers: list[np.ndarray] | None = None,
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """What clients send to every sum f64[C, length], and what is released f64[length].

    `answers`: what the server sees in place of the sums.
    """
    rows: list[np.ndarray] = []
    released: list[np.ndarray] = []

    def spy(vectors: Vectors, noise: Noise, index: int) -> np.ndarray:
        rows.append(dense(vectors))
        released.append(answers[len(rows) - 1] if answers else noised_sum(vectors, noise, index))
        return released[-1].copy()

    with monkeypatch.context() as patched:
        patched.setattr(private_effects, "noised_sum", spy)
        compute()
    return rows, released


@given(
    given_by=everybody, center=st.sampled_from(["global", "user", "bias"]), gone=st.integers(0, 5)
)
@settings(max_examples=80, deadline=None)
def test_a_client_changes_a_sum_by_one_at_most(
    given_by: list[dict[int, float]], center: Center, gone: int
) -> None:
    """Without its ratings and with the same answers, the others send the same, bit for bit."""
    rows = rows_of(given_by)
    kept = CLIENT_OF_USER[rows[0]] != gone
    without = rows[0][kept], rows[1][kept], rows[2][kept]
    with pytest.MonkeyPatch.context() as patch:
        all_sent, released = sent(patch, lambda: fitted(rows, center))
        rest_sent, _ = sent(patch, lambda: fitted(without, center), released)
    assert len(all_sent) == len(rest_sent) == (3 if center == "bias" else 1)
    others = np.arange(CLIENTS) != gone
    for whole, rest in zip(all_sent, rest_sent, strict=True):
        np.testing.assert_array_equal(whole[others], rest[others])
        assert not rest[gone].any()
        assert np.linalg.norm(whole.sum(axis=0) - rest.sum(axis=0)) <= 1 + 1e-9
        norms = np.linalg.norm(whole, axis=1)
        assert norms.max(initial=0) <= 1 + 1e-9
        if center == "bias":  # and nothing of the allowance is wasted
            present = np.isin(np.arange(CLIENTS), CLIENT_OF_USER[rows[0]])
            np.testing.assert_allclose(norms[present], 1)


@given(given_by=everybody)
@settings(max_examples=40, deadline=None)
def test_a_clients_choices_have_norm_one(given_by: list[dict[int, float]]) -> None:
    user, item, _ = rows_of(given_by)
    client = CLIENT_OF_USER[user]
    with pytest.MonkeyPatch.context() as patch:
        noise = Noise(1, 0.5, 0)
        rows, _ = sent(patch, lambda: noised_popularity(client, item, (CLIENTS, ITEMS), noise))
    (vectors,) = rows
    assert np.linalg.norm(vectors, axis=1).max(initial=0) <= 1 + 1e-9
    assert set(zip(*np.nonzero(vectors[:, :ITEMS]), strict=True)) == set(
        zip(client, item, strict=True)
    )


def test_ratings_outside_the_scale_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.array([0, 0, 1]), np.array([0, 1, 2]), np.array([1e6, -3.0, -1e9])
    for center in ("global", "bias"):
        vectors, _ = sent(monkeypatch, lambda center=center: fitted(rows, center))
        for each in vectors:
            assert np.linalg.norm(each, axis=1).max() <= 1 + 1e-9


def test_the_noise_has_the_multiplier_as_its_deviation() -> None:
    nobody = Vectors(np.zeros(0, int), np.zeros(0, int), np.zeros(0), 200_000)
    noises = [noised_sum(nobody, Noise(1, 3.0, 7), index) for index in range(3)]
    for drawn in noises:
        assert drawn.mean() == pytest.approx(0, abs=0.03)  # 4.5 standard errors
        assert drawn.std() == pytest.approx(3, rel=0.01)  # 6
        assert np.mean(np.abs(drawn) < 3) == pytest.approx(0.6827, abs=0.005)
    assert np.abs(np.corrcoef(noises) - np.eye(3)).max() < 0.01
    assert not noised_sum(nobody, Noise(1, 0.0, 7), 0).any()


def test_every_sum_has_noise_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal noise on two sums would cancel in their difference."""
    indices: list[int] = []

    def spy(vectors: Vectors, noise: Noise, index: int) -> np.ndarray:
        indices.append(index)
        return noised_sum(vectors, noise, index)

    monkeypatch.setattr(private_effects, "noised_sum", spy)
    rows = rows_of([{0: 4.0, 1: 2.0}] * USERS)
    fitted(rows, "bias")
    noised_popularity(CLIENT_OF_USER[rows[0]], rows[1], (CLIENTS, ITEMS), Noise(1, 1.0, 0))
    assert len(set(indices)) == 4


def test_the_seed_decides() -> None:
    rows = rows_of([{item: 1.0 + (user + item) % 5 for item in range(4)} for user in range(USERS)])
    first, again = (fitted(rows, noise=Noise(2, 1.0, 3)) for _ in range(2))
    other = fitted(rows, noise=Noise(2, 1.0, 4))
    np.testing.assert_array_equal(first.standard.item, again.standard.item)
    np.testing.assert_array_equal(first.standard.user, again.standard.user)
    np.testing.assert_array_equal(first.raters, again.raters)
    assert (first.standard.item != other.standard.item).all()


@pytest.mark.parametrize("center", ["none", "global", "user", "bias"])
def test_the_unit_does_not_matter(center: Center) -> None:
    user, item, stars = rows_of([{i: 1.0 + (u * i) % 5 for i in range(4)} for u in range(USERS)])
    scale = Scale(20.0, 100.0, 20.0)
    plain = fitted((user, item, stars), center)
    other = fitted((user, item, 20 * stars), center, scale=scale)
    assert (plain.standard.scale, other.standard.scale) == (1, 20)
    np.testing.assert_allclose(
        other.standard.values(20 * stars, user, item),
        plain.standard.values(stars, user, item),
        rtol=1e-9,
        atol=1e-9,
    )
    unscaled = fitted((user, item, 20 * stars), center, scale=scale, scaled=False)
    assert unscaled.standard.scale == 1


def test_means_by_hand() -> None:
    """Of clients' means, from whatever they have; a user's own is shrunk as without noise."""
    rows = rows_of([{0: 5.0, 1: 3.0}, {2: 1.0}, {}, {}, {0: 2.0}, {1: 4.0}, {1: 2.0, 2: 3.0}])
    exact = {"noise": Noise(3, 0.0, 0), "num_clients": 6}
    mean = 3 + (1 - 2 + 0 + 0 - 1 + 0) / 6  # each less the middle, 3; two clients have nothing
    found = fitted(rows, "global", **exact)
    np.testing.assert_allclose(found.standard.user, np.full(USERS, mean))
    assert not found.standard.item.any() and found.raters is None
    own = fitted(rows, "user", **exact).standard.user
    assert own[0] == pytest.approx(mean + (8 - 2 * mean) / 7)
    assert own[1] == pytest.approx(mean + (1 - mean) / 6)
    assert own[2] == pytest.approx(mean)


@pytest.mark.parametrize("center", ["none", "global", "user", "bias"])
def test_what_is_public_tells_a_users_part_by_what_is_left(center: Center) -> None:
    """The released mean is what it is shrunk towards, and not the true one."""
    user, item, stars = rows_of([{0: 1.0, 1: 4.0, 3: 4.0}, {1: 5.0}, {2: 2.0, 4: 3.0}])
    found = fitted((user, item, stars), center).standard
    rest = found.scale * np.bincount(user, found.values(stars, user, item), minlength=USERS)
    shrunk = rest / found.user_shrinkage if found.user_shrinkage else np.zeros(USERS)
    np.testing.assert_allclose(found.user, found.mean + shrunk, atol=1e-9)


def test_a_clients_first_vector_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a client that two users share, who both rated item 1; residuals less their own means."""
    rows = rows_of([{}, {}, {}, {}, {}, {0: 5.0, 1: 4.0}, {1: 1.0}])
    vectors, _ = sent(monkeypatch, lambda: fitted(rows))
    first, second = 3 / 7, -2 / 6  # (2 + 1) / (2 + 5) and -2 / (1 + 5), from the scale's middle
    items = np.array([2 - first, (1 - first) + (-2 - second), 0, 0, 0])
    counts = 0.35 * np.array([1, 2, 0, 0, 0])
    beside = np.array([0.3 * (1 / 3) / 2, 0.9 * 3 / 5])  # the mean 3 1/3 over half the scale; three
    together = np.concatenate([items, counts])
    together *= np.sqrt((1 - beside @ beside) / (together @ together))
    np.testing.assert_allclose(vectors[0][5], np.concatenate([together, beside]))
    assert not vectors[0][:5].any()


def test_without_a_centre_nothing_is_released(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of([{0: 5.0}] * USERS)
    vectors, _ = sent(monkeypatch, lambda: fitted(rows, "none"))
    assert not vectors
    found = fitted(rows, "none").standard
    assert not found.user.any() and not found.item.any()


def test_clients_that_do_not_take_part_are_in_no_sum() -> None:
    user, item, stars = rows_of([{i: 1.0 + (u + i) % 5 for i in range(4)} for u in range(USERS)])
    trained = CLIENT_OF_USER[user] != 5
    common: dict[str, Any] = {"trained": trained, "num_clients": 5}
    found = fitted((user, item, stars), **common)
    other = fitted((user, item, np.where(trained, stars, 6 - stars)), **common)
    np.testing.assert_array_equal(found.standard.item, other.standard.item)
    np.testing.assert_array_equal(found.standard.user[:5], other.standard.user[:5])
    assert (found.standard.user[5:] != other.standard.user[5:]).all()


@pytest.mark.parametrize(
    ("center", "up", "down"), [("none", 0, 0), ("user", 1, 1), ("bias", 32, 26)]
)
def test_what_the_sums_weigh(
    center: Center, up: int, down: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 5 items and 3 releases; effects thrice, weights twice and a mean go down."""
    assert sums_of(center, 3, ITEMS) == (up, down)
    rows, _ = sent(monkeypatch, lambda: fitted(rows_of([{0: 5.0}] * USERS), center))
    assert sum(vectors.shape[1] for vectors in rows) == up


def test_what_is_not_there_is_refused() -> None:
    rows = rows_of([{0: 5.0}] * USERS)
    with pytest.raises(InputError, match="--center=adaptive"):
        fitted(rows, "adaptive")
    with pytest.raises(InputError, match="--effects_releases"):
        fitted(rows, "bias", noise=Noise(0, 1.0, 0))


def of_synthetic(multiplier: float) -> tuple[PrivateStandard, np.ndarray, np.ndarray]:
    """Of the ratings of `synthetic`; the effects without noise or weights, and items' raters."""
    ratings = generate(PRESETS["synthetic"])
    stars, size = ratings.rating.astype(float), (ratings.num_users, ratings.num_items)
    rows = ratings.user, ratings.item
    noise, trained = Noise(3, multiplier, 0), np.ones(len(stars), bool)
    found = private_standard(
        *(ratings.user, *rows, stars, trained, size),
        *("bias", True, ratings.scale, noise, ratings.num_users),
    )
    plain = fixed_effects(Residuals.of(*rows, stars - stars.mean(), *size))
    return found, plain.item, np.bincount(ratings.item, minlength=ratings.num_items)


def distance(effect: np.ndarray, other: np.ndarray, raters: np.ndarray) -> float:
    """Root mean square over ratings, stars; a constant goes to users."""
    apart = effect - other
    return float(
        np.sqrt(np.average((apart - np.average(apart, weights=raters)) ** 2, weights=raters))
    )


def test_without_noise_effects_are_close_to_those_of_bias_only() -> None:
    """0.05 stars: ratings of users with few weigh more, and shrinkage is learned, not 10.

    Both are as far from the truth, to a hundredth of a star.
    """
    found, plain, raters = of_synthetic(0.0)
    assert distance(found.standard.item, plain, raters) < 0.06
    planted = plant(PRESETS["synthetic"]).item_effect
    private = distance(found.standard.item, planted, raters)
    assert private == pytest.approx(distance(plain, planted, raters), abs=0.01)
    assert found.raters is not None
    assert np.corrcoef(found.raters, raters)[0, 1] > 0.99
    assert found.raters.sum() == pytest.approx(raters.sum(), rel=0.02)


def test_under_noise_effects_explain_much() -> None:
    """Multipliers of epsilon 2, 4 and 8 with 943 clients and 0.3 of the budget."""
    distances, nothing = [], 0.0
    for multiplier in (4.83, 2.72, 1.57):
        found, plain, raters = of_synthetic(multiplier)
        distances.append(distance(found.standard.item, plain, raters))
        nothing = distance(np.zeros_like(plain), plain, raters)
        assert found.raters is not None and (found.raters >= 0).all()
    assert distances == sorted(distances, reverse=True)
    assert distances[0] < 0.65 * nothing and distances[2] < 0.35 * nothing


def test_popularity() -> None:
    """Exact where clients have equally many items; the order of it under noise."""
    client, item = np.divmod(np.arange(40 * 3), 3)
    item = np.where(item == 0, client % 2, item + 1)  # 0 or 1, and 2 and 3; nobody chose 4
    again = np.concatenate([client, client]), np.concatenate([item, item])
    for pairs in ((client, item), again):
        found = noised_popularity(*pairs, (40, 5), Noise(1, 0.0, 0))
        np.testing.assert_allclose(found, [20, 20, 40, 40, 0], atol=1e-9)
    noised = noised_popularity(client, item, (40, 5), Noise(1, 2.0, 0))
    assert (noised >= 0).all() and (noised <= 40).all()
    assert noised[2:4].min() > noised[4]
    nobody = np.zeros(0, int)
    assert not noised_popularity(nobody, nobody, (40, 5), Noise(1, 0.0, 0)).any()
