"""User profiles, by hand and malformed."""

import re

import numpy as np
import pytest

from pfr_jax.data import load
from pfr_jax.data.profiles import AGE_BUCKETS, ML1M, ML100K, profile_names, read_profiles
from pfr_jax.data.synthetic import PRESETS, generate
from pfr_jax.data.writers import write_ratings, write_users
from pfr_jax.errors import InputError

FORMS = {"u.user": ML100K, "users.dat": ML1M}
GOOD = {
    "u.user": "1|24|M|technician|85711\n2|53|F|other|T8H1N\n3|7|F|writer|00000\n",
    "users.dat": "1::F::1::10::48067\n2::M::56::0::98107-2450\n3::M::25::20::55117\n",
}


def ones(profile: np.ndarray, names: tuple[str, ...]) -> list[list[str]]:
    assert profile.dtype == np.float32
    assert set(np.unique(profile)) == {0.0, 1.0}
    return [[names[column] for column in np.flatnonzero(row)] for row in profile]


def write(tmp_path, file, text):
    path = tmp_path / file
    path.write_bytes(text.encode("latin-1"))
    return path


def test_movielens_100k_by_hand(tmp_path):
    path = write(tmp_path, "u.user", GOOD["u.user"])
    profile, names = read_profiles(path, ML100K, np.array([1, 2, 3]))
    assert profile.shape == (3, 7 + 2 + 21)
    assert ones(profile, names) == [
        ["age 18-24", "gender M", "occupation technician"],
        ["age 50-55", "gender F", "occupation other"],
        ["age under 18", "gender F", "occupation writer"],
    ]


def test_movielens_1m_by_hand(tmp_path):
    path = write(tmp_path, "users.dat", GOOD["users.dat"])
    profile, names = read_profiles(path, ML1M, np.array([1, 2, 3]))
    assert profile.shape == (3, 7 + 2 + 21)
    assert ones(profile, names) == [
        ["age under 18", "gender F", "occupation school student"],
        ["age 56+", "gender M", "occupation other"],
        ["age 25-34", "gender M", "occupation writer"],
    ]


@pytest.mark.parametrize(
    ("age", "bucket"),
    [(1, 0), (17, 0), (18, 1), (24, 1), (25, 2), (34, 2), (35, 3), (44, 3), (45, 4), (49, 4)]
    + [(50, 5), (55, 5), (56, 6), (120, 6)],
)
def test_borders_of_the_age_buckets(tmp_path, age, bucket):
    path = write(tmp_path, "u.user", f"1|{age}|M|artist|1\n")
    profile, names = read_profiles(path, ML100K, np.array([1]))
    assert ones(profile, names)[0][0] == f"age {AGE_BUCKETS[bucket]}"


@pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
def test_columns_have_names_of_their_own(form):
    assert len(set(profile_names(form))) == 30


def test_rows_follow_the_users_not_the_file(tmp_path):
    path = write(tmp_path, "u.user", "9|20|F|artist|1\r\n2|30|M|doctor|1\r\n5|60|F|none|1\r\n")
    profile, names = read_profiles(path, ML100K, np.array([5, 9]))
    assert ones(profile, names) == [
        ["age 56+", "gender F", "occupation none"],
        ["age 18-24", "gender F", "occupation artist"],
    ]


