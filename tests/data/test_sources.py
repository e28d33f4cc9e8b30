"""Named sources and files of one's own."""

import numpy as np
import platformdirs
import pytest

from pfr_jax.data import Scale, load
from pfr_jax.data.sources import SOURCES
from pfr_jax.data.synthetic import PRESETS
from pfr_jax.errors import InputError


@pytest.fixture
def data_dir(tmp_path):
    (tmp_path / "ml-100k").mkdir()
    (tmp_path / "ml-100k" / "u.data").write_text("2\t9\t4\t881250949\n1\t9\t3\t881250950\n")
    return tmp_path


def test_a_source_is_read_with_its_own_scale_and_name(data_dir):
    ratings = load("ml100k", data_dir)
    assert (ratings.name, ratings.scale) == ("ml100k", Scale(1.0, 5.0, 1.0))
    assert ratings.user_ids[ratings.user].tolist() == [2, 1]
    assert ratings.rating.tolist() == [4.0, 3.0]


def test_the_environment_says_where_data_is_unless_the_caller_does(data_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("PFR_DATA_DIR", str(data_dir))
    assert len(load("ml100k")) == 2
    with pytest.raises(InputError, match="there is no file"):
        load("ml100k", tmp_path / "elsewhere")


def test_without_the_environment_data_is_in_the_cache(data_dir, monkeypatch):
    monkeypatch.delenv("PFR_DATA_DIR", raising=False)
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda name: str(data_dir / name))
    with pytest.raises(InputError) as error:
        load("ml100k")
    assert str(data_dir / "pfr_jax" / "ml-100k" / "u.data") in str(error.value)


def test_a_missing_file_says_what_to_put_where(tmp_path):
    with pytest.raises(InputError) as error:
        load("ml100k", tmp_path)
    message = str(error.value)
    assert str(tmp_path / "ml-100k" / "u.data") in message
    assert "https://files.grouplens.org/datasets/movielens/ml-100k.zip" in message
    assert "--data_dir" in message


def test_a_value_off_the_source_scale_is_refused(data_dir):
    (data_dir / "ml-100k" / "u.data").write_text("2\t9\t4\t8\n1\t9\t3.5\t9\n")
    with pytest.raises(InputError, match=r"u\.data:2: .*not on the scale 1 to 5"):
        load("ml100k", data_dir)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(InputError) as error:
        load("ml-100k")
    for name in [*PRESETS, *SOURCES, "path"]:
        assert name in str(error.value)


def test_a_file_of_ones_own(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("who,what,stars\nann,tea,8\nbob,tea,3\n")
    ratings = load(str(path), columns=("who", "what", "stars"))
    assert ratings.scale == Scale(3.0, 8.0)
    assert ratings.user_ids.tolist() == ["ann", "bob"]
    stated = load(str(path), columns=("who", "what", "stars"), scale=Scale(1.0, 10.0, 1.0))
    assert stated.scale == Scale(1.0, 10.0, 1.0)


@pytest.mark.parametrize("own", [{"columns": (0, 1, 2)}, {"scale": Scale(1.0, 5.0)}])
@pytest.mark.parametrize("dataset", ["synthetic", "ml100k"])
def test_columns_and_scale_are_for_ones_own_files(dataset, own):
    with pytest.raises(InputError, match="leave out --columns and --scale"):
        load(dataset, **own)


def test_the_seed_is_the_generators():
    first, again, other = load("synthetic"), load("synthetic", seed=0), load("synthetic", seed=1)
    np.testing.assert_array_equal(first.rating, again.rating)
    assert not np.array_equal(first.item, other.item)
