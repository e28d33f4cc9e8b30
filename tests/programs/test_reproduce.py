"""The tables and plots in one command, at the smallest scale."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
BASELINES = (
    *("bias only", "adaptive bias", "item mean", "user mean"),
    *("item-kNN, centralised", "Bayesian factorisation, centralised"),
)
TINY = ("--set=hidden_sizes=8,4", "--set=max_buckets=1", "--set=local_epochs=1")


def reproduce(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    places = f"--runs_dir={place / 'runs'}", f"--output_dir={place / 'out'}"
    common = "--dataset=synthetic", "--scale=smoke", "--parallel_runs=2", *TINY
    return subprocess.run(
        [sys.executable, "-m", "experiments.reproduce", *common, *places, *arguments],
        cwd=ROOT,
        env=os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("reproduce")
    done = reproduce(place, "--num_seeds=1", "--feedback=explicit")
    assert done.returncode == 0, done.stderr
    return place


def test_a_row_per_run_and_plots(place: Path) -> None:
    table = pd.read_csv(place / "out" / "synthetic_paper_recipes_explicit_table.csv")
    systems = list(table["system"])
    baselines = {f"{name}{more}" for name in BASELINES for more in ("", ", validation too")}
    assert len(systems) == len(set(systems)) == 13 + 12 and set(table["seed"]) == {0}
    assert baselines < set(systems)
    assert table["rmse"].between(0.5, 5).all()
    tuned = table[table["system"].str.contains("tuned")]
    assert tuned["resident_bytes"].notna().sum() == 3  # but for joint, who has no clients
    for plot in ("curves", "bytes", "ratio", "users", "activity"):
        name = place / "out" / f"synthetic_paper_recipes_explicit_{plot}.png"
        assert name.read_bytes().startswith(b"\x89PNG")
        assert "<svg" in name.with_suffix(".svg").read_text()
    assert (
        "| personalfr, tuned |"
        in (place / "out" / "synthetic_paper_recipes_explicit_table.md").read_text()
    )


def test_finished_cells_are_not_made_again(place: Path) -> None:
    summaries = sorted((place / "runs").rglob("summary.json"))
    times = [path.stat().st_mtime_ns for path in summaries]
    done = reproduce(place, "--num_seeds=1", "--feedback=explicit")
    assert done.returncode == 0 and "done" not in done.stdout
    assert [path.stat().st_mtime_ns for path in summaries] == times


def test_a_cell_of_other_settings_is_made_anew(place: Path) -> None:
    other = "--parts=recipes", "--set=dropout=0.25"
    done = reproduce(place, "--num_seeds=1", "--feedback=explicit", *other)
    assert done.returncode == 0 and done.stdout.count(": done") == 5


def test_no_part_at_all(place: Path) -> None:
    done = reproduce(place, "--parts=nothing")
    assert done.returncode != 0 and "--parts=nothing" in done.stderr