@pytest.mark.parametrize(
    ("file", "line", "problem"),
    [
        ("u.user", "", "1 field"),
        ("u.user", "2|53|F|other", "4 field"),
        ("u.user", "2|53|F|other|94043|1", "6 field"),
        ("u.user", "2::53::F::other::94043", "1 field"),
        ("u.user", "1|53|F|other|94043", "user 1 is on line 1 already"),
        ("u.user", "02|53|F|other|94043", "'02' is no user"),
        ("u.user", "-2|53|F|other|94043", "'-2' is no user"),
        ("u.user", "2.0|53|F|other|94043", "'2.0' is no user"),
        ("u.user", "|53|F|other|94043", "'' is no user"),
        ("u.user", "2||F|other|94043", "'' is no age"),
        ("u.user", "2|0|F|other|94043", "'0' is no age"),
        ("u.user", "2|121|F|other|94043", "'121' is no age"),
        ("u.user", "2|5e1|F|other|94043", "'5e1' is no age"),
        ("u.user", "2|53| F|other|94043", "' F' is no gender"),
        ("u.user", "2|53|f|other|94043", "'f' is no gender"),
        ("u.user", "2|53|F|pilot|94043", "'pilot' is no occupation"),
        ("u.user", "2|53|F|3|94043", "'3' is no occupation"),
        ("u.user", "2|53|F|other|", "'' is no zip"),
        ("u.user", "2|53|F|other|9\x004", "not printable ASCII"),
        ("u.user", "2|53|F|caf\xe9|94043", "not printable ASCII"),
        ("u.user", "2|53|F|other|94043\r", "not printable ASCII"),
        ("u.user", "2|53|F|other|" + "9" * 300, "longer than 200 bytes"),
        ("users.dat", "2::M::56::16::", "'' is no zip"),
        ("users.dat", "2::M::57::16::70072", "'57' is no age"),
        ("users.dat", "2::M::56::21::70072", "'21' is no occupation"),
        ("users.dat", "2::M::56::016::70072", "'016' is no occupation"),
        ("users.dat", "2::56::M::16::70072", "'M' is no age"),
        ("users.dat", "2:M::56::16::70072", "4 field"),
        ("users.dat", "2::M::56::16:::70072", "':70072' is no zip"),
    ],
)
def test_a_malformed_line_is_named(tmp_path, file, line, problem):
    lines = GOOD[file].splitlines()
    lines[1] = line
    path = write(tmp_path, file, "\n".join([*lines, ""]))
    with pytest.raises(InputError, match=f"{re.escape(str(path))}:2: .*{re.escape(problem)}"):
        read_profiles(path, FORMS[file], np.array([1, 3]))


@pytest.mark.parametrize("file", FORMS)
def test_a_file_that_is_cut_anywhere_is_refused(tmp_path, file):
    for end in range(len(GOOD[file])):
        path = write(tmp_path, file, GOOD[file][:end])
        with pytest.raises(InputError, match=re.escape(str(path))):
            read_profiles(path, FORMS[file], np.array([1, 2, 3]))


def test_a_user_without_a_line_and_a_missing_file_are_named(tmp_path):
    path = write(tmp_path, "u.user", GOOD["u.user"])
    with pytest.raises(InputError, match=r"u\.user: 2 of 3 users are missing, such as 4"):
        read_profiles(path, ML100K, np.array([2, 4, 5]))
    with pytest.raises(InputError, match="no.user: no such file.*--user_profile"):
        read_profiles(tmp_path / "no.user", ML100K, np.array([2]))


@pytest.mark.parametrize(("name", "layout"), [("ml100k", "ml-100k"), ("ml1m", "ml-1m")])
def test_generated_files_run_by_name(tmp_path, name, layout):
    ratings = generate(PRESETS["synthetic"])
    write_ratings(ratings, tmp_path, layout)
    users = write_users(ratings, tmp_path, layout)
    plain = load(name, tmp_path)
    assert (plain.profile, plain.profile_names) == (None, ())
    for _ in range(2):  # the second time from the cache
        known = load(name, tmp_path, user_profile=True)
        assert known.profile.shape == (943, 30)
        assert (known.profile.sum(axis=1) == 3).all()
        assert len(known.profile_names) == 30
        np.testing.assert_array_equal(known.rating, plain.rating)
    assert load(name, tmp_path).profile is None

    before = known.profile
    write_users(ratings, tmp_path, layout, seed=1)
    assert not np.array_equal(load(name, tmp_path, user_profile=True).profile, before)
    users.unlink()
    assert load(name, tmp_path).profile is None
    with pytest.raises(InputError, match=f"there is no file {re.escape(str(users))}"):
        load(name, tmp_path, user_profile=True)


@pytest.mark.parametrize("dataset", ["synthetic", "ml10m", "ml20m", "anime", "own.csv"])
def test_other_data_has_no_profiles(tmp_path, dataset):
    with pytest.raises(InputError, match="--user_profile: .*only ml100k and ml1m have"):
        load(dataset, tmp_path, user_profile=True)


def test_the_real_movielens_100k(ml100k_dir):
    """Counted apart, with cut and uniq: 273 of its 943 users are women, and 196 are students."""
    ratings = load("ml100k", ml100k_dir, user_profile=True)
    total = dict(zip(ratings.profile_names, ratings.profile.sum(axis=0).tolist(), strict=True))
    assert ratings.profile.shape == (943, 30)
    assert (ratings.profile.sum(axis=1) == 3).all()
    assert (total["gender F"], total["gender M"]) == (273, 670)
    assert total["occupation student"] == 196
    assert min(total.values()) > 0
