"""Real public files as they come, where they are at hand."""

from pathlib import Path

import numpy as np
import pytest

from pfr_jax.data import ReadOptions, load
from pfr_jax.data.formats import read_ratings
from pfr_jax.errors import InputError

PUBLIC = {  # users, items, ratings, kind of item labels
    "restaurants": (138, 130, 1_161, "i"),
    "book-crossing-sample": (725, 2_568, 2_734, "U"),
    "filmtrust": (1_508, 2_071, 35_494, "i"),
    "ciao-5core": (5_858, 10_685, 141_900, "i"),
}


@pytest.mark.parametrize("name", PUBLIC)
def test_public_sets_are_read_as_they_come(real_data: Path, name: str):
    path = real_data / "public" / f"{name}.csv"
    if not path.is_file():
        pytest.skip(f"no {path}")
    ratings = read_ratings(path)
    kind = ratings.item_ids.dtype.kind
    assert (ratings.num_users, ratings.num_items, len(ratings), kind) == PUBLIC[name]


def test_movielens_as_an_atomic_file(ml100k_dir: Path, tmp_path: Path):
    lines = (ml100k_dir / "ml-100k" / "u.data").read_text()
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    (tmp_path / "ml-100k.inter").write_text(header + lines)
    own, known = read_ratings(tmp_path / "ml-100k.inter"), load("ml100k", ml100k_dir)
    for field in ("user", "item", "rating", "user_ids", "item_ids"):
        np.testing.assert_array_equal(getattr(own, field), getattr(known, field))
    (tmp_path / "doubled.inter").write_text(header + lines + lines)
    with pytest.raises(InputError, match="100,000 pairs are rated again"):
        read_ratings(tmp_path / "doubled.inter")
    settled = read_ratings(tmp_path / "doubled.inter", ReadOptions(duplicates="last"))
    assert sorted(zip(settled.user, settled.item, settled.rating, strict=True)) == sorted(
        zip(known.user, known.item, known.rating, strict=True)
    )
