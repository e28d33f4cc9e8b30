"""Splits that come as separate files, such as MovieLens-100K's u1.base and u1.test."""

import dataclasses

import numpy as np
import pytest

from pfr_jax.data.formats import FixedLayout, ReadOptions, read_ratings
from pfr_jax.data.given_split import flags_to_read, read_given_split, write_split
from pfr_jax.data.splits import temporal_split
from pfr_jax.data.table import Scale
from pfr_jax.errors import InputError

STARS = Scale(1.0, 5.0, 1.0)
LAYOUT = FixedLayout(num_fields=4, max_id=1682)


def write(path, rows):
    path.write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))
    return path


@pytest.fixture
def movielens(tmp_path):
    """u.data and its fold u1, as 40 users rate 60 items; user 1 is in u1.test only."""
    rng = np.random.default_rng(0)
    pairs = rng.choice(40 * 60, 500, replace=False)
    rows = [(p // 60 + 1, p % 60 + 1, rng.integers(1, 6), 874724710 + p) for p in pairs]
    in_test = [row[0] == 1 or rng.random() < 0.2 for row in rows]
    base = sorted(row for row, test in zip(rows, in_test, strict=True) if not test)
    test = sorted(row for row, test in zip(rows, in_test, strict=True) if test)
    write(tmp_path / "u.data", base + test)
    return write(tmp_path / "u1.base", base), write(tmp_path / "u1.test", test)


def test_base_and_test_are_the_whole_and_know_their_rows(movielens):
    base, test = movielens
    options = ReadOptions(scale=STARS, layout=LAYOUT)
    ratings, split = read_given_split(base, None, test, options, "ml100k")
    whole = read_ratings(base.with_name("u.data"), options, "ml100k")
    for field in ("user", "item", "rating", "user_ids", "item_ids"):
        np.testing.assert_array_equal(getattr(ratings, field), getattr(whole, field))
    assert (ratings.name, ratings.scale) == ("ml100k", STARS)

    num_train = len(base.read_text().splitlines())
    assert split.train.tolist() == list(range(num_train))
    assert split.test.tolist() == list(range(num_train, 500))
    assert split.validation.tolist() == []
    assert {part.dtype for part in (split.train, split.validation, split.test)} == {
        np.dtype(np.int64)
    }


def test_a_user_may_have_nothing_to_train_on(movielens):
    ratings, split = read_given_split(movielens[0], None, movielens[1])
    user_1 = ratings.user_ids.tolist().index(1)
    assert user_1 not in ratings.user[split.train]
    assert user_1 in ratings.user[split.test]


def test_three_files_and_a_scale_that_spans_them(tmp_path):
    train = write(tmp_path / "train", [(7, 30, 3)])
    validation = write(tmp_path / "validation", [(5, 30, 4), (5, 10, 2)])
    test = write(tmp_path / "test", [(7, 20, 5)])
    ratings, split = read_given_split(train, validation, test)
    assert ratings.scale == Scale(2.0, 5.0)
    assert ratings.name == "train"
    assert ratings.user_ids[ratings.user].tolist() == [7, 5, 5, 7]
    assert ratings.item_ids[ratings.item].tolist() == [30, 30, 10, 20]
    assert ratings.rating.tolist() == [3.0, 4.0, 2.0, 5.0]
    parts = (split.train, split.validation, split.test)
    assert [part.tolist() for part in parts] == [[0], [1, 2], [3]]

    only_validation = read_given_split(train, validation, None)[1]
    assert only_validation.validation.tolist() == [1, 2]
    assert only_validation.test.tolist() == []


def test_labels_are_text_in_all_files_or_in_none(tmp_path):
    train = write(tmp_path / "train", [(7, 30, 3)])
    test = write(tmp_path / "test", [(7, "ann", 5), (10, 30, 1)])
    ratings, _ = read_given_split(train, None, test)
    assert ratings.user_ids.tolist() == [7, 10]
    assert ratings.item_ids.tolist() == ["30", "ann"]
    assert ratings.item.tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([(1, 2, 3), (9, 9, 1)], r"u1.test:2: user 9 rated item 9 at .*u1.base:3 already"),
        ([(1, 2, 3), (1, 2, 4)], r"u1.test:2: user 1 rated item 2 at .*u1.test:1 already"),
        ([(1, 2, 3), (1, 3, 6)], r"u1.test:2: the rating 6 is not on the scale"),
        ([(1, 2, 3), (1, 3)], r"u1.test:2: 2 field"),
        ([], r"u1.test: the file is empty"),
    ],
)
def test_faults_are_named_in_the_file_where_they_are(tmp_path, rows, problem):
    base = write(tmp_path / "u1.base", [(8, 8, 1), (7, 7, 1), (9, 9, 1)])
    test = write(tmp_path / "u1.test", rows)
    with pytest.raises(InputError, match=problem):
        read_given_split(base, None, test, ReadOptions(scale=STARS))


def test_one_file_is_no_split(movielens):
    with pytest.raises(InputError, match="wants a validation or a test file besides .*u1.base"):
        read_given_split(movielens[0], None, None)
    with pytest.raises(InputError, match="u2.test: no such file"):
        read_given_split(movielens[0], None, movielens[0].with_name("u2.test"))


def test_what_is_written_is_read_again(movielens, tmp_path):
    options = ReadOptions(scale=STARS, layout=LAYOUT, times=True, columns=(0, 1, 2, 3))
    ratings = read_ratings(movielens[0].with_name("u.data"), options)
    split = temporal_split(ratings.time, 0.1, 0.2)
    written = write_split(ratings, split, tmp_path / "split")
    assert list(written.values()) == [350, 50, 100]
    again, parts = read_given_split(*written, ReadOptions(scale=STARS))
    for rows, others in (
        (split.train, parts.train),
        (split.validation, parts.validation),
        (split.test, parts.test),
    ):
        for ids, which in (("user_ids", "user"), ("item_ids", "item")):
            before = getattr(ratings, ids)[getattr(ratings, which)[rows]]
            after = getattr(again, ids)[getattr(again, which)[others]]
            np.testing.assert_array_equal(before, after)
        np.testing.assert_array_equal(ratings.rating[rows], again.rating[others])
    folder = tmp_path / "split"
    assert flags_to_read(ratings, split, folder) == [
        f"--dataset={folder}/train.csv",
        f"--validation_file={folder}/validation.csv",
        f"--test_file={folder}/test.csv",
        "--scale=1,5,1",
    ]


def test_times_go_with_their_ratings(tmp_path):
    """Also where ratings are dropped, users left out, and dates are written out."""
    path = tmp_path / "r.csv"
    path.write_text(
        "who,what,stars,day\n2,1,5,2021-05-03\n1,1,0,2021-05-01\n1,2,4,2021-05-02\n1,2,3,2021-05-09\n"
    )
    options = ReadOptions(
        columns=("who", "what", "stars", "day"),
        rating_range=(1, 5),
        duplicates="last",
        times=True,
    )
    ratings = read_ratings(path, options)
    days = np.array(["2021-05-03", "2021-05-09"], "datetime64[us]").astype(np.int64)
    np.testing.assert_array_equal(ratings.time, days)
    np.testing.assert_array_equal(ratings.select(ratings.user == 0).time, days[1:])
    assert read_ratings(path, dataclasses.replace(options, times=False)).time is None
