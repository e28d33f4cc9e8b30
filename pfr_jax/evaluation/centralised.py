"""Figures of the centralised baselines, computed once for every split and kept.

Settings are chosen on validation ratings, by the figure that selects a federation's round; test
ratings are looked at once, with those.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pfr_jax.baselines.kept import kept
from pfr_jax.baselines.record import Baseline, Known, Settings
from pfr_jax.data.cache import fingerprint
from pfr_jax.evaluation.task import AnyFigures, HeldOutPart, Judged, Task

Which = Literal["auto", "simple", "all"]
# The most training ratings for which --baselines=auto computes them: MovieLens-1M takes minutes.
AUTO_RATINGS = 1_000_000
JUDGES = 1  # to be counted up when figures of the same predictions change


def wanted(
    task: Task, which: Which, num_ratings: int, num_users: int, num_items: int
) -> tuple[tuple[Baseline, ...], list[str]]:
    """The centralised baselines to compute, and why others are left out, in sentences.

    ``num_ratings`` are those to train on.
    """
    if which == "simple":
        return (), []
    if which == "auto" and num_ratings > AUTO_RATINGS:
        return (), [
            f"Centralised baselines are left out: there are more than {AUTO_RATINGS:,} training "
            "ratings. --baselines=all computes them all the same."
        ]
    reasons = {one: one.too_large(num_users, num_items) for one in task.centralised}
    left_out = [f"{one.label} is left out: {why}." for one, why in reasons.items() if why]
    return tuple(one for one, why in reasons.items() if not why), left_out


def choose_settings(
    task: Task, baseline: Baseline, fitted: np.ndarray, validation: HeldOutPart, folder: Path
) -> Settings:
    """The settings with the best validation figure when fitted on the rows ``fitted`` i64[...].

    The first ones where there is nothing to choose, or no figure to choose by.
    """
    if len(baseline.settings) == 1 or not len(validation.rows):
        return baseline.settings[0]

    def choose() -> dict[str, Any]:
        known = Known.of(validation.ratings, fitted, validation.target)
        losses = []
        for settings in baseline.settings:
            judged = task.judge_baseline(validation, baseline.fit(known, **settings))
            loss = task.criterion(judged.figures)
            losses.append(math.inf if math.isnan(loss) else loss)
        return {"chosen": int(np.argmin(losses)), "losses": losses}

    key = {**_key(task, baseline, fitted, validation), "choose": list(map(dict, baseline.settings))}
    return baseline.settings[kept(folder, key, choose)["chosen"]]


def judge_centralised(
    task: Task,
    baseline: Baseline,
    settings: Settings,
    fitted: np.ndarray,
    part: HeldOutPart,
    folder: Path,
) -> Judged:
    """Its figures over a part, fitted on the rows ``fitted`` i64[...]; not those of each user."""

    def judge() -> dict[str, Any]:
        known = Known.of(part.ratings, fitted, part.target)
        judged = task.judge_baseline(part, baseline.fit(known, **settings))
        return {
            "figures": asdict(judged.figures),
            "warm": asdict(judged.warm) if judged.warm else None,
            "num_warm": judged.num_warm,
        }

    key = {**_key(task, baseline, fitted, part), "settings": dict(settings)}
    found = kept(folder, key, judge)

    def figures(content: Mapping[str, float]) -> AnyFigures:
        return task.figures(**content)

    warm = figures(found["warm"]) if found["warm"] else None
    return Judged(figures(found["figures"]), {}, warm, found["num_warm"])


def _key(task: Task, baseline: Baseline, fitted: np.ndarray, part: HeldOutPart) -> dict[str, Any]:
    """All that figures depend on."""
    ratings = part.ratings
    return {
        "baseline": baseline.name,
        "version": baseline.version,
        "judges": JUDGES,
        "task": [task.name, task.figure],
        "figures": [field.name for field in fields(task.figures)],
        "ratings": fingerprint(ratings.user, ratings.item, ratings.rating, part.target),
        "users": ratings.num_users,
        "items": ratings.num_items,
        "fitted": fingerprint(fitted),
        "part": fingerprint(part.rows, part.seen, part.warm),
        "scale": [ratings.scale.low, ratings.scale.high] if part.clip else None,
        "top_k": part.top_k if task.lists else None,
    }
