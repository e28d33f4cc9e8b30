"""The bound by hand and over all outcomes; a mechanism that keeps its word, and one that lies."""

import math

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import binom

from pfr_jax.privacy.accounting import Plan, epsilon_after, find_plan
from pfr_jax.privacy.audit import Release, audit, epsilon_lower_bound

CLIP = 0.05


def gaussian(multiplier: float, seed: int) -> Release:
    random = np.random.default_rng(seed)

    def release(total: np.ndarray, number: int) -> np.ndarray:
        return total + CLIP * multiplier * random.standard_normal(total.shape)

    return release


def planned(rate: float, rounds: int, epsilon: float) -> Plan:
    return find_plan(clients=6040, rate=rate, rounds=rounds, releases=0, share=0.3, epsilon=epsilon)


def test_by_hand() -> None:
    # All of 10 right has chance q^10 with e^epsilon = q / (1 - q); it is 0.05 at q = 0.7411.
    q = 0.05**0.1
    assert epsilon_lower_bound(10, 10, 0.0, 10) == pytest.approx(math.log(q / (1 - q)), abs=1e-8)
    assert epsilon_lower_bound(10, 10, 0.0, 10) == pytest.approx(1.0519, abs=1e-4)
    # One right guess of one: tail q, rise 1 - q; q + 2 delta (1 - q) is 0.75 at q = 11 / 16.
    expected = math.log(11 / 5)
    assert epsilon_lower_bound(1, 1, 0.1, 1, confidence=0.25) == pytest.approx(expected, abs=1e-8)


def test_nothing_shown() -> None:
    for correct, guesses in [(0, 0), (5, 10), (50, 100), (0, 100)]:
        assert epsilon_lower_bound(correct, guesses, 1e-5, 100) == 0
    # Delta alone explains it: a chance of 1 % of each canary to be published.
    assert epsilon_lower_bound(10, 10, 0.0, 1000) > 1 > epsilon_lower_bound(10, 10, 0.01, 1000)
    with pytest.raises(ValueError, match="6 right of 5 guesses on 5"):
        epsilon_lower_bound(6, 5, 0.0, 5)


@pytest.mark.parametrize("epsilon", [0.5, 2.0, 4.0])
def test_holds_as_often_as_it_says(epsilon: float) -> None:
    """Randomised response is the worst mechanism: all that it can answer, and how likely."""
    right = np.arange(201)
    bounds = np.array([epsilon_lower_bound(int(count), 200, 0.0, 200) for count in right])
    assert np.all(np.diff(bounds) >= 0)
    wrong = np.sum(binom.pmf(right, 200, expit(epsilon))[bounds > epsilon])
    assert 0.01 < wrong <= 0.05


@pytest.mark.parametrize(
    ("rate", "rounds", "epsilon"), [(1.0, 10, 1.0), (1.0, 10, 4.0), (0.1, 800, 1.0)]
)
def test_a_mechanism_and_a_planted_bug(rate: float, rounds: int, epsilon: float) -> None:
    plan = planned(rate, rounds, epsilon)
    accounted = epsilon_after(plan, rounds)

    def audited(multiplier: float) -> float:
        return audit(
            gaussian(multiplier, seed=1),
            rounds=rounds,
            rate=rate,
            clip=CLIP,
            canaries=5000,
            delta=plan.delta,
        ).epsilon

    assert 0 < audited(plan.noise_multiplier) < accounted
    assert audited(plan.noise_multiplier / 10) > accounted


def test_more_shows_with_less_noise() -> None:
    def audited(multiplier: float) -> float:
        release = gaussian(multiplier, seed=2)
        return audit(release, rounds=1, rate=1.0, clip=CLIP, canaries=2000, delta=0.0).epsilon

    bounds = [audited(multiplier) for multiplier in (4.0, 1.0, 0.5, 0.1)]
    assert bounds == sorted(bounds)
    assert bounds[0] < bounds[-1]
    assert bounds[1] > 0.5
    assert math.log(1800 / 5) < bounds[-1] < math.log(1800 / 3)  # all right


def test_noise_alone_shows_nothing() -> None:
    """What does not depend on canaries: guesses at random."""
    for seed in range(5):
        noise = np.random.default_rng(seed).standard_normal((3, 1000))
        found = audit(
            lambda total, number, noise=noise: noise[number],  # type: ignore[misc]
            rounds=3,
            rate=0.5,
            clip=CLIP,
            canaries=1000,
            delta=1e-5,
            seed=seed,
        )
        assert found.epsilon == 0


def test_what_the_mechanism_is_given() -> None:
    """Canaries upload their clip, the same half of them all the time, each as often as its rate."""
    seen = []

    def release(total: np.ndarray, number: int) -> np.ndarray:
        seen.append((number, total.copy()))
        return total

    found = audit(
        release, rounds=40, rate=0.25, clip=CLIP, canaries=1000, delta=0.0, guesses=[200], seed=3
    )
    assert [number for number, _ in seen] == list(range(40))
    totals = np.array([total for _, total in seen])
    assert set(np.unique(totals)) == {0.0, CLIP}
    asked = np.mean(totals > 0, axis=0)
    inside = asked > 0
    assert np.mean(inside) == pytest.approx(0.5, abs=0.05)
    assert np.mean(asked[inside]) == pytest.approx(0.25, abs=0.02)
    assert (found.guesses, found.correct, found.canaries) == (200, 200, 1000)
    q = 0.05 ** (1 / 200)
    assert found.epsilon == pytest.approx(math.log(q / (1 - q)))


def test_several_guesses_cost_confidence() -> None:
    def audited(*guesses: int) -> float:
        return audit(
            lambda total, number: total,
            rounds=1,
            rate=1.0,
            clip=CLIP,
            canaries=400,
            delta=0.0,
            guesses=guesses,
        ).epsilon

    assert audited(100, 300) < audited(300)
    assert audited(100, 300) == epsilon_lower_bound(300, 300, 0.0, 400, confidence=0.975)


@pytest.mark.parametrize(("canaries", "guesses"), [(10, [3]), (10, [12]), (10, [0]), (1, None)])
def test_guesses_that_cannot_be(canaries: int, guesses: list[int] | None) -> None:
    with pytest.raises(ValueError, match="even numbers"):
        audit(
            lambda total, number: total,
            rounds=1,
            rate=1.0,
            clip=CLIP,
            canaries=canaries,
            delta=0.0,
            guesses=guesses,
        )
