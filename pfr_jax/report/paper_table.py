"""The paper's comparison as a table: from runs' summaries to means over seeds."""

from typing import Any

import pandas as pd

FIGURE = {"explicit": "rmse", "implicit": "ndcg_heldout"}  # that systems are compared by
REFERENCE = {"explicit": "bias_only", "implicit": "popularity"}
SHOWN = {
    "explicit": ("rmse", "rmse_less_bias_only", "rmse_last_less_bias_only", "rmse_per_user"),
    "implicit": (
        "ndcg_heldout",
        "ndcg_heldout_less_popularity",
        "ndcg_heldout_last_less_popularity",
        "map_heldout",
        "ndcg_full",
        "recall_full",
    ),
}


def table_figures(summary: dict[str, Any], feedback: str) -> dict[str, Any]:
    """The test figures reported: retrained, else of the round selected on validation, else last.

    The ``_last_`` figure is of the last round in any case.
    """
    figures = summary.get("test_retrained") or summary["test"] or summary["test_last"]
    baselines = summary.get("baselines_retrained") or summary["baselines"]
    reference = REFERENCE[feedback]
    first = SHOWN[feedback][0]
    return {
        "round": summary["selected_round"] or summary["rounds"],
        **figures,
        f"{first}_less_{reference}": figures[first] - baselines[reference][first],
        f"{first}_last_less_{reference}": summary["test_last"][first]
        - summary["baselines"][reference][first],
        **{f"{reference}_{name}": v for name, v in baselines[reference].items()},
        "bytes_up_total": summary["bytes_up_total"],
        "bytes_down_total": summary["bytes_down_total"],
        "reached_round": (summary["reached"] or {}).get("round"),
        "reached_bytes_per_client": (summary["reached"] or {}).get("bytes_per_client"),
        "reached_whole_bytes_per_client": (summary["reached"] or {}).get("whole_bytes_per_client"),
        **(summary["client_costs"] or {}),
        "train_seconds": summary["seconds"]["train"],
    }


def markdown(table: pd.DataFrame) -> str:
    """Means and, in brackets, standard deviations over the seeds; a table per feedback."""
    parts = []
    for feedback, columns in SHOWN.items():
        rows = table[table["feedback"] == feedback]
        if rows.empty:
            continue
        seeds = rows["seed"].nunique()
        parts += [
            f"{feedback} feedback, {seeds} seeds, mean (standard deviation)\n",
            "| system | " + " | ".join(columns) + " |",
            "|---" * (len(columns) + 1) + "|",
        ]
        for system in rows["system"].unique():
            figures = rows[rows["system"] == system][list(columns)]
            mean, spread = figures.mean(), figures.std()
            cells = (
                f"{mean[name]:{'+' if 'less' in name else ''}.4f} ({spread[name]:.4f})"
                for name in columns
            )
            parts.append(f"| {system} | " + " | ".join(cells) + " |")
        parts.append("")
    return "\n".join(parts)
