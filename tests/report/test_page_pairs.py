"""The page's comparison of runs, user by user."""

from pathlib import Path

import numpy as np
import pytest
from pages import USERS, inlined, tables_of, write_run

from pfr_jax.report.comparison import RunTable, compare
from pfr_jax.report.page.build import page
from pfr_jax.report.page.finished import FinishedRun, read_runs
from pfr_jax.report.page.pairs import pairs_of, pairs_section


def of_errors(folder: Path, *errors: np.ndarray | list[float]) -> list[FinishedRun]:
    """Runs a, b, ... with these test figures of users."""
    names = "abcdef"[: len(errors)]
    return read_runs(
        [
            write_run(folder / name, errors=np.asarray(own))
            for name, own in zip(names, errors, strict=True)
        ]
    )


def test_runs_of_one_split_are_compared_user_by_user(tmp_path: Path) -> None:
    """The second is better by 0.1 for the first 15 users, worse by 0.1 for 5: the mean is -0.05."""
    second = np.where(np.arange(USERS) < 15, 0.8, 1.0)
    runs = read_runs(
        [
            write_run(tmp_path / "a"),
            write_run(tmp_path / "b", algorithm="fedavg", errors=second),
            write_run(tmp_path / "c", split_seed=1),
        ]
    )
    (pair,) = pairs_of(runs)
    (lowest, highest), difference = pair.found.interval, pair.found.mean_difference
    assert pair.name == "b less a" and difference == pytest.approx(-0.05)
    assert -0.1 <= lowest < difference < highest < 0
    html = page(runs)
    word, users, mean, low, high, better, worse, *p = tables_of(html)[
        "Differences between runs, over users"
    ]["b less a"]
    assert (word, users, mean) == ("b is better", "20", "-0.0500")
    assert (better, worse) == ("75.0%", "25.0%")
    assert (low, high) == (f"{lowest:+.4f}", f"{highest:+.4f}")
    assert p == [f"{pair.found.p_value:.2g}"] * 2
    charts = inlined(html, "charts")
    (tenths,) = charts["pairs-activity"]["traces"]  # the eighth has a user of either kind
    assert tenths["y"] == pytest.approx([-0.1] * 7 + [0] + [0.1] * 2)
    (deciles,) = charts["pairs-deciles"]["traces"]
    assert deciles["x"][-1] == 90 and deciles["y"] == pytest.approx([-0.1] * 7 + [0.1] * 2)


def test_p_values_are_corrected_as_compare_does(tmp_path: Path) -> None:
    """For all pairs of the page together."""
    draw = np.random.default_rng(0).normal
    errors = [draw(mean, 0.1, USERS) for mean in (0.9, 0.95, 1.0)]
    runs = of_errors(tmp_path, *errors)
    at_once = compare([RunTable(run.name, run.task, run.users) for run in runs])
    pairs = pairs_of(runs)
    assert [pair.found for pair in pairs] == list(at_once)
    assert any(pair.found.p_holm > pair.found.p_value for pair in pairs)
    assert [pair.dash for pair in pairs] == ["solid", "dash", "dot"]  # all are of one colour
    assert "all 3 pairs were looked at" in " ".join(pairs_section(runs).notes)


@pytest.mark.parametrize(
    ("second", "word"),
    [
        ([0.8] * 15 + [1.0] * 5, "b is better"),
        ([1.0] * 20, "a is better"),
        ([0.9] * 20, "not clear"),
        ([0.8] * 17 + [5.0] * 3, "not clear"),  # most gain a little, few lose much
    ],
)
def test_what_is_said_in_a_word(tmp_path: Path, second: list[float], word: str) -> None:
    (pair,) = pairs_of(of_errors(tmp_path, [0.9] * USERS, second))
    assert pair.verdict == word


def test_no_two_runs_of_one_split(tmp_path: Path) -> None:
    runs = read_runs([write_run(tmp_path / "a"), write_run(tmp_path / "b", split_seed=1)])
    assert pairs_section(runs).notes == ("No two runs share users and test ratings.",)
