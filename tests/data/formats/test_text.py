"""Text files read and written, kind by kind."""

import csv
import re
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.csv
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pfr_jax.data.formats import ReadOptions, read_ratings
from pfr_jax.data.table import Ratings, Scale
from pfr_jax.data.writers import LAYOUTS, write_ratings, write_users
from pfr_jax.errors import InputError

STARS = Scale(1.0, 5.0, 1.0)
HALF_STARS = Scale(0.5, 5.0, 0.5)
NAMES = dict.fromkeys(("ml-20m", "ml-25m", "ml-32m"), ("userId", "movieId", "rating"))
NAMES["anime"] = ("user_id", "anime_id", "rating")


def rows(ratings: Ratings) -> list[tuple]:
    users, items = ratings.user_ids[ratings.user], ratings.item_ids[ratings.item]
    return list(zip(users.tolist(), items.tolist(), ratings.rating.tolist(), strict=True))


def slow_rows(path: Path, names: tuple[str, str, str]) -> list[tuple]:
    with path.open(newline="") as file:
        table = list(csv.DictReader(file))
    return [(row[names[0]], row[names[1]], float(row[names[2]])) for row in table]


@pytest.mark.parametrize(
    ("file", "text", "columns"),
    [
        ("a.csv", "user,item,rating\n7,30,4\n5,10,2.5\n", None),
        ("a.csv", "7,30,4\n5,10,2.5\n", (0, 1, 2)),
        ("a.csv", "when,r,m,u\n1,4,30,7\n2,2.5,10,5\n", ("u", "m", "r")),
        ("a.csv", '"user","item","rating"\r\n7,"30",4.0\r\n5,10,"2.5"', None),
        ("a.csv", "title,user,item,rating\na\tb,7,30,4e0\n,5,10,25e-1\n", None),
        ("A.TSV", "item\tuser\trating\n30\t7\t4\n10\t5\t2.5\n", None),
        ("a.dat", "7::30::4::978300760\n5::10::2.5::978300761\n", None),
        ("a.dat", "user::item::rating\n7::30::4\n5::10::2.5\n", ("user", "item", "rating")),
        ("u.data", "7\t30\t4\t978300760\n5\t10\t2.5\t978300761\n", None),
        ("u1.base", "7\t30\t4\t978300760\r\n5\t10\t2.5\t978300761\r\n", None),
        ("u1.test", "7\t30\t4\n5\t10\t2.5\n", None),
        ("u1base", "7\t30\t4\t978300760\n5\t10\t2.5\t978300761\n", None),
    ],
)
def test_every_text_format_by_hand(tmp_path, file, text, columns):
    path = tmp_path / file
    path.write_text(text, encoding="utf-8", newline="")
    ratings = read_ratings(path, ReadOptions(columns=columns))
    assert rows(ratings) == [(7, 30, 4.0), (5, 10, 2.5)]
    assert (ratings.name, ratings.scale) == (file, Scale(2.5, 4.0))


@pytest.mark.parametrize(
    ("labels", "ids", "kind"),
    [
        (["10", "9"], [9, 10], "i"),
        (["10", "-3", "0"], [-3, 0, 10], "i"),
        ([str(2**63 - 1), str(-(2**63))], [-(2**63), 2**63 - 1], "i"),
        ([str(2**64 - 1), "0"], [0, 2**64 - 1], "u"),
        ([str(2**64), "7"], [str(2**64), "7"], "U"),  # beyond 64 bits
        ([str(2**64 - 1), "-7"], ["-7", str(2**64 - 1)], "U"),  # in no 64 bits together
        (["5e263339", "7"], ["5e263339", "7"], "U"),
        (["2021_05", "3E5", "1420.0174"], ["1420.0174", "2021_05", "3E5"], "U"),
        (["007", "7", "+7", "7.0"], ["+7", "007", "7", "7.0"], "U"),
        (["0x7", "inf", "-0", "1e5"], ["-0", "0x7", "1e5", "inf"], "U"),
        (['"x, ""y"""', "7"], ["7", 'x, "y"'], "U"),
    ],
)
def test_labels_are_integers_if_all_are_and_else_stay_as_they_stand(tmp_path, labels, ids, kind):
    path = tmp_path / "a.csv"
    path.write_text("user,item,rating\n" + "".join(f"1,{label},3\n" for label in labels))
    ratings = read_ratings(path)
    assert (ratings.item_ids.tolist(), ratings.item_ids.dtype.kind) == (ids, kind)
    said = f"{'text' if kind == 'U' else 'integers'}, {len(ids)} different"
    assert ratings.description["items"] == said


labels = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=20),
    st.from_regex("[-+]?[0-9a-f_.]{1,20}", fullmatch=True),  # looks like a number, or is one
).filter(lambda text: text.lower() not in ("nan", "null", "none", "<na>", "\\n"))


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(st.tuples(labels, labels), st.floats(-5, 5, width=32), min_size=1, max_size=20)
)
def test_text_labels_agree_with_the_csv_module(pairs):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["rating", "who, exactly", "what"])
            writer.writerow([1, "not a number", "nor this"])  # so that "7" stays text
            writer.writerows([stars, user, item] for (user, item), stars in pairs.items())
        names = ("who, exactly", "what", "rating")
        if ("not a number", "nor this") not in pairs:
            assert rows(read_ratings(path, ReadOptions(columns=names))) == slow_rows(path, names)


