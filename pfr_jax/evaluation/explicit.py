"""Explicit feedback: stars are predicted, squared error is minimised, errors are told."""

import numpy as np

from pfr_jax.baselines import catalog
from pfr_jax.baselines.effects import fit_baselines
from pfr_jax.baselines.record import Stars
from pfr_jax.data.table import Ratings, Scale
from pfr_jax.data.targets import explicit_targets
from pfr_jax.evaluation.metrics import Figures, errors_by_user, rating_figures
from pfr_jax.evaluation.scoring import Scorer
from pfr_jax.evaluation.task import HeldOutPart, JudgeBaselines, Judged, ShownAs, Task
from pfr_jax.models.losses import masked_squared_error


def judge(part: HeldOutPart, scorer: Scorer, outputs: np.ndarray) -> Judged:
    """See ``Task.judge``."""
    del scorer
    return judge_stars(part, part.standard.targets(outputs, part.user, part.item))


def squared_errors(part: HeldOutPart, outputs: np.ndarray) -> np.ndarray:
    """See ``Task.squared_errors``."""
    stars = _on_scale(part, part.standard.targets(outputs, part.user, part.item))
    return (stars - part.ratings.rating[part.rows]) ** 2


def _on_scale(part: HeldOutPart, stars: np.ndarray) -> np.ndarray:
    return clipped(stars, part.ratings.scale if part.clip else None)


def clipped(stars: np.ndarray, scale: Scale | None) -> np.ndarray:
    """See ``ShownAs.of``."""
    return np.clip(stars, scale.low, scale.high) if scale else stars


def judge_stars(part: HeldOutPart, stars: np.ndarray) -> Judged:
    """Figures of predictions ``stars`` f64[T] for the ratings of a part."""
    ratings, user, warm = part.ratings, part.user, part.warm
    stars, rating = _on_scale(part, stars), ratings.rating[part.rows]
    of_warm = None
    if warm.any() and not warm.all():
        of_warm = rating_figures(user[warm], rating[warm], stars[warm])
    return Judged(
        figures=rating_figures(user, rating, stars),
        by_user=errors_by_user(user, rating, stars, ratings.num_users),
        warm=of_warm,
        num_warm=int(warm.sum()),
    )


def judge_baseline(part: HeldOutPart, predict: Stars) -> Judged:
    """See ``Task.judge_baseline``."""
    return judge_stars(part, predict(part.user, part.item))


def baselines(ratings: Ratings, target: np.ndarray, fitted: np.ndarray) -> JudgeBaselines:
    """Those of ``fit_baselines`` and, for synthetic ratings, the noise floor: the planted means,
    which no predictor can beat but by luck.
    """
    del target  # the stars themselves
    predictors = fit_baselines(ratings, fitted)

    def reached(part: HeldOutPart) -> dict[str, Judged]:
        stars = {name: predict(part.user, part.item) for name, predict in predictors.items()}
        if ratings.expected is not None:
            stars["noise_floor"] = ratings.expected[part.rows].astype(np.float64)
        return {name: judge_stars(part, values) for name, values in stars.items()}

    return reached


EXPLICIT = Task(
    name="explicit",
    targets=lambda ratings, threshold: explicit_targets(ratings),
    check=lambda mean: None,
    loss=masked_squared_error,
    adds_center=True,
    link=lambda mean: mean,
    judge=judge,
    baselines=baselines,
    centralised=catalog.STARS,
    judge_baseline=judge_baseline,
    figures=Figures,
    headings={"rmse": "RMSE", "rmse_per_user": "RMSE per user", "mae": "MAE"},
    higher_is_better=False,
    lists=False,
    # Nearly always the first, which knows users and items; on very few ratings a mean may be best.
    references=("bias_only", "adaptive_bias", "item_mean", "user_mean"),
    squared_errors=squared_errors,
    usual_center="adaptive",
    shown_as=ShownAs("predicted rating", clipped),
    milestone="bias_only",
    shown=(
        "rmse",
        "rmse_less_bias_only",
        "rmse_last_less_bias_only",
        "rmse_less_best",
        "rmse_per_user",
    ),
)
