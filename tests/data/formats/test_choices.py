"""Files of user and item alone: every row is a choice, a pair counts once."""

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest

from pfr_jax.data import ReadOptions, Scale, load
from pfr_jax.data.formats import read_files, read_ratings
from pfr_jax.data.targets import explicit_targets, implicit_targets
from pfr_jax.errors import InputError
from pfr_jax.evaluation.ranked import targets

CHOICES = [("u1", "7"), ("u2", "7"), ("u1", "9")]


def pairs_of(ratings) -> list[tuple[str, str]]:
    users, items = ratings.user_ids[ratings.user], ratings.item_ids[ratings.item]
    return [(str(user), str(item)) for user, item in zip(users, items, strict=True)]


TEXTS = {
    "a.csv": "user,item\nu1,7\nu2,7\nu1,9\n",
    "reversed.csv": "item,user\n7,u1\n7,u2\n9,u1\n",
    "timed.csv": "user,item,Timestamp\nu1,7,300\nu2,7,100\nu1,9,200\n",
    "semicolons.csv": "user;item\nu1;7\nu2;7\nu1;9\n",
    "a.tsv": "user\titem\nu1\t7\nu2\t7\nu1\t9\n",
    "a.dat": "u1::7\nu2::7\nu1::9\n",
    "a.data": "u1\t7\nu2\t7\nu1\t9\n",
    "commas.txt": "u1,7\nu2,7\nu1,9\n",
    "blanks.txt": "u1 7\nu2   7\nu1 9\n",
    "a.inter": "user_id:token\titem_id:token\nu1\t7\nu2\t7\nu1\t9\n",
    "timed.inter": "user_id:token\ttimestamp:float\titem_id:token\nu1\t1\t7\nu2\t2\t7\nu1\t3\t9\n",
}


@pytest.mark.parametrize(("name", "text"), TEXTS.items(), ids=TEXTS)
def test_a_text_file_of_choices(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    ratings = read_ratings(tmp_path / name)
    assert not ratings.rated and (ratings.rating == 1).all()
    assert pairs_of(ratings) == CHOICES
    assert any("no ratings; every row is a choice" in note for note in ratings.notes)
    assert ratings.description["scale"] == "none; every row is a choice"


def test_arrays_of_choices(tmp_path):
    path = tmp_path / "a.npz"
    user, item = np.array([3, 3, 1], np.uint16), np.array([7, 9, 7], np.uint16)
    np.savez(path, user=user, item=item)
    ratings = read_ratings(path)
    assert not ratings.rated and pairs_of(ratings) == [("3", "7"), ("3", "9"), ("1", "7")]
    np.savez(path, user=user, item=item, rating=np.array([4.0, 3.5, 1.0]))
    assert read_ratings(path).rating.tolist() == [4, 3.5, 1]


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({"user": np.array([1, "x"], object), "item": np.array([1, 2])}, "allow_pickle"),
        ({"user": np.array([1, 2]), "item": np.array([1, 2, 3])}, "cannot be read as ratings"),
        ({"user": np.ones((2, 2), int), "item": np.array([1, 2])}, "cannot be read as ratings"),
        ({"user": np.array([1, 2])}, "want each column of"),
    ],
    ids=["pickled", "of other lengths", "a matrix", "one"],
)
def test_arrays_that_are_no_columns(tmp_path, arrays, problem):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match=f"a.npz: .*{problem}"):
        read_ratings(tmp_path / "a.npz")


