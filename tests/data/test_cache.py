"""The cache of parsed data: equal to the file, or not used."""

import dataclasses
import logging
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest

from pfr_jax.data import cache
from pfr_jax.data.cache import read_cached
from pfr_jax.data.formats import FixedLayout, ReadOptions, read_ratings
from pfr_jax.data.table import Ratings, Scale
from pfr_jax.errors import InputError

STARS = Scale(1.0, 5.0, 1.0)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('user,item,rating\n10,"x, y",4\n9,7,2\n9,caf\u00e9,5\n', encoding="utf-8")
    return path


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def warnings(caplog):
    caplog.set_level(logging.WARNING)
    return caplog


def read(source: Path, folder: Path, **settings) -> tuple[Ratings, bool]:
    """The ratings, and whether they came from the cache."""
    parsed = []

    def parse():
        parsed.append(True)
        return read_ratings(source, ReadOptions(scale=settings.get("scale")))

    return read_cached(source, parse, settings, folder), not parsed


def assert_equal(one: Ratings, other: Ratings):
    for field in dataclasses.fields(Ratings):
        left, right = getattr(one, field.name), getattr(other, field.name)
        assert type(left) is type(right), field.name
        if isinstance(left, np.ndarray):
            assert left.dtype == right.dtype, field.name
        np.testing.assert_array_equal(left, right)


def entry_of(folder: Path) -> Path:
    (entry,) = folder.iterdir()
    return entry


def test_the_second_reading_is_from_the_cache_and_equal(source, folder, warnings):
    first, was_cached = read(source, folder, scale=STARS)
    again, is_cached = read(source, folder, scale=STARS)
    assert (was_cached, is_cached) == (False, True)
    assert_equal(again, first)
    assert again.item_ids.tolist() == ["7", "caf\u00e9", "x, y"]
    assert not warnings.records


def test_every_optional_field_comes_back(source, folder):
    """Whatever Ratings may get: arrays, numbers and texts, with or without a value."""
    plain = read_ratings(source)
    optional = {
        "expected": np.array([1.5, 2.5, 3.5], np.float32),
        "profile": np.eye(2, dtype=np.float32),
        "profile_names": ("gender=F", "age=1"),
        "threshold": 3.5,
    }
    known = {field.name for field in dataclasses.fields(Ratings)}
    full = dataclasses.replace(plain, **{k: v for k, v in optional.items() if k in known})
    for ratings in (plain, full):
        settings = {"full": ratings is full}
        for _ in range(2):
            again = read_cached(source, lambda given=ratings: given, settings, folder)
            assert_equal(again, ratings)


@pytest.mark.parametrize(
    "change",
    [
        {"columns": ("user", "item", "time")},
        {"scale": Scale(1.0, 6.0, 1.0)},
        {"name": "b"},
        {"layout": FixedLayout(3, 10)},
        {"min_ratings": 2},
    ],
)
def test_another_setting_is_another_entry(source, folder, change):
    settings = {"columns": ("user", "item", "rating"), "scale": STARS, "name": "a"}
    read(source, folder, **settings)
    assert not read(source, folder, **(settings | change))[1]
    assert read(source, folder, **settings)[1]
    assert len(list(folder.iterdir())) == 2


def test_another_content_name_or_parser_is_another_entry(source, folder, monkeypatch):
    read(source, folder)
    renamed = source.rename(source.with_name("b.csv"))
    ratings, is_cached = read(renamed, folder)
    assert (ratings.name, is_cached) == ("b.csv", False)

    text = renamed.read_text(encoding="utf-8")
    before = renamed.stat()
    renamed.write_text(text.replace("9,7,2", "9,7,3"), encoding="utf-8")
    os.utime(renamed, ns=(before.st_atime_ns, before.st_mtime_ns))  # size and time are the same
    ratings, is_cached = read(renamed, folder)
    assert (ratings.rating.tolist(), is_cached) == ([4.0, 3.0, 5.0], False)

    monkeypatch.setattr(cache, "PARSER_VERSION", cache.PARSER_VERSION + 1)
    assert not read(renamed, folder)[1]


def test_every_file_counts(tmp_path, folder):
    paths = [tmp_path / "a.csv", tmp_path / "users.csv"]
    paths[0].write_text("user,item,rating\n1,2,3\n")
    paths[1].write_text("1,F\n")
    times = []

    def parse():
        times.append(1)
        return read_ratings(paths[0])

    for expected, users in [(1, "1,F\n"), (1, "1,F\n"), (2, "1,M\n")]:
        paths[1].write_text(users)
        read_cached(paths, parse, {}, folder)
        assert len(times) == expected


