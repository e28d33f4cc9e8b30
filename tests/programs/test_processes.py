"""Several processes simulate one federation together."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pfr_jax.runs.checkpoints import store

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "JAX_PLATFORMS": "cpu"}
TINY = (
    *("--num_users=60", "--hidden_sizes=8,4", "--max_buckets=1", "--local_epochs=1"),
    *("--eval_every=1", "--checkpoint_every=4", "--deterministic_sum", "--num_devices=4"),
)
DP = (
    *("--upload=dp", "--noise_multiplier=1", "--denominator=expected", "--cohort_fraction=1"),
    *("--weighting=clients", "--ridge=0", "--upload_clip=0.5"),
)


def start(folder: Path, processes: int, *arguments: str) -> list[subprocess.Popen[str]]:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    together = [f"--coordinator=localhost:{port}", f"--num_processes={processes}"]
    return [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "experiments.run", f"--output_dir={folder}", *TINY),
                *arguments,
                *([*together, f"--process={number}"] if processes > 1 else []),
            ],
            cwd=ROOT,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(processes)
    ]


def finish(running: list[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    try:
        return [
            (one.returncode, text[1]) for one in running for text in [one.communicate(timeout=200)]
        ]
    finally:
        for one in running:
            one.kill()


def end(folder: Path) -> tuple[str, str, str]:
    """The end state, the model that is kept, and the log."""
    steps = [store.newest_good(folder / name, pytest.fail) for name in ("checkpoints", "best")]
    last, kept = (store.digest(step) for step in steps if step)
    return last, kept, (folder / "metrics.jsonl").read_text()


@pytest.mark.parametrize("upload", [(), DP], ids=["plain", "dp"])
def test_the_same_bits_and_any_number_goes_on(tmp_path: Path, upload: tuple[str, ...]) -> None:
    """Two processes are stopped; one goes on, is stopped too, and four finish."""
    settings = "--rounds=120", *upload
    assert [status for status, _ in finish(start(tmp_path / "one", 1, *settings))] == [0]
    folder = tmp_path / "many"
    for processes, stop_after in ((2, 3), (1, 20)):
        running = start(folder, processes, *settings, "--resume")
        log, deadline = folder / "metrics.jsonl", time.monotonic() + 120
        while not log.exists() or log.read_text().count("\n") < stop_after:
            assert running[0].poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        running[-1].send_signal(signal.SIGTERM)
        for status, error in finish(running):
            assert status == 128 + signal.SIGTERM and "stopped after round" in error
    ended = finish(start(folder, 4, *settings, "--resume"))
    assert [status for status, _ in ended] == [0, 0, 0, 0], ended
    assert end(folder) == end(tmp_path / "one")


def test_what_several_processes_cannot_do(tmp_path: Path) -> None:
    for status, error in finish(start(tmp_path / "joint", 2, "--algorithm=joint")):
        assert status == 1 and "--algorithm=joint runs in one process only" in error
    (one,) = finish(start(tmp_path / "alone", 1, "--num_processes=2", "--output_dir="))
    assert one[0] == 1 and "say --output_dir" in one[1]