def test_what_is_no_archive_of_arrays(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK, but no more")
    with pytest.raises(InputError, match="a.npz: cannot be read"):
        read_ratings(tmp_path / "a.npz")


@pytest.mark.parametrize("name", ["a.parquet", "a.feather"])
@pytest.mark.parametrize("others", [{}, {"time": [3, 1, 2]}])
def test_a_table_of_choices(tmp_path, name, others):
    users, items = zip(*CHOICES, strict=True)
    table = pa.table({"item": items, "user": users, **others})
    write = pa.parquet.write_table if name == "a.parquet" else pa.feather.write_feather
    write(table, tmp_path / name)
    ratings = read_ratings(tmp_path / name, ReadOptions(duplicates="last"))
    assert not ratings.rated and pairs_of(ratings) == CHOICES


def test_two_columns_may_be_picked(tmp_path):
    """Of a file that has more: then ratings are left aside because somebody said so."""
    (tmp_path / "a.csv").write_text("who,what,stars\nu1,7,1\nu2,7,5\nu1,9,3\n")
    (tmp_path / "b.csv").write_text("u1,7\nu2,7\nu1,9\n")
    for name, columns in (("a.csv", ("who", "what")), ("a.csv", (0, 1)), ("b.csv", (0, 1))):
        header = name == "a.csv"
        ratings = read_ratings(tmp_path / name, ReadOptions(columns, header=header))
        assert not ratings.rated and pairs_of(ratings) == CHOICES
    ratings = read_ratings(tmp_path / "b.csv", ReadOptions(header=False))
    assert not ratings.rated and pairs_of(ratings) == CHOICES


def test_another_column_may_be_the_ratings(tmp_path):
    """They are not passed over in silence."""
    (tmp_path / "a.csv").write_text("user,item,stars\nu1,7,3\n")
    with pytest.raises(InputError, match="should name the column 'rating' once"):
        read_ratings(tmp_path / "a.csv")
    pa.parquet.write_table(
        pa.table({"user": [1], "item": [2], "stars": [3]}), tmp_path / "b.parquet"
    )
    with pytest.raises(InputError, match="want each column of"):
        read_ratings(tmp_path / "b.parquet")


def test_words_may_be_a_header_or_labels(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("user item\nann tea\n")
    with pytest.raises(InputError, match="a.txt:1: 'user' and 'item' may name .* --header=yes or"):
        read_ratings(path)
    assert pairs_of(read_ratings(path, ReadOptions(header=True))) == [("ann", "tea")]
    assert len(read_ratings(path, ReadOptions(header=False))) == 2


@pytest.mark.parametrize("duplicates", ["error", "mean", "last"])
def test_a_pair_counts_once(tmp_path, duplicates):
    path = tmp_path / "a.csv"
    path.write_text("user,item,timestamp\nu1,7,5\nu2,7,5\nu1,7,4\nu1,9,4\nu1,7,6\n")
    ratings = read_ratings(path, ReadOptions(duplicates=duplicates))
    assert pairs_of(ratings) == CHOICES and ratings.removed == {"chosen_again": 2}
    assert any("2 rows were of pairs chosen before; a pair counts once" in n for n in ratings.notes)


def test_all_that_is_wrong_is_still_told(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("user,item\nu1,7\nu1,7\n,7\nu1,9,4\n")
    with pytest.raises(InputError, match=r"(?s)2 faults.*:4: the user is missing.*:5: 3 field"):
        read_ratings(path)


def test_what_is_said_of_ratings_wants_some(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("user,item\nu1,7\n")
    with pytest.raises(InputError, match="should name the column 'rating'"):
        read_ratings(path, ReadOptions(scale=Scale(1, 5)))
    with pytest.raises(
        InputError, match="--columns=user,item: user and item alone have no --scale"
    ):
        ReadOptions(("user", "item"), scale=Scale(1, 5))


def test_a_split_is_rated_as_a_whole_or_not_at_all(tmp_path):
    (tmp_path / "a.csv").write_text("user,item\nu1,7\n")
    (tmp_path / "b.csv").write_text("user,item,rating\nu1,9,3\n")
    with pytest.raises(InputError, match="a.csv: user and item alone, where .*b.csv has ratings"):
        read_files([tmp_path / "b.csv", tmp_path / "a.csv"])


def test_what_choices_are_good_for(tmp_path):
    path = tmp_path / "plays.csv"
    path.write_text("user,item\nu1,7\nu2,7\n")
    for _ in range(2):  # the second time from the cache
        ratings = load(str(path))
        for wrong in (explicit_targets, lambda r: implicit_targets(r, 1.0)):
            with pytest.raises(InputError, match="plays.csv has no ratings.*--feedback=ranking"):
                wrong(ratings)
    np.testing.assert_array_equal(targets(ratings, None), [1, 1])
    with pytest.raises(InputError, match="--implicit_threshold=3: plays.csv has no ratings"):
        targets(ratings, 3.0)


def test_ratings_that_are_all_alike_are_choices_too(tmp_path):
    path = tmp_path / "ones.csv"
    path.write_text("user,item,rating\nu1,7,1\nu2,7,1\n")
    ratings = load(str(path))
    for wrong in (explicit_targets, lambda r: implicit_targets(r, None)):
        with pytest.raises(InputError, match="every rating of ones.csv is 1.*--feedback=ranking"):
            wrong(ratings)
    np.testing.assert_array_equal(targets(ratings, None), [1, 1])
