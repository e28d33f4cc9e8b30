"""Commands in a process of their own, and what they leave."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
# Compiling quickly matters more here than running quickly, as in conftest.py.
ENVIRONMENT = os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "JAX_PLATFORMS": "cpu"}
FAST = ["--hidden_sizes=8,4", "--rounds=4", "--eval_every=2", "--max_buckets=1", "--local_epochs=1"]
NUM_USERS, NUM_ITEMS = 40, 30


@dataclass(frozen=True)
class Finished:
    status: int
    out: str
    err: str
    folder: Path

    def json(self, name: str) -> dict:
        return json.loads((self.folder / name).read_text())

    def lines(self, name: str) -> list[dict]:
        return [json.loads(line) for line in (self.folder / name).read_text().splitlines()]


def pfr(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """As the command, from a folder that holds nothing of the repository."""
    return subprocess.run(
        [sys.executable, "-m", "pfr_jax", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "COLUMNS": "80"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def visible(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def command(folder: Path, arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", "experiments.run", f"--output_dir={folder}", *FAST, *arguments]


def run(folder: Path, *arguments: str) -> Finished:
    done = subprocess.run(
        command(folder, list(arguments)),
        cwd=ROOT,
        env=ENVIRONMENT | {"PFR_CACHE_DIR": str(folder.parent / "cache")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    return Finished(done.returncode, done.stdout, done.stderr, folder)


def assert_one_line(done: Finished, *parts: str) -> None:
    """It failed and says why in one line, for people."""
    assert done.status not in (0, None)
    assert done.err.endswith("\n") and done.err.count("\n") == 1, done.err
    for part in parts:
        assert part in done.err, done.err


def write_ratings(folder: Path) -> None:
    """ratings.csv, and broken.csv, the same with a line that is no rating."""
    rng = np.random.default_rng(0)
    lines = ["user,item,rating"]
    for user in range(NUM_USERS):
        items = rng.permutation(NUM_ITEMS)[: 4 + user % 20 if user else NUM_ITEMS]
        lines += [f"u{user},{item},{rng.integers(1, 6)}" for item in items]
    (folder / "ratings.csv").write_text("\n".join(lines) + "\n")
    lines[6] = "u0,7,many"
    (folder / "broken.csv").write_text("\n".join(lines) + "\n")
