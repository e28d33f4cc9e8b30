"""``pfr attack``: a run attacked from its folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pfr_jax.errors import InputError
from pfr_jax.programs.attack import rounds_wanted
from pfr_jax.runs.settings import config_of

ROOT = Path(__file__).parents[2]
TINY = ("--num_users=40", "--hidden_sizes=8,4", "--members=1", "--max_buckets=1", "--rounds=3")


def pfr(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "pfr_jax", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_a_run_is_attacked(tmp_path: Path) -> None:
    run = pfr("run", *TINY, f"--output_dir={tmp_path}/run")
    assert run.returncode == 0, run.stderr
    found = pfr("attack", f"{tmp_path}/run", "--after=0,2,last,100", "--thorough_clients=0")
    assert found.returncode == 0, found.stderr
    assert "What the server learns" in found.stdout
    rows = json.loads((tmp_path / "run" / "attacks.json").read_text())
    assert {row["round"] for row in rows} == {0, 2, 3}
    values = {row["value"] for row in rows if row["attack"] == "item set, one upload"}
    assert values == {1.0}
    assert all(0 < row["chance"] < 1 and row["attacker_knows"] for row in rows)


def test_rounds() -> None:
    assert rounds_wanted(["0", "20", "last"], 50) == {0, 20, 50}
    assert rounds_wanted(["100"], 50) == set()
    for wrong in (["x"], ["-1"], []):
        with pytest.raises(InputError, match="--after"):
            rounds_wanted(wrong, 50)


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no run that can be read"):
        config_of(tmp_path)
    (tmp_path / "config.json").write_text('{"dataset": "synthetic"}')
    with pytest.raises(InputError, match="another version"):
        config_of(tmp_path)
