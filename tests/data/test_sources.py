"""Named sources and files of one's own."""

import dataclasses

import numpy as np
import platformdirs
import pytest

from pfr_jax.data import ReadOptions, Scale, load
from pfr_jax.data.sources import SOURCES, cache_directory
from pfr_jax.data.synthetic import PRESETS, generate
from pfr_jax.data.writers import write_ratings
from pfr_jax.errors import InputError

NAMES = ("who", "what", "stars")


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
    ratings = load(str(path), options=ReadOptions(columns=NAMES))
    assert ratings.scale == Scale(3.0, 8.0)
    assert ratings.user_ids.tolist() == ["ann", "bob"]
    stated = load(str(path), options=ReadOptions(NAMES, scale=Scale(1.0, 10.0, 1.0)))
    assert stated.scale == Scale(1.0, 10.0, 1.0)


@pytest.mark.parametrize(
    ("flags", "own"),
    [
        ("--columns", {"columns": (0, 1, 2)}),
        ("--scale", {"scale": Scale(1.0, 5.0)}),
        ("--separator and --header", {"separator": ";", "header": True}),
    ],
)
@pytest.mark.parametrize("dataset", ["synthetic", "ml100k"])
def test_what_describes_a_file_is_for_ones_own(dataset, flags, own):
    with pytest.raises(InputError, match=f"{dataset} is known; leave out {flags},"):
        load(dataset, options=ReadOptions(**own))


def test_of_a_source_ratings_may_be_dropped_and_settled(data_dir):
    path = data_dir / "ml-100k" / "u.data"
    path.write_text("2\t9\t4\t8\n1\t9\t1\t9\n2\t9\t2\t5\n")
    options = ReadOptions(duplicates="last", rating_range=(2.0, 5.0))
    ratings = load("ml100k", data_dir, options)
    assert (ratings.rating.tolist(), ratings.scale) == ([4.0], Scale(1.0, 5.0, 1.0))
    assert ratings.removed == {"outside_rating_range": 1, "rated_again": 1}
    assert load("ml100k", data_dir, options).removed == ratings.removed  # from the cache


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("ml-100k", "ml100k"),
        ("movielens1m", "ml1m"),
        ("MovieLens-20M", "ml20m"),
        ("ml_25m", "ml25m"),
        ("synthetic_ml1m", "synthetic-ml1m"),
        ("animes", "anime"),
    ],
)
def test_a_near_miss_of_a_name_gets_a_suggestion(given, meant):
    with pytest.raises(InputError, match=f"did you mean {meant}\\?"):
        load(given)


def test_a_far_miss_gets_none():
    with pytest.raises(InputError, match="neither a known data set nor a file. Want one of"):
        load("netflix")


def test_paths_may_begin_at_home_or_in_a_variable(tmp_path, monkeypatch):
    (tmp_path / "own.csv").write_text("user,item,rating\n1,2,3\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PLACE", str(tmp_path))
    assert len(load("~/own.csv")) == len(load("$PLACE/own.csv")) == 1


def test_a_source_fetched_by_hand_prints_its_own_instructions(tmp_path, monkeypatch):
    other = dataclasses.replace(SOURCES["anime"], name="other", by_hand="Ask Ann for {path}")
    monkeypatch.setitem(SOURCES, "other", other)
    with pytest.raises(InputError, match=f"Ask Ann for {tmp_path}/anime/rating.csv$"):
        load("other", tmp_path)


def test_the_seed_is_the_generators():
    first, again, other = load("synthetic"), load("synthetic", seed=0), load("synthetic", seed=1)
    np.testing.assert_array_equal(first.rating, again.rating)
    assert not np.array_equal(first.item, other.item)


