"""Tables for the terminal."""

from collections.abc import Mapping

from rich.table import Table

from pfr_jax.evaluation.metrics import Figures


def facts_table(title: str, facts: Mapping[str, object]) -> Table:
    """Names and values in two columns."""
    table = Table(title=title, title_justify="left", show_header=False, box=None)
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), _text(value))
    return table


def results_table(title: str, results: Mapping[str, Figures], reference: str) -> Table:
    """A row of test figures per predictor, and its RMSE less that of ``reference``."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for heading in ("RMSE", f"less {reference.replace('_', ' ')}", "RMSE per user", "MAE"):
        table.add_column(heading, justify="right")
    for name, figures in results.items():
        difference = figures.rmse - results[reference].rmse
        table.add_row(
            name.replace("_", " "),
            f"{figures.rmse:.4f}",
            "" if name == reference else f"{difference:+.4f}",
            f"{figures.rmse_per_user:.4f}",
            f"{figures.mae:.4f}",
        )
    return table


def bytes_text(count: float) -> str:
    """Bytes in the largest decimal unit that keeps a digit before the point."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def _text(value: object) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.4g}" if isinstance(value, float) else str(value)
