"""Labels of users and items."""

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfr_jax.errors import InputError
from pfr_jax.recommend.labels import rows_of

NUMBERS = st.lists(st.integers(-(2**60), 2**60), min_size=1, max_size=9, unique=True)
TEXTS = st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=9, unique=True)


@given(NUMBERS, st.data())
def test_integers_as_numbers_or_texts(labels: list[int], data: st.DataObject) -> None:
    known = np.array(sorted(labels))
    asked = data.draw(st.lists(st.sampled_from(labels), max_size=5))
    rows = [sorted(labels).index(label) for label in asked]
    assert rows_of(asked, known, "user").tolist() == rows
    assert rows_of(list(map(str, asked)), known, "user").tolist() == rows
    other = data.draw(st.integers(-(2**60), 2**60).filter(lambda label: label not in labels))
    with pytest.raises(InputError, match=f"user {other}: not among"):
        rows_of([*asked, other], known, "user")


@pytest.mark.parametrize("label", [2**53 + 1, str(2**53 + 1), -(2**53) - 1])
def test_integers_beyond_floats(label: int | str) -> None:
    known = np.array([-(2**53) - 1, 2**53, 2**53 + 1])
    assert known[rows_of(np.array([label], object), known, "user")].tolist() == [int(label)]


@given(TEXTS.filter(lambda labels: not any(label.endswith("\0") for label in labels)))
def test_texts(labels: list[str]) -> None:
    known = np.array(sorted(labels))
    assert rows_of(labels, known, "item").tolist() == [sorted(labels).index(x) for x in labels]


NO_INTEGERS = ["abc", "1.5", "", "nan", "inf", 2.5, np.float32(2.5), "9" * 30, None]


@pytest.mark.parametrize("wrong", [*NO_INTEGERS, Decimal("2.5"), Decimal("Infinity")])
def test_no_integer(wrong: object) -> None:
    with pytest.raises(InputError, match="file, line 3: user .*not among the 2 users"):
        rows_of(
            np.array([1, wrong], object), np.array([1, 2]), "user", lambda n: f"file, line {n + 2}"
        )


def test_near_ones_are_named() -> None:
    with pytest.raises(InputError, match="near ones are bread"):
        rows_of(["bred"], np.array(["bread", "milk"]), "item")
