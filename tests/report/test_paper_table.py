"""The paper's table: which figures it reports, and how it adds them up over seeds."""

import pandas as pd
import pytest

from pfr_jax.report.paper_table import markdown, table_figures


def summary(test: dict | None) -> dict:
    return {
        "test": test,
        "test_last": {"rmse": 0.9, "rmse_per_user": 0.8, "mae": 0.7},
        "selected_round": 3 if test else None,
        "rounds": 8,
        "baselines": {"bias_only": {"rmse": 0.95, "rmse_per_user": 0.9, "mae": 0.8}},
        "reached": None,
        "client_costs": None,
        "bytes_up_total": 1,
        "bytes_down_total": 2,
        "seconds": {"train": 5.0},
    }


def test_the_selected_round_is_reported_where_one_was_selected() -> None:
    row = table_figures(summary({"rmse": 0.85, "rmse_per_user": 0.75, "mae": 0.6}), "explicit")
    assert (row["round"], row["rmse"]) == (3, 0.85)
    assert row["rmse_less_bias_only"] == pytest.approx(-0.1)
    assert row["rmse_last_less_bias_only"] == pytest.approx(-0.05)
    row = table_figures(summary(None), "explicit")
    assert (row["round"], row["rmse"]) == (8, 0.9)
    assert row["rmse_less_bias_only"] == pytest.approx(-0.05)


def test_means_and_standard_deviations_by_hand() -> None:
    rows = [
        {
            "feedback": "explicit",
            "system": "joint",
            "seed": seed,
            "rmse": rmse,
            "rmse_less_bias_only": rmse - 1,
            "rmse_last_less_bias_only": rmse - 1,
            "rmse_per_user": 0.5,
        }
        for seed, rmse in enumerate((0.9, 1.1))
    ]
    text = markdown(pd.DataFrame(rows))
    # The sample's deviation: sqrt((0.1^2 + 0.1^2) / (2 - 1)).
    assert (
        "| joint | 1.0000 (0.1414) | +0.0000 (0.1414) | +0.0000 (0.1414) | 0.5000 (0.0000) |"
        in text
    )
    assert text.startswith("explicit feedback, 2 seeds")
