"""The paper's comparison as a table: from runs' summaries to means over seeds."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from pfr_jax.baselines.catalog import LABELS
from pfr_jax.evaluation.task import Task
from pfr_jax.evaluation.tasks import TASKS

MEGABYTES = "mb_per_client"  # sent and received in all rounds
# Baselines that the table has rows of, and what these are called.
WITH_ROWS = {
    **{
        name: name.replace("_", " ")
        for name in ("user_mean", "item_mean", "bias_only", "adaptive_bias", "popularity")
    },
    **{name: f"{label}, centralised" for name, label in LABELS.items()},
}


def table_figures(summary: dict[str, Any], task: Task) -> dict[str, Any]:
    """The test figures reported: retrained, else of the round selected on validation, else last.

    The ``_last_`` figure is of the last round in any case.
    """
    figures, baselines = reported(summary)
    last, baselines_last = summary["test_last"], summary["baselines"]
    return {
        "round": summary["selected_round"] or summary["rounds"],
        **figures,
        **_differences(figures, baselines, task),
        **_differences(last, baselines_last, task, "_last"),
        **{
            f"{name}_{figure}": value
            for name in task.references
            for figure, value in baselines.get(name, {}).items()
        },
        MEGABYTES: _megabytes(summary),
        "bytes_up_total": summary["bytes_up_total"],
        "bytes_down_total": summary["bytes_down_total"],
        "reached_round": (summary["reached"] or {}).get("round"),
        "reached_bytes_per_client": (summary["reached"] or {}).get("bytes_per_client"),
        "reached_whole_bytes_per_client": (summary["reached"] or {}).get("whole_bytes_per_client"),
        **(summary["client_costs"] or {}),
        "train_seconds": summary["seconds"]["train"],
    }


def _megabytes(summary: dict[str, Any]) -> float | None:
    """What a client sends and receives in all rounds, in the mean; None where there is none."""
    clients = summary["num_clients"] if summary["client_costs"] else 0
    return (
        (summary["bytes_up_total"] + summary["bytes_down_total"]) / clients / 1e6
        if clients
        else None
    )


def reported(summary: dict[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """A run's test figures and those of baselines fitted to the same ratings.

    They are those of the second training where there was one, else of the round selected on
    validation, else of the last; {} without test ratings.
    """
    figures = summary.get("test_retrained") or summary["test"] or summary["test_last"] or {}
    return figures, summary.get("baselines_retrained") or summary["baselines"]


def baseline_figures(summary: dict[str, Any], task: Task) -> dict[str, dict[str, Any]]:
    """As ``table_figures``, of the baselines: what to call each -> its figures."""
    retrained = summary.get("baselines_retrained")
    baselines, more = retrained or summary["baselines"], ", validation too" if retrained else ""
    return {
        label + more: {
            **baselines[name],
            **_differences(baselines[name], baselines, task),
        }
        for name, label in WITH_ROWS.items()
        if name in baselines
    }


def _differences(
    figures: dict[str, Any], baselines: dict[str, Any], task: Task, suffix: str = ""
) -> dict[str, Any]:
    """The first figure less that of each simple baseline.

    If there are several, also less that of the best, whose name is ``best_baseline``.
    """
    first, best = task.figure, task.best_reference(baselines)
    less = {
        name: figures[first] - baselines[name][first]
        for name in task.references
        if name in baselines
    }
    columns = {f"{first}{suffix}_less_{name}": value for name, value in less.items()}
    if len(less) > 1:
        columns[f"{first}{suffix}_less_best"] = less[best]
        if not suffix:
            columns["best_baseline"] = best
    return columns


def markdown(table: pd.DataFrame) -> str:
    """Means and, in brackets, standard deviations over the seeds; a table per feedback."""
    parts = []
    for feedback, task in TASKS.items():
        rows, columns = table[table["feedback"] == feedback], (*task.shown, MEGABYTES)
        if rows.empty:
            continue
        seeds = rows["seed"].nunique()
        parts += [
            f"{feedback} feedback, {seeds} seeds, mean (standard deviation){_best(rows)}\n",
            "| system | " + " | ".join(columns) + " |",
            "|---" * (len(columns) + 1) + "|",
        ]
        for system in rows["system"].unique():
            # A baseline has no last round, and runs of earlier versions lack some figures.
            figures = rows[rows["system"] == system].reindex(columns=list(columns)).astype(float)
            mean, spread = figures.mean(), figures.std()
            cells = (
                _cell(name, mean[name], spread[name]) if figures[name].notna().any() else ""
                for name in columns
            )
            parts.append(f"| {system} | " + " | ".join(cells) + " |")
        parts.append("")
    return "\n".join(parts)


def _cell(column: str, mean: float, spread: float) -> str:
    if column == MEGABYTES:
        return f"{mean:.3g}"
    return f"{mean:{'+' if 'less' in column else ''}.4f} ({spread:.4f})"


def overview(tables: Mapping[str, pd.DataFrame], task: Task) -> str:
    """The first figure of every system on every data set: mean (standard deviation) over seeds."""
    lines = [
        f"{task.heading}, {task.name} feedback, mean over seeds (standard deviation)\n",
        "| system | " + " | ".join(tables) + " |",
        "|---" * (len(tables) + 1) + "|",
    ]
    systems = dict.fromkeys(name for table in tables.values() for name in table["system"])
    for system in systems:
        cells = []
        for table in tables.values():
            values = table.loc[table["system"] == system, task.figure].astype(float)
            spread = f" ({values.std():.4f})" if len(values) > 1 else ""
            cells.append(f"{values.mean():.4f}{spread}" if len(values) else "")
        lines.append(f"| {system} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _best(rows: pd.DataFrame) -> str:
    """Which baseline is the best, where that depends on the ratings."""
    if "best_baseline" not in rows:
        return ""
    seeds = rows.groupby("best_baseline")["seed"].nunique()
    names = [f"{name} ({count} seeds)" for name, count in seeds.items()]
    return f"; the best simple baseline is {', '.join(names)}"
