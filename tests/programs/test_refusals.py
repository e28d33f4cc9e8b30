"""What ``pfr run`` says in one line, and leaves alone, where it cannot run."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from commands import ENVIRONMENT, ROOT, Finished, assert_one_line, run


def test_what_is_wrong_is_said_in_one_line(place):
    """But for an earlier run, nothing of this trains; the import of the program takes time."""
    data = f"--dataset={place / 'ratings.csv'}"
    first = run(place / "first", data, "--rounds=1").folder
    before = {path: path.read_bytes() for path in first.iterdir() if path.is_file()}
    cases = {
        "unknown": (place / "unknown", [data, "--num_epochs=3"], ["num_epochs"]),
        "enum": (
            place / "enum",
            [data, "--algorithm=fedprox"],
            ["--algorithm", "fedprox", "personalfr"],
        ),
        "missing": (
            place / "missing",
            [f"--dataset={place / 'nowhere.csv'}"],
            ["--dataset", str(place / "nowhere.csv")],
        ),
        "too many users": (
            place / "many",
            [data, "--num_users=41"],
            ["--num_users=41", "40 users"],
        ),
        "not writable": (
            place / "ratings.csv" / "below",
            [data],
            [f"--output_dir={place / 'ratings.csv' / 'below'}", "cannot be written"],
        ),
        "malformed": (
            place / "malformed",
            [f"--dataset={place / 'broken.csv'}"],
            [f"{place / 'broken.csv'}:7:", "'many'"],
        ),
        "cannot fit": (
            place / "memory",
            [data, "--memory_limit=0.001"],
            ["GiB of memory", "--num_users"],
        ),
        "earlier run": (first, [data], [str(first), "already holds a run", "--overwrite"]),
    }
    with ThreadPoolExecutor(2) as pool:
        results = pool.map(lambda case: run(case[0], *case[1]), cases.values())
    for (folder, _, parts), done in zip(cases.values(), results, strict=True):
        assert_one_line(done, *parts)
        assert "Environment" not in done.out or folder == first, "said too late"
        if folder != first:
            assert not folder.is_dir() or not any(folder.iterdir()), "a run that did not begin"
    assert {path: path.read_bytes() for path in first.iterdir() if path.is_file()} == before


def test_a_run_that_cannot_begin_leaves_no_new_folder_either(place):
    """Without --output_dir, and with a device that JAX does not know."""
    work = place / "elsewhere"
    work.mkdir()

    def started(**environment: str) -> Finished:
        broken = f"--dataset={place / 'broken.csv'}"
        done = subprocess.run(
            [sys.executable, "-m", "experiments.run", broken],
            cwd=work,
            env=ENVIRONMENT | {"PYTHONPATH": str(ROOT)} | environment,
            capture_output=True,
            text=True,
        )
        return Finished(done.returncode, done.stdout, done.stderr, work / "runs")

    assert_one_line(started(), f"{place / 'broken.csv'}:7:")
    assert list((work / "runs").iterdir()) == []
    assert_one_line(started(JAX_PLATFORMS="abacus"), "abacus", "JAX_PLATFORMS")


def test_nothing_is_said_of_devices_that_nobody_asked_for(place):
    code = (
        "import experiments, jax; from absl import app, logging; "
        "app.run(lambda argv: logging.info('info is shown: %s', jax.devices()))"
    )
    asked = {name: value for name, value in ENVIRONMENT.items() if name != "JAX_PLATFORMS"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=asked, capture_output=True, text=True
    )
    assert done.returncode == 0 and "info is shown" in done.stderr
    assert "Unable to initialize" not in done.stderr
