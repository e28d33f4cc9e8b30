"""Implicit feedback: whether a rating is positive, binary cross entropy, figures of rankings."""

import numpy as np
from scipy.special import expit, logit

from pfr_jax.baselines import catalog
from pfr_jax.baselines.effects import item_scores
from pfr_jax.baselines.record import Scores
from pfr_jax.data.table import Ratings
from pfr_jax.data.targets import implicit_targets
from pfr_jax.errors import InputError
from pfr_jax.evaluation.plain_lists import lists_and_scores
from pfr_jax.evaluation.ranking import (
    HeldOut,
    KindsOfUsers,
    RankingFigures,
    TopLists,
    figures_of_lists,
    top_lists,
)
from pfr_jax.evaluation.scoring import Scorer, same_for_all
from pfr_jax.evaluation.task import HeldOutPart, JudgeBaselines, Judged, ShownAs, Task
from pfr_jax.models.losses import masked_cross_entropy


def check(mean: float) -> None:
    """See ``Task.check``: the mean is the share of positives."""
    if not 0 < mean < 1:
        raise InputError(
            f"--feedback=implicit: {'every' if mean else 'no'} training rating is a positive; "
            "implicit feedback needs positives and negatives. See --implicit_threshold"
        )


def judge(part: HeldOutPart, scorer: Scorer, outputs: np.ndarray) -> Judged:
    """Figures of scores f64[T] for the ratings of a part, and of the scorer's best items."""
    lists = top_lists(scorer, held_out_of(part), seen_pairs(part), part.top_k)
    return judge_lists(part, lists, outputs)


def judge_baseline(part: HeldOutPart, scores: Scores) -> Judged:
    """See ``Task.judge_baseline``."""
    size = part.ratings.num_users, part.ratings.num_items
    found = lists_and_scores(scores, held_out_of(part), seen_pairs(part), part.top_k, size)
    return judge_lists(part, *found)


def judge_lists(part: HeldOutPart, lists: TopLists, outputs: np.ndarray) -> Judged:
    """Figures of full rankings, and of scores f64[T] for the ratings of a part.

    In the warm figures only warm ratings are to be found, but in the same lists: cold items stay
    candidates of the full ranking.
    """
    held_out, warm = held_out_of(part), part.warm
    figures, by_user = figures_of_lists(held_out, outputs, lists)
    of_warm = None
    if warm.any() and not warm.all():
        of_warm, _ = figures_of_lists(held_out.only(warm), outputs[warm], lists)
    return Judged(figures, by_user, of_warm, num_warm=int(warm.sum()))


def seen_pairs(part: HeldOutPart) -> tuple[np.ndarray, np.ndarray]:
    """Users and items that are no candidates of a full ranking."""
    return part.ratings.user[part.seen], part.ratings.item[part.seen]


def held_out_of(part: HeldOutPart) -> HeldOut:
    """The ratings of a part, as a ranking sees them."""
    return HeldOut(part.user, part.item, part.target[part.rows] > 0)


def kinds_of_users(part: HeldOutPart) -> KindsOfUsers:
    """See ``Task.kinds_of_users``."""
    return held_out_of(part).kinds_of_users(part.ratings.num_users)


def baselines(ratings: Ratings, target: np.ndarray, fitted: np.ndarray) -> JudgeBaselines:
    """Those of ``item_scores``: orders that are the same for everybody."""
    scores = item_scores(ratings.item[fitted], target[fitted], ratings.num_items)

    def reached(part: HeldOutPart) -> dict[str, Judged]:
        return {
            name: judge(part, same_for_all(score, ratings.num_users), score[part.item])
            for name, score in scores.items()
        }

    return reached


IMPLICIT = Task(
    name="implicit",
    targets=implicit_targets,
    check=check,
    loss=masked_cross_entropy,
    adds_center=False,
    link=logit,
    judge=judge,
    baselines=baselines,
    centralised=catalog.CHOICES,
    judge_baseline=judge_baseline,
    figures=RankingFigures,
    headings={  # precision, full MAP and what lists are made up of are in the files only
        "ndcg_heldout": "held-out\nNDCG",
        "ndcg_heldout_mixed": "mixed\nNDCG",
        "map_heldout": "held-out\nMAP",
        "ndcg_full": "full\nNDCG",
        "recall_full": "full\nRecall",
        "hr_full": "full\nHR",
        "mrr_full": "full\nMRR",
    },
    higher_is_better=True,
    lists=True,
    # Which order that is the same for everybody is best depends on the ratings.
    references=("popularity", "item_mean"),
    shown=(
        "ndcg_heldout",
        "ndcg_heldout_less_best",
        "ndcg_heldout_last_less_best",
        "ndcg_heldout_less_popularity",
        "ndcg_heldout_mixed",
        "map_heldout",
        "ndcg_full",
        "recall_full",
    ),
    shown_as=ShownAs("chance to like it", lambda outputs, scale: expit(outputs)),
    kinds_of_users=kinds_of_users,
)
