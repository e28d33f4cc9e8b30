"""What is run on an accelerator, at a small size on whatever is there."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from commands import pfr

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


def test_all_of_it_ends_and_is_written(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "experiments.on_accelerator", "--scale=smoke"),
            *(f"--output_dir={tmp_path}", "--seconds=900"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1000,
    )
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("on_*.json")
    found = json.loads(path.read_text())
    assert "failed" not in found["run"] and "benchmark_failed" not in found
    assert found["run"]["milliseconds_per_round"] > 0
    assert len(found["run"]["losses"]) == 2
    assert (
        found["expected"]["needed_gib"] > 0 and found["expected"]["program"] == "personalfr: round"
    )
    (benchmark,) = found["benchmark"]
    seconds = {row["contestant"]: row["seconds_per_round"] for row in benchmark["results"]}
    assert {"active_rows", "factored"} <= seconds.keys() and min(seconds.values()) > 0


def test_one_contestant_that_fails_keeps_the_others(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('there is none')\n")
    place = f"--output_dir={tmp_path}", "--noroofline", "--like=ml100k", "--rounds=1"
    momenta = "--private_momentum=restart"
    done = pfr(tmp_path, "benchmark", "--contestants=torch_batched,factored", momenta, *place)
    assert done.returncode == 0, done.stderr
    path = tmp_path / "benchmark_ml100k_restart_private_restart_cpu.json"
    written = json.loads(path.read_text())
    assert written["settings"]["private_momentum"] == "restart"
    assert [row["contestant"] for row in written["results"]] == ["factored"]
    assert "there is none" in written["failed"]["torch_batched"]
