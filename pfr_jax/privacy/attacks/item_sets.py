"""Which items a client has rated: from the rows of its upload, or from sums over cohorts.

What an attack is worth is told by the guess without any upload: by popularity among all others,
which is far above a coin's. Legend: N clients, I items, T rounds.
"""

from collections.abc import Sequence

import numpy as np

from pfr_jax.privacy.attacks.uploads import rows_of
from pfr_jax.privacy.attacks.view import CohortView
from pfr_jax.simulation.setup import Simulation

RIDGE = 3.0  # of the regression over many sums, in rounds
TRUST = (0.0, 0.03, 0.1, 0.3, 1.0)  # in that regression, that are tried


def item_sets(simulation: Simulation) -> np.ndarray:
    """What each client has really rated, bool[N, I]."""
    client = simulation.population.client_of_user[simulation.examples.user]
    sets = np.zeros((simulation.population.num_clients, simulation.model.num_items), bool)
    positive = simulation.examples.target > 0 if simulation.task.draws_negatives else slice(None)
    sets[client[positive], simulation.examples.item[positive]] = True
    return sets


def popularity(sets: np.ndarray, client: int) -> np.ndarray:
    """Share of all other clients that have rated each item, f64[I]: what the attacker knows."""
    return (sets.sum(axis=0) - sets[client]) / (len(sets) - 1)


def from_rows(simulation: Simulation, sets: np.ndarray, client: int) -> np.ndarray:
    """Scores f64[I] from one upload: its rows first, and of these the popular ones."""
    score = popularity(sets, client)
    score[rows_of(simulation, client)] += 2
    return score


def from_one_sum(view: CohortView, sets: np.ndarray, client: int) -> np.ndarray:
    """Scores f64[I] of a client of the cohort, from the sum over it.

    With counts: the likelihood of a count with and without the client, beside popularity, orders
    items by the count itself.
    """
    popular = popularity(sets, client)
    return estimated_counts(view, popular) + 1e-3 * popular


def from_many_sums(
    views: Sequence[CohortView],
    sets: np.ndarray,
    clients: Sequence[int],
    known: Sequence[int] = (),
) -> dict[int, np.ndarray]:
    """Scores f64[I] of clients, from sums over many cohorts: by regression on who took part.

    How far to trust the regression beside popularity is tried on clients whose items are
    ``known``; without any it is trusted. A client that never took part is left out.
    """
    taken = np.zeros((len(views), len(sets)))
    for index, view in enumerate(views):
        taken[index, view.clients] = 1
    average = sets.mean(axis=0)
    seen = np.stack([estimated_counts(view, average) for view in views])
    rest = seen - taken.sum(axis=1)[:, None] * average
    weights = np.linalg.solve(taken @ taken.T + RIDGE * np.eye(len(views)), rest)

    def score(client: int, trust: float) -> np.ndarray:
        found: np.ndarray = popularity(sets, client) + trust * (taken[:, client] @ weights)
        return found

    tried = [client for client in known if taken[:, client].any()]
    trust = 1.0
    if tried:
        worth = {t: np.mean([auc(score(c, t), sets[c]) for c in tried]) for t in TRUST}
        trust = max(worth, key=lambda t: worth[t])
    return {client: score(client, trust) for client in clients if taken[:, client].any()}


def estimated_counts(view: CohortView, popular: np.ndarray) -> np.ndarray:
    """How many of the cohort have rated each item, f64[I]: as told, or what may be believed.

    Without counts: the square of a row's change is taken to grow with the count, around a line
    through all items; the count is what popularity expects, and as much of the rest as is no noise.
    """
    if view.counts is not None:
        return view.counts
    size = view.size
    expected = popular * len(view.clients)
    spread = expected * (1 - popular)
    # A least-squares line, and the variance around it that the choice of the cohort leaves.
    design = np.stack([np.ones_like(expected), expected], axis=1)
    (level, slope), *_ = np.linalg.lstsq(design, size, rcond=None)
    rest = size - level - slope * expected
    if slope <= 0:
        return expected
    noise = max(float(np.median(np.square(rest))) / 0.455 - slope**2 * float(np.median(spread)), 0)
    trust = slope**2 * spread / np.maximum(slope**2 * spread + noise, 1e-300)
    return expected + trust * rest / slope


def auc(score: np.ndarray, truth: np.ndarray) -> float:
    """Chance that a rated item (truth: bool[I]) has a higher score than another; ties: a half."""
    values, group = np.unique(score, return_inverse=True)
    rated = np.bincount(group[truth], minlength=len(values))
    other = np.bincount(group[~truth], minlength=len(values))
    below = np.cumsum(other) - other
    return float((rated * (below + other / 2)).sum() / (truth.sum() * (~truth).sum()))


def precision(score: np.ndarray, truth: np.ndarray, tie: np.ndarray) -> float:
    """Share of rated items among as many first ones; equal scores by ``tie``."""
    chosen = np.lexsort((tie, score))[::-1][: truth.sum()]
    return float(truth[chosen].mean())
