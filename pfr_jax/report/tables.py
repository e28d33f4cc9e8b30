"""Tables for the terminal."""

import math
from collections.abc import Mapping

from rich.box import SIMPLE_HEAD
from rich.table import Table

from pfr_jax.evaluation.evaluate import AnyFigures

# Figure -> heading; the first one is also shown as a difference. Coverage is in the files only.
EXPLICIT = {"rmse": "RMSE", "rmse_per_user": "RMSE per user", "mae": "MAE"}
IMPLICIT = {
    "ndcg_heldout": "held-out\nNDCG",
    "ndcg_heldout_mixed": "mixed\nNDCG",
    "map_heldout": "held-out\nMAP",
    "ndcg_full": "full\nNDCG",
    "recall_full": "full\nRecall",
    "hr_full": "full\nHR",
    "mrr_full": "full\nMRR",
}


def headings(implicit: bool) -> dict[str, str]:
    """Figure -> heading, the figure that rounds are selected by first."""
    return IMPLICIT if implicit else EXPLICIT


def facts_table(title: str, facts: Mapping[str, object]) -> Table:
    """Names and values in two columns."""
    table = Table(title=title, title_justify="left", show_header=False, box=None)
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), _text(value))
    return table


def results_table(
    title: str, results: Mapping[str, AnyFigures], reference: str, columns: Mapping[str, str]
) -> Table:
    """A row of figures per predictor, and its first figure less that of ``reference``.

    ``columns`` are the ``headings``.
    """
    # Narrow, so that nine columns of figures fit a terminal of 80 characters.
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=0)
    table.add_column("", overflow="fold", min_width=12)
    first, *others = columns
    less = f"less\n{reference.replace('_', '-')}"
    for heading in (columns[first], less, *(columns[name] for name in others)):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, figures in results.items():
        difference = getattr(figures, first) - getattr(results[reference], first)
        table.add_row(
            name.replace("_", " "),
            _digits(getattr(figures, first)),
            "" if name == reference else f"{difference:+.4f}",
            *(_digits(getattr(figures, other)) for other in others),
        )
    return table


def bytes_text(count: float) -> str:
    """Bytes in the largest decimal unit that keeps a digit before the point."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def _digits(figure: float) -> str:
    return "-" if math.isnan(figure) else f"{figure:.4f}"


def _text(value: object) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.4g}" if isinstance(value, float) else str(value)
