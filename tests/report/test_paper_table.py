"""The paper's table: which figures it reports, and how it adds them up over seeds."""

import pandas as pd
import pytest

from pfr_jax.evaluation.explicit import EXPLICIT
from pfr_jax.evaluation.implicit import IMPLICIT
from pfr_jax.report.paper_table import baseline_figures, markdown, overview, table_figures


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
    row = table_figures(summary({"rmse": 0.85, "rmse_per_user": 0.75, "mae": 0.6}), EXPLICIT)
    assert (row["round"], row["rmse"]) == (3, 0.85)
    assert row["rmse_less_bias_only"] == pytest.approx(-0.1)
    assert row["rmse_last_less_bias_only"] == pytest.approx(-0.05)
    row = table_figures(summary(None), EXPLICIT)
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
        "| joint | 1.0000 (0.1414) | +0.0000 (0.1414) | +0.0000 (0.1414) |  | 0.5000 (0.0000) |"
        in text
    )
    assert text.startswith("explicit feedback, 2 seeds")


def implicit_summary(popularity: float, item_mean: float) -> dict:
    def figures(ndcg: float) -> dict[str, float]:
        return {"ndcg_heldout": ndcg, "ndcg_heldout_mixed": ndcg - 0.1, "map_heldout": 0.5}

    return {
        **summary(figures(0.86)),
        "test_last": figures(0.85),
        "baselines": {
            "popularity": figures(popularity),
            "item_mean": figures(item_mean),
            "random": figures(0.99),  # by luck; it is not what anybody compares with
        },
    }


@pytest.mark.parametrize(
    ("popularity", "item_mean", "best", "less"),
    [(0.83, 0.87, "item_mean", -0.01), (0.84, 0.8, "popularity", 0.02)],
)
def test_implicit_figures_stand_beside_the_best_simple_baseline(
    popularity: float, item_mean: float, best: str, less: float
) -> None:
    one = implicit_summary(popularity, item_mean)
    assert IMPLICIT.best_reference(one["baselines"]) == best
    row = table_figures(one, IMPLICIT)
    assert row["best_baseline"] == best
    assert row["ndcg_heldout_less_best"] == pytest.approx(less)
    assert row["ndcg_heldout_last_less_best"] == pytest.approx(less - 0.01)
    assert row["ndcg_heldout_less_popularity"] == pytest.approx(0.86 - popularity)
    assert row["ndcg_heldout_less_item_mean"] == pytest.approx(0.86 - item_mean)
    assert row["item_mean_ndcg_heldout"] == item_mean


def test_less_bias_only_stays_beside_less_the_best() -> None:
    one = summary({"rmse": 0.85, "rmse_per_user": 0.75, "mae": 0.6})
    for name, rmse in {"item_mean": 1.0, "user_mean": 0.88, "global_mean": 0.1}.items():
        one["baselines"][name] = {"rmse": rmse, "rmse_per_user": rmse, "mae": rmse}
    assert EXPLICIT.best_reference(one["baselines"]) == "user_mean"
    row = table_figures(one, EXPLICIT)
    assert row["best_baseline"] == "user_mean"
    assert row["rmse_less_bias_only"] == pytest.approx(-0.1)
    assert row["rmse_less_best"] == pytest.approx(-0.03)
    assert row["rmse_last_less_best"] == pytest.approx(0.02)


def test_centralised_baselines_have_rows_that_say_so() -> None:
    one = summary(None)
    one["baselines"]["item_knn"] = {"rmse": 0.92, "rmse_per_user": 0.9, "mae": 0.8}
    found = baseline_figures(one, EXPLICIT)
    assert list(found) == ["bias only", "item-kNN, centralised"]
    assert found["item-kNN, centralised"]["rmse_less_bias_only"] == pytest.approx(-0.03)


def test_a_baseline_without_a_figure_is_not_the_best() -> None:
    """As in summary.json of ratings without a held-out positive."""
    nothing = {"popularity": {"ndcg_heldout": None}, "item_mean": {"ndcg_heldout": 0.5}}
    assert IMPLICIT.best_reference(nothing) == "item_mean"


def test_baselines_have_rows_and_the_table_names_the_best() -> None:
    rows = []
    for seed, item_mean in enumerate((0.87, 0.89)):
        one = implicit_summary(0.84, item_mean)
        common = {"feedback": "implicit", "seed": seed}
        rows.append({**common, "system": "personalfr", **table_figures(one, IMPLICIT)})
        for name, figures in baseline_figures(one, IMPLICIT).items():
            rows.append({**common, "system": name, **figures})
    text = markdown(pd.DataFrame(rows))
    assert "the best simple baseline is item_mean (2 seeds)" in text
    cells = [cell.strip() for cell in text.split("| item mean |")[1].split("\n")[0].split("|")]
    # Itself the best; it has no last round, and 0.04 more than popularity in the mean.
    assert cells[:4] == ["0.8800 (0.0141)", "+0.0000 (0.0000)", "", "+0.0400 (0.0141)"]
    assert "| personalfr | 0.8600 (0.0000) | -0.0200 (0.0141) | -0.0300 (0.0141) |" in text
    assert "| random |" not in text


def test_baselines_fitted_to_validation_ratings_too_say_so() -> None:
    one = summary(None)
    assert list(baseline_figures(one, EXPLICIT)) == ["bias only"]
    again = {**one, "baselines_retrained": one["baselines"]}
    assert list(baseline_figures(again, EXPLICIT)) == ["bias only, validation too"]


def test_several_data_sets_side_by_side_by_hand() -> None:
    def table(rmse: dict[str, list[float]]) -> pd.DataFrame:
        rows = [
            {"system": system, "seed": seed, "rmse": value}
            for system, values in rmse.items()
            for seed, value in enumerate(values)
        ]
        return pd.DataFrame(rows)

    tables = {"one": table({"joint": [0.9, 1.1]}), "two": table({"local": [0.5], "joint": [0.25]})}
    lines = overview(tables, EXPLICIT).splitlines()
    assert lines[2:] == [
        "| system | one | two |",
        "|---|---|---|",
        "| joint | 1.0000 (0.1414) | 0.2500 |",
        "| local |  | 0.5000 |",
    ]
