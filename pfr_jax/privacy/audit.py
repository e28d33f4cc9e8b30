"""A lower bound on epsilon from one run with canaries, to hold against what accounting promises.

Steinke, Nasr and Jagielski, *Privacy Auditing with One (1) Training Run* (arXiv 2305.08846).
Canaries are made-up clients, each in the run or not by the toss of a coin. An attacker who sees all
that the server receives guesses which are; were the run (epsilon, delta)-private, so many right
guesses would be unlikely. An accounted epsilon below the bound is wrong, with ``confidence``; one
above it may still be.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import bdtrc, expit

Release = Callable[[np.ndarray, int], np.ndarray]


@dataclass(frozen=True)
class Audited:
    """The best of an audit's attacks."""

    epsilon: float  # at least so much does the run cost, unless chance was against it
    guesses: int  # half of them "in", half of them "out"
    correct: int
    canaries: int
    delta: float
    confidence: float  # that epsilon is no more than the true one


def epsilon_lower_bound(
    correct: int, guesses: int, delta: float, canaries: int, confidence: float = 0.95
) -> float:
    """The epsilon below which so many right guesses are too unlikely.

    Args:
        correct: guesses that were right.
        guesses: canaries of which the attacker said whether they are in; it may pass over others.
        delta: of the (epsilon, delta) that is doubted.
        canaries: each was in with chance 1/2, apart from all others.
        confidence: chance, at least, of a bound that is no more than the true epsilon.

    Returns:
        The bound, to 1e-9 and never above it; 0 where the guesses show nothing.

    Raises:
        ValueError: more right guesses than guesses, or more guesses than canaries.
    """
    if not 0 <= correct <= guesses <= canaries:
        raise ValueError(f"{correct} right of {guesses} guesses on {canaries} canaries")
    low, high = 0.0, 40.0  # beyond, the chance of a right guess rounds to 1
    if _p_value(correct, guesses, low, delta, canaries) > 1 - confidence:
        return 0.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        if _p_value(correct, guesses, middle, delta, canaries) > 1 - confidence:
            high = middle
        else:
            low = middle
    return low


def audit(
    release: Release,
    *,
    rounds: int,
    rate: float,
    clip: float,
    canaries: int,
    delta: float,
    guesses: Sequence[int] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> Audited:
    """Attacks the sums that the server receives, with the worst uploads that there can be.

    Canary i uploads ``clip`` at number i and 0 elsewhere in every round that it is asked in.
    The attacker knows all other clients' uploads, so they are left out, and scores a canary by
    the sum of its number over all rounds. It guesses the highest scores in and the lowest out.

    Args:
        release: a round's mechanism: given the sum of the uploads f64[canaries] and the round,
            what the server receives f[canaries] (NumPy's or JAX's), with the noise of real rounds.
        rounds: how many, from 0.
        rate: chance of a canary that is in the run to be asked in a round (Poisson, not cut).
        clip: norm of a canary's upload.
        canaries: how many. If all are guessed right, the bound is still below log(canaries / 3).
        delta: that the accounted epsilon is for.
        guesses: how many to make, even numbers; each is tried and the best counts, at a confidence
            that makes up for the choice (union bound). A tenth, a half and nine tenths by
            default: not all, as never exactly half of them are in.
        confidence: of the bound, over all of that.
        seed: of who is in, and who is asked.

    Returns:
        The attack with the highest bound, and that bound.

    Raises:
        ValueError: an odd number of guesses, none, or more of them than canaries.
    """
    tried = guesses or [each for part in (1, 5, 9) if (each := canaries * part // 20 * 2)]
    if not tried or any(number % 2 or not 0 < number <= canaries for number in tried):
        raise ValueError(
            f"guesses {list(tried)} on {canaries} canaries: even numbers, at least one, none above"
        )
    random = np.random.default_rng(seed)
    inside = random.random(canaries) < 0.5
    scores = np.zeros(canaries)
    for number in range(rounds):
        asked = inside & (random.random(canaries) < rate)
        scores += np.asarray(release(clip * asked, number), np.float64)
    ranked = inside[np.argsort(scores)]  # bool[canaries], lowest score first

    def attacked(number: int) -> Audited:
        half = number // 2
        correct = int(np.sum(~ranked[:half]) + np.sum(ranked[-half:]))
        each = 1 - (1 - confidence) / len(tried)
        epsilon = epsilon_lower_bound(correct, number, delta, canaries, each)
        return Audited(epsilon, number, correct, canaries, delta, confidence)

    return max(map(attacked, tried), key=lambda audited: audited.epsilon)


def _p_value(correct: int, guesses: int, epsilon: float, delta: float, canaries: int) -> float:
    """Chance, at most, of so many right guesses on an (epsilon, delta)-private run.

    Without delta, right guesses are at most a Binomial of chance e^epsilon / (1 + e^epsilon)
    each; delta adds 2 canaries delta times the steepest rise of its tail (the paper's theorem for
    approximate privacy).
    """
    chance = expit(epsilon)
    tail = bdtrc(correct - 1, guesses, chance)
    fewer = np.arange(1, correct + 1)
    rises = (bdtrc(correct - 1 - fewer, guesses, chance) - tail) / fewer
    return float(min(1.0, tail + 2 * canaries * delta * np.max(rises, initial=0.0)))