@st.composite
def tables(draw, scale: Scale) -> Ratings:
    label = st.integers(0, 2**40)
    pairs = draw(st.lists(st.tuples(label, label), min_size=1, max_size=40, unique=True))
    stars = draw(
        st.lists(st.sampled_from(scale.levels()), min_size=len(pairs), max_size=len(pairs))
    )
    user, item = np.array(pairs).T
    return Ratings.from_columns(user, item, np.array(stars), scale, "drawn")


def drop_unrated(path: Path) -> None:
    kept = [line for line in path.read_text().splitlines() if not line.endswith(",-1")]
    path.write_text("\n".join([*kept, ""]))


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_what_is_written_is_read_back(layout, data):
    scale = STARS if layout in ("ml-100k", "ml-1m", "anime") else HALF_STARS
    ratings = data.draw(tables(scale))
    with tempfile.TemporaryDirectory() as folder:
        path = write_ratings(ratings, folder, layout)
        if layout == "anime":
            drop_unrated(path)
        back = read_ratings(path, ReadOptions(columns=NAMES.get(layout), scale=scale))
        assert [file for file in Path(folder).rglob("*") if file.is_file()] == [path]
    assert rows(back) == rows(ratings)
    np.testing.assert_array_equal(back.user_ids, ratings.user_ids)
    np.testing.assert_array_equal(back.item, ratings.item)


@pytest.mark.parametrize(
    ("layout", "file", "text"),
    [
        ("ml-100k", "ml-100k/u.data", "7\t30\t4\t874724710\n5\t10\t2\t874724717\n"),
        ("ml-1m", "ml-1m/ratings.dat", "7::30::4::874724710\n5::10::2::874724717\n"),
        ("ml-10m", "ml-10M100K/ratings.dat", "7::30::4::874724710\n5::10::2::874724717\n"),
        (
            "ml-20m",
            "ml-20m/ratings.csv",
            "userId,movieId,rating,timestamp\n7,30,4.0,874724710\n5,10,2.0,874724717\n",
        ),
        (
            "anime",
            "anime/rating.csv",
            "user_id,anime_id,rating\n7,30,4\n5,10,2\n5,31,-1\n7,31,-1\n",
        ),
    ],
)
def test_layouts_to_the_letter(tmp_path, layout, file, text):
    user, item = np.array([7, 5]), np.array([30, 10])
    ratings = Ratings.from_columns(user, item, np.array([4.0, 2.0]), STARS, "two")
    assert write_ratings(ratings, tmp_path, layout) == tmp_path / file
    assert (tmp_path / file).read_text() == text


def test_a_layout_refuses_what_it_cannot_hold(tmp_path):
    half = Ratings.from_columns(np.array([1]), np.array([1]), np.array([3.5]), HALF_STARS, "half")
    with pytest.raises(InputError, match="ml-1m cannot hold the rating 3.5"):
        write_ratings(half, tmp_path, "ml-1m")
    text = Ratings.from_columns(np.array(["a"]), np.array([1]), np.array([3.0]), STARS, "text")
    with pytest.raises(InputError, match="ml-10m wants integer labels"):
        write_ratings(text, tmp_path, "ml-10m")
    with pytest.raises(InputError, match="'ml-5m'; want one of ml-100k"):
        write_ratings(half, tmp_path, "ml-5m")


def test_users_are_written_whole_and_alike_for_a_seed(tmp_path):
    user, item = np.array([7, 5]), np.array([30, 10])
    ratings = Ratings.from_columns(user, item, np.array([4.0, 2.0]), STARS, "two")
    path = write_users(ratings, tmp_path, "ml-1m", seed=1)
    assert path == tmp_path / "ml-1m" / "users.dat"
    text = path.read_text()
    assert re.fullmatch(r"5::[FM]::\d+::\d+::0{5}\n7::[FM]::\d+::\d+::0{5}\n", text)
    assert write_users(ratings, tmp_path, "ml-1m", seed=1).read_text() == text
    assert list(path.parent.iterdir()) == [path]
    assert write_users(ratings, tmp_path, "ml-10m") is None


def test_a_write_that_breaks_off_leaves_the_old_file_alone(tmp_path, monkeypatch):
    ratings = Ratings.from_columns(np.array([1]), np.array([1]), np.array([3.0]), STARS, "one")
    path = write_ratings(ratings, tmp_path, "ml-1m")
    before = path.read_text()

    def full_disk(table, file, options):
        file.write(b"1::1:")
        raise OSError("no space left")

    monkeypatch.setattr(pyarrow.csv, "write_csv", full_disk)
    with pytest.raises(OSError, match="no space left"):
        write_ratings(ratings, tmp_path, "ml-1m")
    assert path.read_text() == before
    assert list(path.parent.iterdir()) == [path]


COLUMNS = [("user",), (0, 1, 1), (0, 1, "rating"), (0, 1, -1), (0, 1, 2, 3, 4)]


@pytest.mark.parametrize("columns", COLUMNS)
def test_columns_are_two_to_four_names_or_positions(columns):
    with pytest.raises(InputError, match="--columns"):
        ReadOptions(columns=columns)


@pytest.mark.parametrize(
    "separator", ["", "ab", "a", "7", '"', "\n", ".", "-", "\x01", ":::", "\u00a7"]
)
def test_a_separator_is_a_character_that_no_field_has(separator):
    with pytest.raises(InputError, match="--separator"):
        ReadOptions(separator=separator)
