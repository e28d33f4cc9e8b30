"""Items that a user rates again: refused with their number, or settled as asked."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfr_jax.data.formats import ReadOptions, read_ratings
from pfr_jax.data.table import Scale
from pfr_jax.errors import InputError

HEAD = "user,item,rating,timestamp\n"
AGAIN = HEAD + "1,2,3,50\n4,5,1,10\n1,2,5,20\n4,5,4,10\n1,2,2,30\n7,7,4,0\n"


def read(path: Path, text: str, **options) -> list[float]:
    path.write_text(text)
    return read_ratings(path, ReadOptions(**options)).rating.tolist()


def test_the_error_counts_the_pairs(tmp_path):
    path = tmp_path / "a.csv"
    with pytest.raises(InputError) as error:
        read(path, AGAIN)
    assert str(error.value).startswith(
        f"{path}:4: user 1 rated item 2 at {path}:2 already; 2 pairs are rated again"
    )
    assert "--duplicates=first, last or mean" in str(error.value)


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        ("first", [1.0, 5.0, 4.0]),  # of 1 and 2 at 20 s; of 4 and 5 alike, by line
        ("last", [3.0, 4.0, 4.0]),
        ("mean", [10 / 3, 2.5, 4.0]),
    ],
)
def test_first_and_last_go_by_time(tmp_path, which, expected):
    path = tmp_path / "a.csv"
    assert read(path, AGAIN, duplicates=which) == pytest.approx(expected)
    ratings = read_ratings(path, ReadOptions(duplicates=which))
    assert ratings.removed == {"rated_again": 3}
    (note,) = (note for note in ratings.notes if note.startswith("3 ratings were of pairs"))
    assert note.endswith("their means stand for them." if which == "mean" else "by its time.")


def test_without_a_time_the_line_counts(tmp_path):
    text = AGAIN.replace("timestamp", "when")
    assert read(tmp_path / "a.csv", text, duplicates="first") == [3.0, 1.0, 4.0]
    assert read(tmp_path / "a.csv", text, duplicates="last") == [4.0, 2.0, 4.0]
    told = read_ratings(tmp_path / "a.csv", ReadOptions(duplicates="last")).notes[-1]
    assert "by line, as no column of times is known (see --columns)" in told
    columns = ("user", "item", "rating", "when")
    assert read(tmp_path / "a.csv", text, duplicates="last", columns=columns) == [3.0, 4.0, 4.0]


@pytest.mark.parametrize("header", ["Timestamp", "time,timestamp", "TIME"])
def test_a_column_of_times_is_found_by_name(tmp_path, header):
    text = f"user,item,rating,{header}\n" + "1,2,3,9,5\n1,2,4,9,1\n"
    if "," not in header:
        text = text.replace(",9,", ",")
    assert read(tmp_path / "a.csv", text, duplicates="last") == [3.0]


def test_a_mean_may_lie_between_the_steps(tmp_path):
    stars = Scale(1.0, 5.0, 1.0)
    assert read(tmp_path / "a.csv", HEAD + "1,2,1,1\n1,2,2,2\n", duplicates="mean", scale=stars)
    ratings = read_ratings(tmp_path / "a.csv", ReadOptions(duplicates="mean", scale=stars))
    assert (ratings.rating.tolist(), ratings.scale) == ([1.5], Scale(1.0, 5.0))


@pytest.mark.parametrize(
    "times",
    [
        ("2021-05-03", "2021-05-01", "2021-05-02"),
        ("2021-05-03 00:00:01", "2021-05-03 00:00", "2021-05-03T00:00:00.5"),
        ("2021-05-03T12:00Z", "2021-05-03T12:00+02:00", "2021-05-03T11:59:59+00:00"),
        ("3.5", "-1", "2e0"),
        ("1620000000000000003", "1620000000000000001", "1620000000000000002"),
        ("18446744073709551615", "18446744073709551613", "18446744073709551614"),
        ("9999-12-31", "0001-01-01", "1969-07-20"),
    ],
)
def test_times_may_be_numbers_or_dates(tmp_path, times):
    text = HEAD + "".join(f"1,2,{3 + i},{time}\n" for i, time in enumerate(times))
    assert read(tmp_path / "a.csv", text, duplicates="first") == [4.0]
    assert read(tmp_path / "a.csv", text, duplicates="last") == [3.0]


@pytest.mark.parametrize("time", ["", "yesterday", "2021-13-40", "5 May 2021", "2020-02-30"])
def test_a_time_that_is_none_is_refused(tmp_path, time):
    text = HEAD + f"1,2,3,2021-05-01\n1,2,4,{time}\n"
    with pytest.raises(InputError, match="a.csv:3: the time"):
        read(tmp_path / "a.csv", text, duplicates="last")
    assert read(tmp_path / "a.csv", text, duplicates="mean") == [3.5]


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 9), st.integers(0, 3)),
        min_size=1,
        max_size=40,
    ),
    st.sampled_from(["first", "last", "mean"]),
    st.sampled_from([None, (2.0, 8.0)]),
)
def test_settled_as_pandas_would(rows, which, kept):
    frame = pd.DataFrame(rows, columns=["user", "item", "rating", "timestamp"])
    inside = frame[frame["rating"].between(*(kept or (0, 9)))]
    grouped = inside.sort_values("timestamp", kind="stable").groupby(["user", "item"])["rating"]
    expected = grouped.agg(which).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.csv"
        frame.to_csv(path, index=False)
        options = ReadOptions(duplicates=which, rating_range=kept)
        if not len(inside):
            with pytest.raises(InputError, match="no rating is within --rating_range"):
                read_ratings(path, options)
            return
        ratings = read_ratings(path, options)
    users, items = ratings.user_ids[ratings.user], ratings.item_ids[ratings.item]
    read_back = dict(zip(zip(users, items, strict=True), ratings.rating, strict=True))
    assert read_back == expected.to_dict()
    assert ratings.removed.get("outside_rating_range", 0) == len(frame) - len(inside)
    assert ratings.removed.get("rated_again", 0) == len(inside) - len(expected)


def test_ratings_outside_the_range_are_dropped_before_the_scale_is_asked(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("user,item,rating\n1,2,0\n1,2,7\n1,3,10\n2,3,-1\n")
    whole = Scale(1.0, 10.0, 1.0)
    with pytest.raises(InputError, match="2 faults"):
        read_ratings(path, ReadOptions(scale=whole))
    ratings = read_ratings(path, ReadOptions(scale=whole, rating_range=(1.0, 10.0)))
    assert ratings.rating.tolist() == [7.0, 10.0]
    assert ratings.user_ids.tolist() == [1] and ratings.removed == {"outside_rating_range": 2}
    assert "2 ratings outside 1 to 10 were dropped." in ratings.notes
    with pytest.raises(InputError, match="--rating_range=5,1"):
        ReadOptions(rating_range=(5.0, 1.0))


@pytest.mark.parametrize(
    ("levels", "pointed_at"),
    [
        ([-1, 1, 2, 3, 4, 5], "lowest rating, -1"),  # Anime's "watched, not rated"
        ([1, 2, 3, 4, 5, 99], "highest rating, 99"),  # Jester's "not rated"
        ([0, 1, 2, 3, 4, 5], ""),
        ([1, 2, 4, 5], ""),
        ([1, 5], ""),
    ],
)
def test_a_rating_far_from_all_others_is_pointed_at(tmp_path, levels, pointed_at):
    path = tmp_path / "a.csv"
    lines = [f"{user},{level},{level}\n" for user in (1, 2) for level in levels]
    path.write_text("user,item,rating\n" + "".join(lines))
    ratings = read_ratings(path)
    assert ratings.scale == Scale(levels[0], levels[-1]) and ratings.scale_inferred
    told = " ".join(ratings.notes)
    assert (pointed_at in told and "--rating_range" in told) if pointed_at else not told
    given = read_ratings(path, ReadOptions(scale=Scale(-10.0, 100.0)))
    assert not given.notes and not given.scale_inferred
