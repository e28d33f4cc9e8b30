"""Runs that are stopped, killed, refused or out of room, as their user meets them."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TINY = (
    *("--num_users=40", "--hidden_sizes=8,4", "--max_buckets=1", "--local_epochs=1"),
    *("--eval_every=1", "--checkpoint_every=3", "--num_devices=2"),
)
# A shell without job control starts background jobs with SIGINT ignored, and the tests with it.
HEEDING_SIGINT = (
    "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "runpy.run_module('experiments.run', run_name='__main__', alter_sys=True)"
)


@pytest.fixture(scope="module", autouse=True)
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the processes start with; programs that several of them run are compiled once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
        patch.setenv("JAX_PLATFORMS", "cpu")
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path_factory.mktemp("compiled")))
        yield


def start(folder: Path, *arguments: str, before: str = "") -> subprocess.Popen[str]:
    """``before`` is code that the process executes first."""
    code = f"{before}; {HEEDING_SIGINT}" if before else HEEDING_SIGINT
    return subprocess.Popen(
        [sys.executable, "-c", code, f"--output_dir={folder}", *TINY, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, error = process.communicate(timeout=300)
    return process.returncode, out, error


def wait_for_rounds(process: subprocess.Popen[str], folder: Path, rounds: int) -> None:
    log, deadline = folder / "metrics.jsonl", time.monotonic() + 120
    while not log.exists() or log.read_text().count("\n") < rounds:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)


def summary_of(folder: Path) -> str:
    """The text of summary.json, the order of its fields included, but for times and memory."""
    content = json.loads((folder / "summary.json").read_text())
    for varies in ("seconds", "seconds_retrained", "peak_rss_bytes", "peak_device_bytes"):
        content.pop(varies, None)
    return json.dumps(content)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_goes_on_where_it_was(tmp_path: Path, number: int) -> None:
    rounds = "--rounds=300", "--retrain"
    alone = start(tmp_path / "alone", *rounds)
    folder = tmp_path / "stopped"
    process = start(folder, *rounds)
    wait_for_rounds(process, folder, 5)
    process.send_signal(number)
    status, _, error = finish(process)
    assert status == 128 + number and error.startswith("stopped after round ")
    assert error.count("\n") == 1 and f"--resume --output_dir={folder}" in error
    stopped = int(error.split(";")[0].split()[-1])
    log = (folder / "metrics.jsonl").read_text()
    assert [json.loads(line)["round"] for line in log.splitlines()] == [*range(1, stopped + 1)]
    status, out, error = finish(start(folder, *rounds, "--resume"))
    assert (status, error) == (0, "") and f"Going on after round {stopped}." in out
    assert finish(alone)[0] == 0
    assert (folder / "metrics.jsonl").read_text() == (
        tmp_path / "alone" / "metrics.jsonl"
    ).read_text()
    assert (folder / "per_user.csv").read_text() == (
        tmp_path / "alone" / "per_user.csv"
    ).read_text()
    assert summary_of(folder) == summary_of(tmp_path / "alone")
    assert (folder / "config.json").read_text() == (tmp_path / "alone" / "config.json").read_text()


def test_a_finished_run_is_made_longer(tmp_path: Path) -> None:
    """Where the schedule allows it; meanwhile its ratings have moved."""
    first, moved = tmp_path / "first.csv", tmp_path / "moved.csv"
    lines = [f"{user},{item},{1 + (user * item) % 5}" for user in range(40) for item in range(20)]
    first.write_text("\n".join(["user,item,rating", *lines, ""]))
    settings = ("--num_users=0", "--retrain", "--schedule=constant")
    alone = start(tmp_path / "alone", *settings, f"--dataset={first}", "--rounds=14")
    folder = tmp_path / "longer"
    assert finish(start(folder, *settings, f"--dataset={first}", "--rounds=8"))[0] == 0
    assert json.loads((folder / "summary.json").read_text())["rounds"] == 8
    moved.write_text(first.read_text())
    longer = (*settings, f"--dataset={moved}", "--rounds=14", "--resume")
    status, out, error = finish(start(folder, *longer, "--top_k=5"))
    assert (status, error) == (0, "") and "Going on after round 8." in out
    assert finish(alone)[0] == 0
    users = [(path / "per_user.csv").read_text() for path in (folder, tmp_path / "alone")]
    assert users[0] == users[1]
    assert summary_of(folder) == summary_of(tmp_path / "alone").replace(str(first), str(moved))
    config = json.loads((folder / "config.json").read_text())
    assert (config["rounds"], config["dataset"]) == (14, str(moved))
    earlier = {"up_to_round": 8, "rounds": 8, "dataset": str(first), "top_k": 10}
    assert config["earlier"] == [earlier]

    moved.write_text(first.read_text().replace("3,7,2", "3,7,4"))
    fewer = (*settings, f"--dataset={first}", "--rounds=9", "--resume")
    cosine = (*settings[:2], f"--dataset={first}", "--rounds=20", "--resume")
    refused = {
        "the ratings are not those of the run": longer,
        "--rounds=9: 14 rounds are done already": fewer,
        "--schedule was constant, is cosine": cosine,
    }
    for said, arguments in refused.items():
        status, _, error = finish(start(folder, *arguments))
        assert status == 1 and said in error and error.count("\n") == 1, error


@pytest.mark.parametrize(
    ("feedback", "change", "said"),
    [
        (("--feedback=implicit", "--implicit_threshold=3.5"), "top_k=3", "--top_k was 10, is 3"),
        ((), "model_shrinkage=1e6", "--model_shrinkage was None, is 1000000.0"),
    ],
)
def test_looked_at_otherwise_from_here_on(
    tmp_path: Path, feedback: tuple[str, ...], change: str, said: str
) -> None:
    """Figures of earlier rounds decide nothing any more."""
    folder = tmp_path / "run"
    settings = (*feedback, "--schedule=constant")
    assert finish(start(folder, *settings, "--rounds=9"))[0] == 0
    other = (*settings, f"--{change}", "--resume")
    status, _, error = finish(start(folder, *other, "--rounds=9"))
    assert status == 1 and f"{said}: all 9 rounds are done" in error
    status, out, error = finish(start(folder, *other, "--rounds=12", "--eval_every=2"))
    assert (status, error) == (0, "") and "earlier figures are not comparable" in out
    assert json.loads((folder / "summary.json").read_text())["selected_round"] > 9
    log = (folder / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["round"] for line in log] == [*range(1, 10), 10, 12]


def test_what_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    running = start(folder, "--rounds=1000000")
    wait_for_rounds(running, folder, 4)
    status, _, error = finish(start(folder, "--rounds=1000000", "--resume"))
    assert status == 1 and "another process is writing a run there" in error
    running.kill()
    finish(running)
    status, _, error = finish(start(folder, "--rounds=1000000", "--resume", "--dropout=0.3"))
    assert status == 1 and "--dropout was 0.2, is 0.3" in error and error.count("\n") == 1
    log = folder / "metrics.jsonl"
    log.write_text(log.read_text().replace("1", "2", 1))
    status, _, error = finish(start(folder, "--rounds=1000000", "--resume"))
    assert status == 1 and f"{log} is not the log" in error


def test_resuming_where_nothing_is_begins(tmp_path: Path) -> None:
    status, out, _ = finish(start(tmp_path / "new", "--rounds=2", "--resume"))
    assert status == 0 and "Going on" not in out
    # And a finished run is told again, not made again.
    status, out, _ = finish(start(tmp_path / "new", "--rounds=2", "--resume"))
    assert status == 0 and "compile 0.0" not in out.split("Test figures")[0]
    assert len((tmp_path / "new" / "metrics.jsonl").read_text().splitlines()) == 2


def test_out_of_room(tmp_path: Path) -> None:
    """Files may grow to 30 kB: the first checkpoint with more does not get written.

    Which is that of round 3, or the selected model before it, if there was time for one.
    """
    folder = tmp_path / "run"

    little = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))"
    uncached = "import os; os.environ['JAX_ENABLE_COMPILATION_CACHE'] = '0'"  # also out of room
    status, _, error = finish(start(folder, "--rounds=9", before=f"{little}; {uncached}"))
    # Orbax's threads may say something, too: before it, after it, or on the same line.
    assert status == 1, (status, error)
    assert len(re.findall("error: the checkpoint of round [123] cannot be written", error)) == 1, (
        error
    )
    assert "There is no earlier one" in error
    assert finish(start(folder, "--rounds=9", "--resume"))[0] == 0
    assert not list(folder.glob("*/*.partial"))


DP = (
    *("--upload=dp", "--noise_multiplier=1", "--denominator=expected", "--cohort_fraction=1"),
    *("--weighting=clients", "--ridge=0", "--clip_quantile=0.5"),
)


@pytest.mark.parametrize("upload", [(), DP], ids=["plain", "dp"])
def test_chaos(tmp_path: Path, upload: tuple[str, ...]) -> None:
    """The short version of what pfr chaos does."""
    settings = (f"--set={flag[2:]}" for flag in (*TINY, *upload) if "checkpoint" not in flag)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "experiments.chaos", "--kills=5", "--damages=60"),
            *("--algorithms=personalfr", f"--folder={tmp_path / 'chaos'}", *settings),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    assert "personalfr: 5 kills" in done.stdout and "60 damages, none used" in done.stdout


def test_differential_privacy_goes_on_and_pays_on(tmp_path: Path) -> None:
    """The same noise, every round paid for once; where it may run on, and where it may not."""
    private = ("--preset=private", "--members=1", "--hidden_sizes=4,2", "--cohort_fraction=0.5")
    private = (*private, "--eval_every=1", "--schedule=constant")
    settings = (*private, "--noise_multiplier=2")
    alone, folder = tmp_path / "alone", tmp_path / "run"
    assert finish(start(alone, *settings, "--rounds=9", "--release_multiplier=3"))[0] == 0
    shorter = (*settings, "--rounds=6", "--release_multiplier=3")
    assert finish(start(folder, *shorter))[0] == 0
    before = json.loads((folder / "summary.json").read_text())["privacy"]
    longer = (*settings, "--rounds=9", "--release_multiplier=3", "--resume")
    status, out, error = finish(start(folder, *longer))
    assert (status, error) == (0, "") and "Going on after round 6." in out
    assert summary_of(folder) == summary_of(alone)
    after = json.loads((folder / "summary.json").read_text())["privacy"]
    assert 0 < before["epsilon"] < after["epsilon"] and after["rounds"] == 9
    logs = [(path / "metrics.jsonl").read_text().splitlines() for path in (folder, alone)]
    (spent, losses), other = (
        [[json.loads(line)[n] for line in log] for n in ("epsilon", "loss")] for log in logs
    )
    assert [spent, losses] == other and spent == sorted(spent) and spent[5] == before["epsilon"]

    other = tmp_path / "other"
    budget = (*private, "--epsilon=8", "--rounds=6")
    assert finish(start(other, *budget))[0] == 0
    refused = {
        "the noise was found for so many": (other, *budget[:-1], "--rounds=9"),
        "the sums before the first round had another noise": (folder, *settings, "--rounds=12"),
    }
    for said, (where, *arguments) in refused.items():
        status, _, error = finish(start(where, *arguments, "--resume"))
        assert status == 1 and said in error and error.count("\n") == 1, error
