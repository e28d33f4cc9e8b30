"""Ranking: items are ranked by whether they will be chosen, learned from choices alone.

Positives are ratings from a threshold on, or every rating where there is none (plays, clicks);
clients draw negatives among the items they have not rated (``pfr_jax.data.examples``). The figure
is NDCG of lists of all items that a user has not rated in training.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from pfr_jax.data.examples import Examples
from pfr_jax.data.table import Ratings
from pfr_jax.errors import InputError
from pfr_jax.evaluation.cold import BY_POPULARITY
from pfr_jax.evaluation.implicit import IMPLICIT
from pfr_jax.evaluation.task import SCORES, Draws, Task
from pfr_jax.models.losses import (
    Loss,
    choice_among_drawn,
    choice_before_drawn,
    masked_cross_entropy,
)


def targets(ratings: Ratings, threshold: float | None) -> np.ndarray:
    """1 for a rating of at least ``threshold`` (None: the source's own, else all are), f64[N]."""
    if not ratings.rated and threshold is not None:
        raise InputError(
            f"--implicit_threshold={threshold:g}: {ratings.name} has no ratings, so that every row "
            "is a choice; leave it out"
        )
    threshold = ratings.threshold if threshold is None else threshold
    if threshold is None:
        return np.ones(len(ratings))
    positive = ratings.rating >= threshold
    if not positive.any():
        raise InputError(
            f"--implicit_threshold={threshold:g}: no rating of {ratings.name} is at least that; "
            "nothing was chosen"
        )
    return positive.astype(np.float64)


def check(mean: float) -> None:
    """See ``Task.check``: the mean is the share of positives among examples."""
    if mean == 0:
        raise InputError("--feedback=ranking: no training rating is a positive")
    if mean == 1:
        raise InputError(
            "--feedback=ranking: there are no negatives; every user has rated every item that "
            "could be drawn"
        )


def examples(ratings: Ratings, rows: np.ndarray, target: np.ndarray, draws: Draws) -> Examples:
    """See ``Task.examples``."""
    return draws.choices(ratings, rows, target).with_drawn(np.arange(ratings.num_users))


LOSSES: Mapping[str, Loss] = {
    "bce": masked_cross_entropy,
    "multinomial": choice_among_drawn,
    "bpr": choice_before_drawn,
}

RANKING = dataclasses.replace(
    IMPLICIT,
    name="ranking",
    targets=targets,
    check=check,
    examples=examples,
    draws_negatives=True,
    usual_center="global",
    shown_as=SCORES,
    cold=BY_POPULARITY,
    headings={
        "ndcg_full": "full\nNDCG",
        "recall_full": "full\nRecall",
        "hr_full": "full\nHR",
        "mrr_full": "full\nMRR",
        "coverage_full": "full\ncoverage",
        "ndcg_heldout": "held-out\nNDCG",
    },
    shown=(
        "ndcg_full",
        "ndcg_full_less_best",
        "ndcg_full_last_less_best",
        "ndcg_full_less_popularity",
        "recall_full",
        "hr_full",
        "coverage_full",
    ),
)


def ranking_by(loss: str) -> Task:
    """The task with the loss that --ranking_loss calls so."""
    return dataclasses.replace(RANKING, loss=LOSSES[loss])
