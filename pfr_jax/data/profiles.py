r"""User profiles: age, gender and occupation from MovieLens-100K's `u.user` and -1M's `users.dat`.

One user per line, who has all fields and no other line. Fields, in the order that `Form` says:

user        An integer, as in the file of ratings.
age         100K: years, 1 to 120. 1M: the youngest age of a bucket: 1, 18, 25, 35, 45, 50 or 56.
gender      F or M.
occupation  100K: a word, 1M: a number from 0 to 20; one of the 21 of that data set.
zip         1 to 10 letters, digits, "-", "+", "." or spaces; not used.

All lines end in \n, or all in \r\n; nothing but ASCII. Whatever else there is, is refused.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pfr_jax.data.formats.fields import COUNT, Problem
from pfr_jax.errors import InputError

VERSION = 1  # to be raised whenever some file is read differently: older cached data are not used
GENDERS = ("F", "M")
AGE_BUCKETS = ("under 18", "18-24", "25-34", "35-44", "45-49", "50-55", "56+")  # those of ML-1M
YOUNGEST = (1, 18, 25, 35, 45, 50, 56)  # years, of each bucket
OLDEST = 120  # years
MAX_LINE = 200  # bytes


@dataclass(frozen=True)
class Form:
    """How one data set stores its users."""

    separator: str
    fields: tuple[str, ...]  # their order
    exact_age: bool  # years; else the youngest age of the bucket
    occupations: dict[str, str]  # what stands in the file -> its name


_WORDS = (
    "administrator artist doctor educator engineer entertainment executive healthcare homemaker "
    "lawyer librarian marketing none other programmer retired salesman scientist student "
    "technician writer"
).split()
_BY_NUMBER = (
    "other",
    "academic or educator",
    "artist",
    "clerical or administrative",
    "college or graduate student",
    "customer service",
    "doctor or health care",
    "executive or managerial",
    "farmer",
    "homemaker",
    "school student",
    "lawyer",
    "programmer",
    "retired",
    "sales or marketing",
    "scientist",
    "self-employed",
    "technician or engineer",
    "tradesman or craftsman",
    "unemployed",
    "writer",
)
ML100K = Form(
    separator="|",
    fields=("user", "age", "gender", "occupation", "zip"),
    exact_age=True,
    occupations={word: word for word in _WORDS},
)
ML1M = Form(
    separator="::",
    fields=("user", "gender", "age", "occupation", "zip"),
    exact_age=False,
    occupations={str(number): name for number, name in enumerate(_BY_NUMBER)},
)


def read_profiles(
    path: Path, form: Form, user_ids: np.ndarray
) -> tuple[np.ndarray, tuple[str, ...]]:
    """One-hot profiles f32[U, P] of `user_ids` i64[U], and the names of the P = 7 + 2 + 21 columns.

    The file may hold other users too. Raises InputError, with the line, for what is not in the
    grammar above, and for a user without a line.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; check --data_dir, or leave out --user_profile")
    found: dict[int, tuple[int, list[int]]] = {}  # user -> line, columns that are 1
    ending = b""
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_LINE + 1), b""), start=1):
            ending = ending or (b"\r\n" if line.endswith(b"\r\n") else b"\n")
            try:
                user, columns = _parse(line, ending, form)
                if user in found:
                    raise Problem(f"user {user} is on line {found[user][0]} already; keep one")
            except Problem as problem:
                raise InputError(f"{path}:{number}: {problem}") from problem
            found[user] = number, columns
    absent = [user for user in user_ids.tolist() if user not in found]
    if absent:
        raise InputError(
            f"{path}: {len(absent):,} of {len(user_ids):,} users are missing, such as {absent[0]}; "
            "get the file again, or leave out --user_profile"
        )
    names = profile_names(form)
    profile = np.zeros((len(user_ids), len(names)), np.float32)
    for row, user in enumerate(user_ids.tolist()):
        profile[row, found[user][1]] = 1
    return profile, names


def profile_names(form: Form) -> tuple[str, ...]:
    """Names of the columns of a profile."""
    return (
        *(f"age {bucket}" for bucket in AGE_BUCKETS),
        *(f"gender {gender}" for gender in GENDERS),
        *(f"occupation {name}" for name in form.occupations.values()),
    )


def _parse(line: bytes, ending: bytes, form: Form) -> tuple[int, list[int]]:
    """The user of one line and the three columns of the profile that are 1; raises Problem."""
    if not line.endswith(ending):
        raise Problem(
            rf"the line does not end in {ending.decode()!r}, is longer than {MAX_LINE} bytes, or "
            "the file is cut; get the file again"
        )
    body = line.removesuffix(ending)
    if not re.fullmatch(rb"[ -~]*", body):
        raise Problem("a byte that is not printable ASCII; get the file again")
    texts = body.decode("ascii").split(form.separator)
    if len(texts) != len(form.fields):
        raise Problem(
            f"{len(texts)} field(s) separated by {form.separator!r} where there should be "
            f"{len(form.fields)}; get the file again"
        )
    field = dict(zip(form.fields, texts, strict=True))
    wanted = {
        "user": re.fullmatch(COUNT, field["user"]),
        "age": _is_age(field["age"], form),
        "gender": field["gender"] in GENDERS,
        "occupation": field["occupation"] in form.occupations,
        "zip": re.fullmatch(r"[0-9A-Za-z.+ -]{1,10}", field["zip"]),
    }
    for name, good in wanted.items():
        if not good:
            raise Problem(f"{field[name][:50]!r} is no {name} of this data set; get the file again")
    age = sum(int(field["age"]) >= youngest for youngest in YOUNGEST) - 1
    gender = GENDERS.index(field["gender"])
    occupation = list(form.occupations).index(field["occupation"])
    first = len(AGE_BUCKETS)
    return int(field["user"]), [age, first + gender, first + len(GENDERS) + occupation]


def _is_age(text: str, form: Form) -> bool:
    if not re.fullmatch("[1-9][0-9]{0,2}", text):
        return False
    return int(text) <= OLDEST if form.exact_age else int(text) in YOUNGEST