def damaged(whole: bytes, seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    at = int(rng.integers(len(whole)))
    flipped = whole[:at] + bytes([whole[at] ^ (1 << int(rng.integers(8)))]) + whole[at + 1 :]
    return [whole[:at], flipped, whole + b"x", flipped[:-1]][seed % 4]


@pytest.mark.parametrize("seed", range(60))
def test_a_damaged_entry_is_noticed_and_built_again(source, folder, warnings, seed):
    first, _ = read(source, folder)
    entry = entry_of(folder)
    whole = entry.read_bytes()
    entry.write_bytes(damaged(whole, seed))
    ratings, is_cached = read(source, folder)
    assert not is_cached
    assert_equal(ratings, first)
    assert [str(entry) in record.getMessage() for record in warnings.records] == [True]
    assert entry.read_bytes() == whole
    assert read(source, folder)[1]


def test_an_entry_of_other_data_is_noticed(source, folder, warnings):
    """A whole one, but under a name that is not its own."""
    read(source, folder)
    entry = entry_of(folder)
    source.write_text("user,item,rating\n1,2,3\n")
    ratings, _ = read(source, folder)
    (other,) = set(folder.iterdir()) - {entry}
    os.replace(entry, other)
    again, is_cached = read(source, folder)
    assert not is_cached
    assert_equal(again, ratings)
    assert f"{other}: unusable entry of the cache (of other data)" in warnings.text


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", cache.MAGIC, b"pfr_jax ratings 0\n" * 9])
def test_a_foreign_entry_is_noticed(source, folder, warnings, content):
    read(source, folder)
    entry_of(folder).write_bytes(content)
    assert not read(source, folder)[1]
    assert "unusable entry" in warnings.text
    assert read(source, folder)[1]


def test_a_directory_that_cannot_be_used_stops_nothing(source, tmp_path, warnings):
    (tmp_path / "taken").write_text("a file")
    for _ in range(2):
        ratings, is_cached = read(source, tmp_path / "taken" / "cache")
        assert (len(ratings), is_cached) == (3, False)
    assert "going on without the cache" in warnings.text


def test_a_full_disk_stops_nothing_and_leaves_nothing(source, folder, warnings, monkeypatch):
    def full_disk(file, array, allow_pickle):
        raise OSError("no space left")

    monkeypatch.setattr(np, "save", full_disk)
    assert len(read(source, folder)[0]) == 3
    assert "cannot be written (no space left)" in warnings.text
    assert list(folder.iterdir()) == []


def test_what_is_wrong_with_the_source_is_raised_and_not_kept(source, folder):
    source.write_text("user,item,rating\n1,2,3\n1,2,3\n")
    for _ in range(2):
        with pytest.raises(InputError, match="a.csv:3: user 1 rated item 2"):
            read(source, folder)
    assert not folder.exists()
    with pytest.raises(InputError, match="no such file"):
        read(source.with_name("b.csv"), folder)


def test_a_source_that_changes_while_it_is_read_is_not_kept(source, folder):
    def parse():
        source.write_text("user,item,rating\n1,2,3\n")
        return read_ratings(source)

    assert len(read_cached(source, parse, {}, folder)) == 1
    assert not folder.exists()


def test_a_setting_that_cannot_be_told_apart_is_refused(source, folder):
    with pytest.raises(TypeError, match="cannot be a setting"):
        read(source, folder, filter=object())


def write_often(source: Path, folder: Path, wrong) -> None:
    """Empty the cache and read, again and again."""
    expected = read_ratings(source)
    for _ in range(30):
        for entry in folder.glob("*.ratings"):
            entry.unlink(missing_ok=True)
        ratings = read_cached(source, lambda: read_ratings(source), {}, folder)
        if not np.array_equal(ratings.rating, expected.rating):
            wrong.set()


def test_several_processes_may_write_at_once(source, folder, warnings):
    context = multiprocessing.get_context("spawn")
    wrong = context.Event()
    workers = [context.Process(target=write_often, args=(source, folder, wrong)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert not wrong.is_set()
    assert [path.suffix for path in folder.iterdir()] == [".ratings"]
    assert read(source, folder)[1]
