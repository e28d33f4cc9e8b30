"""Plots in which every system can be told from the others."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pfr_jax.evaluation.tasks import TASKS
from pfr_jax.report.plots import DASHES, Runs, draw, limits, lines_of


def curve(*values: float, spread: float = 0.0) -> pd.DataFrame:
    """A curve of these means."""
    mean = np.array(values)
    columns = {"figure": mean, "figure_low": mean - spread, "figure_high": mean + spread}
    return pd.DataFrame({"round": np.arange(1, len(mean) + 1), **columns})


def write_run(folder: Path, algorithm: str, end: float) -> Path:
    """What plots read of a run of four evaluated rounds."""
    folder.mkdir(parents=True)
    summary = {
        "algorithm": algorithm,
        "baselines_validation": {"bias_only": {"rmse": 1.0}},
        "num_clients": 10,
        "cohort_size": 5,
        "client_costs": None,
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    lines = [
        {
            "round": n,
            "validation_rmse": 1.2 + (end - 1.2) * n / 4,
            "bytes_up_total": 1000 * n,
            "bytes_down_total": 2000 * n,
        }
        for n in range(1, 5)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    users = {"user": range(20), "train_ratings": range(20), "test_rmse": np.full(20, end)}
    pd.DataFrame(users).to_csv(folder / "per_user.csv", index=False)
    return folder


@pytest.fixture
def systems(tmp_path: Path) -> list[Runs]:
    task = TASKS["explicit"]
    ends = {
        ("personalfr", "one"): (0.95, 0.97),
        ("personalfr", "two"): (0.9,),
        ("local", "l"): (9,),
    }
    return [
        Runs(
            name,
            task,
            tuple(
                write_run(tmp_path / name / str(seed), algorithm, end)
                for seed, end in enumerate(of_seeds)
            ),
        )
        for (algorithm, name), of_seeds in ends.items()
    ]


def test_the_band_is_from_the_lowest_to_the_highest_seed(systems: list[Runs]) -> None:
    last = systems[0].curves().iloc[-1]
    assert last["figure"] == pytest.approx(-0.04)
    assert (last["figure_low"], last["figure_high"]) == pytest.approx((-0.05, -0.03))
    assert last["bytes"] == pytest.approx(1200)


def test_systems_of_one_algorithm_have_its_colour_and_other_lines(systems: list[Runs]) -> None:
    one, two, local = lines_of(systems).values()
    assert one.look == two.look != local.look
    assert (one.dash, two.dash, local.dash) == (DASHES[0], DASHES[1], DASHES[0])


def test_a_curve_that_is_far_off_squashes_nobody() -> None:
    near, far = curve(0.5, 0.02, -0.03, -0.04, spread=0.01), curve(0.9, 0.8, 0.7, 0.6)
    low, high, outside = limits({"near": near, "other": near, "far": far}, "figure")
    assert outside == {"far"}
    assert (low, high) == pytest.approx((-0.054, 0.034))
    assert limits({"near": near}, "figure")[2] == set()


def test_all_plots_are_there(systems: list[Runs], tmp_path: Path) -> None:
    made = draw(systems, tmp_path, "stem")
    names = {
        f"stem_{n}.{e}" for n in ("curves", "bytes", "users", "activity") for e in ("png", "svg")
    }
    assert {path.name for path in made} == names and all(path.stat().st_size for path in made)
