"""``best/``: the model that a run's figures are of."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from federations import ragged_ratings, small_config

from pfr_jax.data.splits import random_split
from pfr_jax.errors import InputError
from pfr_jax.recommend.loading import load_run
from pfr_jax.runs import kept
from pfr_jax.runs.checkpoints import steps, store
from pfr_jax.runs.experiment import train
from pfr_jax.runs.trainer import Report

RATINGS = ragged_ratings(20, 23)
TINY: dict[str, Any] = {
    "validation_fraction": 0.2,
    "test_fraction": 0.2,
    "hidden_sizes": (5,),
    "max_buckets": 1,
    "rounds": 6,
    "eval_every": 1,
    "checkpoint_every": 2,
    "keep_checkpoints": 1,
    "client_learning_rate": 0.3,
    "center": "user",
    "baselines": "simple",
}


def run(folder: Path, **changes: Any) -> Report:
    resume = changes.pop("resume", False)
    config = small_config(**{**TINY, **changes})
    return train(config, folder, ratings=RATINGS, resume=resume)


def digest_of_best(folder: Path) -> str:
    return store.digest(steps.verified(steps.step_paths(folder / kept.BEST)[-1]))


def test_however_it_was_written_it_is_the_selected_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "SHARE", 1.0)  # every better round is written
    report = run(tmp_path / "always")
    selected = report.summary["selected_round"]
    assert selected < TINY["rounds"]
    monkeypatch.setattr(kept.KeptModel, "offer", lambda *args: 0.0)  # none is: trained once more
    assert run(tmp_path / "never").summary["selected_round"] == selected
    for name in ("always", "never"):
        places = steps.step_paths(tmp_path / name / kept.BEST)
        assert [place.name for place in places] == [f"round_{selected:08d}"]
    assert digest_of_best(tmp_path / "always") == digest_of_best(tmp_path / "never")

    recommender = load_run(tmp_path / "never", ratings=RATINGS)
    rows = recommender.simulation.split.test
    stars = recommender.predict(
        RATINGS.user_ids[RATINGS.user[rows]], RATINGS.item_ids[RATINGS.item[rows]]
    )
    error = np.sqrt(np.mean((stars - RATINGS.rating[rows]) ** 2))
    assert error == pytest.approx(report.summary["test"]["rmse"], abs=1e-9)
    assert recommender.round == selected


def test_a_resumed_run_keeps_it_too(tmp_path: Path) -> None:
    constant = {"schedule": "constant"}
    run(tmp_path / "whole", **constant)
    run(tmp_path / "parts", **constant, rounds=4)
    run(tmp_path / "parts", **constant, resume=True)
    assert digest_of_best(tmp_path / "parts") == digest_of_best(tmp_path / "whole")


def test_with_retrain_the_second_training_is_kept(tmp_path: Path) -> None:
    report = run(tmp_path, retrain=True)
    recommender = load_run(tmp_path, ratings=RATINGS)
    assert recommender.round == report.summary["selected_round"]
    split = random_split(len(RATINGS), 0.2, 0.2, 0)
    assert len(recommender.simulation.split.train) == len(split.train) + len(split.validation)
    rows = split.test
    users, items = RATINGS.user_ids[RATINGS.user[rows]], RATINGS.item_ids[RATINGS.item[rows]]
    error = np.sqrt(np.mean((recommender.predict(users, items) - RATINGS.rating[rows]) ** 2))
    assert error == pytest.approx(report.summary["test_retrained"]["rmse"], abs=1e-9)


def test_what_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no run that can be read"):
        load_run(tmp_path)
    run(tmp_path / "run", rounds=1, checkpoints=False)
    with pytest.raises(InputError, match="has kept no model.*--nocheckpoints"):
        load_run(tmp_path / "run", ratings=RATINGS)
    run(tmp_path / "kept", rounds=1)
    others = dataclasses.replace(RATINGS, rating=RATINGS.rating[::-1].copy())
    with pytest.raises(InputError, match="the ratings are not those of the run"):
        load_run(tmp_path / "kept", ratings=others)
