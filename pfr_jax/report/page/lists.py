"""Recommendations of every user, for the page's script."""

from pathlib import Path
from typing import Any

import numpy as np

from pfr_jax.data.titles import read_titles
from pfr_jax.recommend.labels import rows_of
from pfr_jax.recommend.loading import load_run
from pfr_jax.report.page.finished import FinishedRun

MOST_USERS = 2000  # a page with more would be slow to open
LENGTH = 10


def lists_of(run: FinishedRun, titles: Path | None) -> dict[str, Any]:
    """What the run's model recommends, and what each user liked.

    Args:
      run: it must have kept its model.
      titles: a file for ``read_titles``; None: what comes with the ratings.

    Returns:
      ``run`` and ``round``; ``predicts``, what predictions are; ``total`` users; ``titles`` of the
      items; ``users``, of the first MOST_USERS: label -> ``seen``, ``liked`` and ``recommended``,
      lists of [row of titles, number].

    Raises:
      InputError: the model or the titles cannot be read.
    """
    model = load_run(run.folder)
    names = read_titles(titles, model.item_ids) if titles else model.titles.to_numpy()

    def pairs(items: np.ndarray, values: np.ndarray) -> list[tuple[int, float]]:
        rows = rows_of(items, model.item_ids, "item").tolist()
        return list(zip(rows, values.round(3).tolist(), strict=True))

    users = {}
    lists = model.recommend_all(LENGTH)
    some = lists[lists["user"].isin(model.user_ids[:MOST_USERS])]
    for user, best in some.groupby("user", sort=False):
        seen = model.seen(user)
        liked = seen.head(LENGTH)
        users[str(user)] = {
            "seen": len(seen),
            "liked": pairs(liked["item"].to_numpy(), liked["rating"].to_numpy(float)),
            "recommended": pairs(best["item"].to_numpy(), best["prediction"].to_numpy(float)),
        }
    return {
        "run": run.name,
        "round": model.round,
        "predicts": model.predicts,
        "total": len(model.user_ids),
        "titles": names.tolist(),
        "users": users,
    }
