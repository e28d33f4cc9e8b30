"""From settings to ratings and their split: files, filters and paths as flags name them."""

from pathlib import Path

import numpy as np
import pytest

from pfr_jax.config import DataConfig
from pfr_jax.data import ReadOptions
from pfr_jax.errors import InputError
from pfr_jax.simulation.loading import load_ratings, read_options

LINES = [(user, item, 1 + (user * item) % 5) for user in range(6) for item in range(user + 2)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Home, with train.csv and test.csv."""
    text = "user;item;rating\n" + "".join(f"{u};{i};{r}\n" for u, i, r in LINES)
    (tmp_path / "train.csv").write_text(text)
    (tmp_path / "test.csv").write_text("user;item;rating\n0;9;3\n1;9;4\n1;9;5\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PLACE", str(tmp_path))
    return tmp_path


def test_settings_become_read_options():
    config = DataConfig(
        columns=("3", "0", "2", "1"),
        separator=r"\t",
        header="no",
        scale=(0.5, 5.0, 0.5),
        duplicates="mean",
        rating_range=(1.0, 5.0),
    )
    options = read_options(config)
    assert options.columns == (3, 0, 2, 1) and options.separator == "\t"
    assert options.header is False and options.rating_range == (1.0, 5.0)
    assert (options.scale.step, options.duplicates) == (0.5, "mean")
    assert read_options(DataConfig()) == ReadOptions()
    assert read_options(DataConfig(columns=("0", "1", "stars"))).columns == ("0", "1", "stars")


@pytest.mark.parametrize("place", ["~", "$PLACE", "${PLACE}"])
def test_every_path_is_expanded_alike(folder, place):
    config = DataConfig(
        dataset=f"{place}/train.csv", test_file=f"{place}/test.csv", duplicates="last"
    )
    ratings, split = load_ratings(config)
    assert len(split.train) == len(LINES) and len(split.test) == 2
    assert ratings.rating[split.test].tolist() == [3.0, 5.0]


def test_a_split_of_ones_own_wants_a_file_to_train_on(folder):
    config = DataConfig(dataset="ml100k", test_file=str(folder / "test.csv"))
    with pytest.raises(InputError, match="--test_file goes with a training file .* not ml100k"):
        load_ratings(config)


@pytest.mark.parametrize("name", ["num_users", "min_ratings_per_user", "min_ratings_per_item"])
def test_a_split_of_ones_own_is_not_changed(folder, name):
    config = DataConfig(
        dataset=str(folder / "train.csv"), validation_file=str(folder / "test.csv"), **{name: 3}
    )
    with pytest.raises(InputError, match=f"--{name} cannot change .* .--validation_file."):
        load_ratings(config)


def test_filters_come_before_the_split_and_the_sample(folder):
    """User 0 has 2 ratings, item 6 one; without it user 5 still has enough."""
    config = DataConfig(
        dataset=str(folder / "train.csv"), min_ratings_per_user=3, min_ratings_per_item=2
    )
    ratings, split = load_ratings(config)
    assert ratings.user_ids.tolist() == [1, 2, 3, 4, 5]
    assert ratings.item_ids.tolist() == [0, 1, 2, 3, 4, 5]
    assert ratings.removed == {"of_rare_users_or_items": 3}
    parts = np.concatenate([split.train, split.validation, split.test])
    assert sorted(parts.tolist()) == list(range(len(LINES) - 3))