LINES = {
    "ml100k": ("ml-100k/u.data", "2\t9\t4\t7\n", "1\t9\t{}\t7\n", "3.5", "6"),
    "ml1m": ("ml-1m/ratings.dat", "2::9::4::7\n", "1::9::{}::7\n", "3.5", "0"),
    "ml10m": ("ml-10M100K/ratings.dat", "2::9::4::7\n", "1::9::{}::7\n", "3.25", "5.5"),
}
for year in ("20", "25", "32"):
    head = "userId,movieId,rating,timestamp\n2,9,4.0,7\n"
    LINES[f"ml{year}m"] = (f"ml-{year}m/ratings.csv", head, "1,9,{},7\n", "3.25", "0.0")


@pytest.mark.parametrize("name", LINES)
def test_every_movielens_is_read_as_it_is_stored(tmp_path, name):
    file, head, row, between, outside = LINES[name]
    path = tmp_path / file
    path.parent.mkdir()
    path.write_text(head + row.format(3))
    ratings = load(name, tmp_path)
    assert ratings.user_ids[ratings.user].tolist() == [2, 1]
    assert ratings.rating.tolist() == [4.0, 3.0]
    half = name not in ("ml100k", "ml1m")
    assert ratings.scale == (Scale(0.5, 5.0, 0.5) if half else Scale(1.0, 5.0, 1.0))
    assert (ratings.name, ratings.threshold) == (name, 3.5)
    line = head.count("\n") + 1
    for stars in (between, outside):
        path.write_text(head + row.format(stars))
        with pytest.raises(InputError, match=f"{path}:{line}: .*{stars} is not on the scale"):
            load(name, tmp_path)
    for wrong in ("1", "99999999", "x"):  # too few fields, an absurd id, no number
        path.write_text(head + (wrong if wrong == "1" else row.format(3).replace("9", wrong)))
        with pytest.raises(InputError, match=f"{path}:{line}: "):
            load(name, tmp_path)


@pytest.mark.parametrize("name", [name for name in SOURCES if name != "anime"])
def test_archives_are_the_official_ones(name):
    archive = SOURCES[name].archive
    assert archive.url == f"https://files.grouplens.org/datasets/movielens/ml-{name[2:]}.zip"
    algorithm, digest = archive.known_hash.split(":")
    assert len(digest) == {"sha256": 64, "md5": 32}[algorithm]
    assert archive.size > 1e6


@pytest.mark.parametrize(
    ("preset", "layout", "name"),
    [
        ("synthetic", "ml-100k", "ml100k"),
        ("synthetic", "ml-10m", "ml10m"),
        ("synthetic", "ml-20m", "ml20m"),
        ("synthetic", "ml-25m", "ml25m"),
        ("synthetic", "ml-32m", "ml32m"),
        ("synthetic-ml1m", "ml-1m", "ml1m"),
    ],
)
def test_generated_files_are_read_by_name(tmp_path, preset, layout, name):
    ratings = generate(PRESETS[preset])
    write_ratings(ratings, tmp_path, layout)
    for _ in range(2):  # the second time from the cache
        back = load(name, tmp_path)
        for field in ("user", "item", "rating", "user_ids", "item_ids"):
            np.testing.assert_array_equal(getattr(back, field), getattr(ratings, field))
        assert back.threshold == 3.5


def test_parsed_files_are_kept_where_the_environment_says(data_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("PFR_CACHE_DIR", str(tmp_path / "kept"))
    own = tmp_path / "own.csv"
    own.write_text("user,item,rating\n1,2,3\n")
    load("ml100k", data_dir)
    load(str(own))
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").iterdir()}
    assert len(kept) == 2
    load("ml100k", data_dir)
    load(str(own))
    load("synthetic")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").iterdir()} == kept
    assert load(str(own), options=ReadOptions(scale=Scale(1.0, 5.0))).scale == Scale(1.0, 5.0)

    monkeypatch.delenv("PFR_CACHE_DIR")
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda name: str(tmp_path / name))
    assert cache_directory() == tmp_path / "pfr_jax" / "parsed"
