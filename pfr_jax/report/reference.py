"""The figure that systems are compared by, and the simple baseline they are compared with."""

import math
from collections.abc import Mapping
from typing import Any

FIGURE = {"explicit": "rmse", "implicit": "ndcg_heldout"}
# Stars have one baseline that knows users and items. Which order that is the same for everybody is
# best depends on the ratings, so the better one counts, on the very ratings of the comparison.
SIMPLE = {"explicit": ("bias_only",), "implicit": ("popularity", "item_mean")}


def best_baseline(feedback: str, baselines: Mapping[str, Any]) -> str:
    """The name of the simple baseline with the best figure: what "less ..." is less than.

    ``baselines`` have figures by name, as records or as summary.json has them.
    """
    figure, names = FIGURE[feedback], SIMPLE[feedback]

    def value(name: str) -> float:
        figures = baselines[name]
        found = figures[figure] if isinstance(figures, Mapping) else getattr(figures, figure)
        # Nobody had a held-out positive.
        return -math.inf if found is None or math.isnan(found) else found

    return names[0] if len(names) == 1 else max(names, key=value)
