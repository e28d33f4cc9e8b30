"""Ctrl-C at any moment: one line, and what was written so far stays."""

import signal
import subprocess
import sys
import time

import pytest
from commands import ENVIRONMENT, ROOT, Finished, assert_one_line, command

# It starts the command as a terminal would, whatever has been done to SIGINT.
AS_A_TERMINAL = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def start(code: str, arguments: list[str]) -> subprocess.Popen[str]:
    """Python, running this code with these arguments."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("seconds", [0.3, 0.8, 1.6, 2.5, 4.0])
def test_ctrl_c_at_any_moment(place, seconds):
    """While modules are imported, data read, programs compiled or rounds run."""
    folder = place / f"interrupted_after_{seconds}"
    arguments = [f"--dataset={place / 'ratings.csv'}", "--rounds=1000000"]
    process = start(AS_A_TERMINAL, command(folder, arguments)[1:])
    try:
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    if process.returncode == -signal.SIGINT:  # a busy machine: Python itself was not yet there
        assert err == "" and not folder.exists()
        return
    assert process.returncode == 130
    assert err.count("\n") == 1 and err.startswith(("interrupted; ", "stopped after round ")), err


# A shell without job control starts background jobs with SIGINT ignored, and the tests with it.
HEEDING_SIGINT = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("experiments.run", run_name="__main__", alter_sys=True)
"""


def test_an_interrupted_run_keeps_its_log(place):
    folder = place / "interrupted"
    arguments = [f"--dataset={place / 'ratings.csv'}", "--rounds=1000000", "--eval_every=1"]
    arguments += ["--nocheckpoints"]
    process = start(HEEDING_SIGINT, command(folder, arguments)[3:])
    try:
        log, deadline = folder / "metrics.jsonl", time.monotonic() + 120
        while not log.exists() or log.read_text().count("\n") < 3:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    done = Finished(process.returncode, "", err, folder)
    assert_one_line(done, "interrupted")
    rounds = [line["round"] for line in done.lines("metrics.jsonl")]
    assert rounds == list(range(1, len(rounds) + 1)) and len(rounds) >= 3
    assert not (folder / "summary.json").exists()


LOST = """
import gc, signal, time
from pfr_jax.programs.flags import one_line_errors

def interrupt(phase, info):
    gc.callbacks.remove(interrupt)
    signal.raise_signal(signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
with one_line_errors():
    gc.callbacks.append(interrupt)
    gc.collect()
    # Many short sleeps: a signal that comes just before a sleep begins is heeded at its end.
    for _ in range(600):
        time.sleep(0.1)
"""


SWALLOWED = """
import signal, time
from pfr_jax.programs.flags import one_line_errors

signal.signal(signal.SIGINT, signal.default_int_handler)
with one_line_errors():
    for _ in range(2):
        try:
            signal.raise_signal(signal.SIGINT)
        except BaseException:
            pass
    for _ in range(600):
        time.sleep(0.1)
"""


@pytest.mark.parametrize("code", [LOST, SWALLOWED], ids=["callback", "swallowed"])
def test_a_ctrl_c_is_not_lost(code):
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=50
    )
    assert (done.returncode, done.stderr) == (130, "interrupted; what was written so far stays\n")
