"""``pfr search``: trials over several data sets that are kept, gone on with, and told."""

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pfr_jax.config import Config
from pfr_jax.errors import InputError
from pfr_jax.evaluation.evaluate import simple_baselines
from pfr_jax.programs.search_spaces import SPACES, around
from pfr_jax.programs.trials import FIGURE, Search, relative_figure
from pfr_jax.simulation.loop import simulate
from tests.federations import small_simulation

SPACE = {"momentum": (0.9, 0.0, 0.5), "hidden_sizes": ((8, 4), (4,)), "center": ("user", "global")}
Tried = list[tuple[str, dict[str, Any]]]


def figure(settings: dict[str, Any], dataset: str) -> float:
    """Made up: momentum alone counts, and one value of it diverges."""
    if settings["momentum"] == 0.9:
        return math.nan
    return (settings["momentum"] - 1.0) * (2 if dataset == "other" else 1)


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> Tried:
    """The data set and settings of all that was tried out."""
    found: Tried = []

    def try_out(self: Search, settings: dict[str, Any], dataset: str) -> list[float]:
        assert isinstance(settings["hidden_sizes"], tuple)
        found.append((dataset, settings))
        return [figure(settings, dataset) + 0.1, figure(settings, dataset) - 0.1]

    monkeypatch.setattr(Search, "try_out", try_out)
    return found


def search(folder: Path, seeds: int = 2, **settings: Any) -> Search:
    recipe = Config().with_settings(
        **{"dataset": "some/my.csv,other", "momentum": 0.9, "hidden_sizes": (16,)} | settings
    )
    return Search(recipe, SPACE, seeds, folder / "mine.sqlite3")


def test_a_search_goes_on_as_if_never_interrupted(
    tried: Tried, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search(tmp_path / "whole").run(9)
    whole = list(tried)
    assert whole[0][1] == {"momentum": 0.9, "hidden_sizes": (16,), "center": "auto"}, "the recipe"
    tried.clear()
    search(tmp_path / "parts").run(4)
    search(tmp_path / "parts").run(9)
    search(tmp_path / "parts").run(9)
    assert tried == whole
    rows = pd.read_csv(tmp_path / "parts" / "mine_trials.csv")
    assert [json.loads(text)["momentum"] for text in rows["settings"]] == [
        settings["momentum"] for dataset, settings in whole if dataset == "some/my.csv"
    ]
    momenta = [settings["momentum"] for _, settings in whole]
    lowest = 1.5 * (min(momentum for momentum in momenta if momentum != 0.9) - 1)
    assert f"best: {lowest:+.4f}" in capsys.readouterr().out
    assert rows[FIGURE].min() == pytest.approx(lowest), "the mean over sets and seeds"
    one = rows[rows[FIGURE] == rows[FIGURE].min()].iloc[0]
    assert (one["my_0"] - one["my_1"], one["other_0"] + one["other_1"]) == pytest.approx(
        (0.2, 4 * lowest * 2 / 3)
    )


def test_a_trial_that_is_behind_or_diverged_is_not_tried_further(
    tried: Tried, tmp_path: Path
) -> None:
    search(tmp_path, dataset="a,b,c,other,e,f").run(20)
    trials: dict[int, list[str]] = {id(settings): [] for _, settings in tried}
    momentum = {id(settings): settings["momentum"] for _, settings in tried}
    for dataset, settings in tried:
        trials[id(settings)].append(dataset)
    found = [(momentum[key], "".join(sets)) for key, sets in trials.items()]
    assert len(found) == 20, "they count as trials"
    assert {sets for momentum, sets in found if momentum == 0.9} == {"a"}
    assert {sets for momentum, sets in found if momentum == 0.0} == {"abcotheref"}, "the best one"
    # Four of four that are worse are by chance in one case of 16; three in one of 8.
    after = found[[momentum for momentum, _ in found].index(0.0) :]
    assert {sets for momentum, sets in after if momentum == 0.5} == {"abcother"}
    rows = pd.read_csv(tmp_path / "mine_trials.csv")
    assert list(rows["f_0"].isna()) == [not sets.endswith("f") for _, sets in found]


def test_what_cannot_be_gone_on_with(tried: Tried, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="diverged in all trials"):
        search(tmp_path / "diverging").run(1)
    search(tmp_path, momentum=0.5).run(1)
    with pytest.raises(InputError, match="are of --num_seeds=2, and these of --num_seeds=3"):
        search(tmp_path, seeds=3, momentum=0.5).run(2)
    with pytest.raises(InputError, match="are of --dropout=0.2, and these of --dropout=0.3"):
        search(tmp_path, dropout=0.3, momentum=0.5).run(2)
    (tmp_path / "mine.sqlite3").unlink()
    with pytest.raises(InputError, match="is of another search"):
        search(tmp_path, momentum=0.5).run(2)


@pytest.mark.parametrize("space", SPACES)
def test_spaces_are_of_settings(space: str) -> None:
    recipe = Config()
    for name, values in around(recipe.flat(), SPACES[space]).items():
        assert values[0] == recipe.flat()[name]
        assert len(set(values)) == len(values)
        assert all(type(value) is type(values[0]) for value in values), name


def test_a_figure_is_relative_to_the_best_simple_baseline() -> None:
    simulation = small_simulation(rounds=2, eval_every=1, validation_fraction=0.2)
    split = simulation.split
    found = relative_figure(simulation)
    rmse = min(r.evaluation.validation.rmse for r in simulate(simulation) if r.evaluation)
    reference = simple_baselines(simulation, split.train)(split.validation, split.train)
    simple = "user_mean", "item_mean", "bias_only", "adaptive_bias"
    best = min(reference[name].figures.rmse for name in simple)
    assert found == pytest.approx(rmse / best - 1)
