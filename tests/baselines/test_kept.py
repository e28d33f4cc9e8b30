"""What is kept is what was computed, or it is computed again."""

import json
import logging
from pathlib import Path

import pytest

from pfr_jax.baselines.kept import kept

KEY = {"baseline": "x", "version": 1}
CONTENT = {"figures": {"rmse": 0.1 + 0.2}, "warm": None}


class Computed:
    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> dict:
        self.times += 1
        return CONTENT


def test_the_second_time_nothing_is_computed(tmp_path: Path) -> None:
    compute = Computed()
    found = [kept(tmp_path / "new", KEY, compute) for _ in range(2)]
    assert found == [CONTENT, CONTENT] and compute.times == 1
    assert len(list((tmp_path / "new").iterdir())) == 1  # nothing unfinished is left


def test_what_is_no_number_comes_back(tmp_path: Path) -> None:
    for _ in range(2):
        found = kept(tmp_path, KEY, lambda: {"figure": float("nan")})
        assert found["figure"] != found["figure"]


def test_another_key_is_another_entry(tmp_path: Path) -> None:
    compute = Computed()
    for version in (1, 2, 1):
        kept(tmp_path, {**KEY, "version": version}, compute)
    assert compute.times == 2


@pytest.mark.parametrize("fault", ["cut", "empty", "a list", "a digit", "of something else"])
def test_a_damaged_entry_is_made_again(
    tmp_path: Path, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    compute = Computed()
    kept(tmp_path, KEY, compute)
    (entry,) = tmp_path.iterdir()
    text = entry.read_text()
    other = json.dumps({**json.loads(text), "key": {"baseline": "y"}})
    faulty = {
        "cut": text[:-20],
        "empty": "",
        "a list": "[]",
        "a digit": text.replace("0.30000000000000004", "0.20000000000000004"),
        "of something else": other,
    }
    entry.write_text(faulty[fault])
    with caplog.at_level(logging.WARNING):
        assert kept(tmp_path, KEY, compute) == CONTENT
    assert compute.times == 2 and "computing them again" in caplog.text
    kept(tmp_path, KEY, compute)
    assert compute.times == 2


def test_without_a_folder_it_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("no folder")
    with caplog.at_level(logging.WARNING):
        assert kept(tmp_path / "file" / "below", KEY, Computed()) == CONTENT
    assert "going on without" in caplog.text
