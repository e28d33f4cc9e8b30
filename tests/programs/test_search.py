"""``pfr search``: trials that are kept, gone on with, and told."""

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pfr_jax.errors import InputError
from pfr_jax.programs.search_spaces import System
from pfr_jax.programs.trials import FIGURE, Search

SPACE = {"momentum": (0.9, 0.0, 0.5), "hidden_sizes": ((8, 4), (4,)), "center": ("user", "global")}


def figure(settings: dict[str, Any]) -> float:
    """Made up: momentum alone counts, and one value of it diverges."""
    return math.nan if settings["momentum"] == 0.9 else settings["momentum"] - 1.0


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The settings of every trial."""
    found: list[dict[str, Any]] = []

    def try_out(self: Search, system: System, settings: dict[str, Any]) -> list[float]:
        assert isinstance(settings["hidden_sizes"], tuple)
        found.append(settings)
        return [figure(settings) + 0.1, figure(settings) - 0.1]

    monkeypatch.setattr(Search, "try_out", try_out)
    return found


def run(folder: Path, trials: int, seeds: int = 2) -> None:
    Search("some/my.csv", "", seeds, 300, folder).run(System("personalfr", SPACE, {}), trials)


def test_a_search_goes_on_as_if_never_interrupted(
    tried: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path / "whole", 6)
    whole = list(tried)
    assert len(whole) == 6
    assert whole[0] == {name: values[0] for name, values in SPACE.items()}
    tried.clear()
    run(tmp_path / "parts", 4)
    run(tmp_path / "parts", 6)
    run(tmp_path / "parts", 6)
    assert tried == whole
    rows = pd.read_csv(tmp_path / "parts" / "my_personalfr_trials.csv")
    assert [json.loads(text)["momentum"] for text in rows["settings"]] == [
        settings["momentum"] for settings in whole
    ]
    lowest = min(x for x in map(figure, whole) if not math.isnan(x))
    assert rows[FIGURE].min() == pytest.approx(lowest)
    assert f"best: {lowest:+.4f}" in capsys.readouterr().out


def test_what_cannot_be_gone_on_with(tried: list[dict[str, Any]], tmp_path: Path) -> None:
    run(tmp_path, 1)
    with pytest.raises(InputError, match="are of 2 seeds, these of 3"):
        run(tmp_path, 2, seeds=3)
    (tmp_path / "my_personalfr.sqlite3").unlink()
    with pytest.raises(InputError, match="is of another search"):
        run(tmp_path, 2)
