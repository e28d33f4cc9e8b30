"""Parquet and feather files of every type that pandas, polars, Spark and DuckDB write."""

import datetime
import decimal
import tempfile
import uuid
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfr_jax.data.formats import ReadOptions, read_ratings
from pfr_jax.data.table import Ratings, Scale
from pfr_jax.errors import InputError

INTEGERS = (pa.int8(), pa.uint8(), pa.int16(), pa.int32(), pa.uint32(), pa.int64(), pa.uint64())
TEXTS = (pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary())
DECIMALS = (pa.decimal32(7, 0), pa.decimal64(18, 0), pa.decimal128(20, 0), pa.decimal256(40, 0))
NUMBERS = (*INTEGERS, *DECIMALS, pa.float32(), pa.float64(), pa.decimal128(10, 2))


def rows(ratings: Ratings) -> list[tuple]:
    users, items = ratings.user_ids[ratings.user], ratings.item_ids[ratings.item]
    return list(zip(users.tolist(), items.tolist(), ratings.rating.tolist(), strict=True))


def write(path: Path, columns: dict[str, pa.Array]) -> Path:
    table = pa.table(columns)
    if path.suffix == ".parquet":
        pa.parquet.write_table(table, path)
    else:
        pa.feather.write_feather(table, path)
    return path


def encoded(kind: pa.DataType) -> pa.DataType:
    return pa.dictionary(pa.int8(), kind)


@pytest.mark.parametrize("suffix", [".parquet", ".feather"])
@pytest.mark.parametrize("kind", [*INTEGERS, *DECIMALS, encoded(pa.int32())], ids=str)
def test_integers_of_every_type_are_integers(tmp_path, suffix, kind):
    if suffix == ".parquet" and (pa.types.is_decimal32(kind) or pa.types.is_decimal64(kind)):
        pytest.skip("parquet has no such type of its own")
    values = [decimal.Decimal(v) if pa.types.is_decimal(kind) else v for v in (7, 3, 7)]
    ids = pa.array(values, kind)
    columns = {"user": ids, "item": pa.array([1, 2, 3]), "rating": pa.array([1, 2, 3])}
    assert rows(read_ratings(write(tmp_path / f"a{suffix}", columns))) == [
        (7, 1, 1.0),
        (3, 2, 2.0),
        (7, 3, 3.0),
    ]


@pytest.mark.parametrize("suffix", [".parquet", ".feather"])
@pytest.mark.parametrize("kind", [*TEXTS, *map(encoded, TEXTS[:3])], ids=str)
def test_text_of_every_type_is_text(tmp_path, suffix, kind):
    if kind == encoded(pa.string_view()):
        ids = pa.array(["u7", "007", "u7"]).dictionary_encode()
    else:
        ids = pa.array(["u7", "007", "u7"]).cast(kind)
    columns = {"user": ids, "item": pa.array([1, 2, 3]), "rating": pa.array([1, 2, 3])}
    ratings = read_ratings(write(tmp_path / f"a{suffix}", columns))
    assert ratings.user_ids[ratings.user].tolist() == ["u7", "007", "u7"]


@pytest.mark.parametrize("kind", NUMBERS, ids=str)
def test_ratings_of_every_numeric_type(tmp_path, kind):
    values = [decimal.Decimal(4), decimal.Decimal(1)] if pa.types.is_decimal(kind) else [4, 1]
    columns = {"user": pa.array([1, 2]), "item": pa.array([1, 2]), "rating": pa.array(values, kind)}
    ratings = read_ratings(write(tmp_path / "a.feather", columns))
    assert (ratings.rating.tolist(), ratings.scale) == ([4.0, 1.0], Scale(1.0, 4.0))


def test_uuids_are_text(tmp_path):
    one, other = uuid.UUID(int=7), uuid.UUID(int=2**127 + 5)
    ids = pa.array([one.bytes, other.bytes], pa.uuid())
    columns = {"user": ids, "item": pa.array([1, 2]), "rating": pa.array([1, 2])}
    ratings = read_ratings(write(tmp_path / "a.parquet", columns))
    assert ratings.user_ids[ratings.user].tolist() == [str(one), str(other)]


def test_fractional_decimals_are_text_as_they_stand(tmp_path):
    ids = pa.array([decimal.Decimal("7.50"), decimal.Decimal("7.00")], pa.decimal128(5, 2))
    columns = {"user": ids, "item": pa.array([1, 2]), "rating": pa.array([1, 2])}
    ratings = read_ratings(write(tmp_path / "a.parquet", columns))
    assert ratings.user_ids.tolist() == ["7.00", "7.50"]


@pytest.mark.parametrize(
    "kind",
    [pa.timestamp("ns"), pa.timestamp("us", "UTC"), pa.timestamp("s"), pa.date32(), pa.int64()],
    ids=str,
)
@pytest.mark.parametrize("which", ["first", "last"])
def test_times_of_every_type_order_what_is_rated_again(tmp_path, kind, which):
    days = [datetime.datetime(2021, 5, day, tzinfo=datetime.UTC) for day in (3, 1, 2, 9)]
    times = pa.array([3, 1, 2, 9]) if kind == pa.int64() else pa.array(days).cast(kind)
    columns = {
        "user": pa.array([1, 1, 1, 2]),
        "item": pa.array([5, 5, 5, 5]),
        "rating": pa.array([1, 2, 3, 4]),
        "timestamp": times,
    }
    path = write(tmp_path / "a.parquet", columns)
    ratings = read_ratings(path, ReadOptions(duplicates=which))
    assert ratings.rating.tolist() == [{"first": 2.0, "last": 1.0}[which], 4.0]


def test_a_stream_of_arrow_is_read_too(tmp_path):
    table = pa.table({"user": [1, 2], "item": [1, 2], "rating": [3, 4]})
    with (
        pa.OSFile(str(tmp_path / "a.arrow"), "wb") as file,
        pa.ipc.new_stream(file, table.schema) as s,
    ):
        s.write_table(table)
    assert rows(read_ratings(tmp_path / "a.arrow")) == [(1, 1, 3.0), (2, 2, 4.0)]


def test_the_first_faults_are_shown_whatever_their_column(tmp_path):
    count = 40
    columns = {
        "user": pa.array([1] * 5 + [None] * (count - 5)),
        "item": pa.array(range(count)),
        "rating": pa.array([None] + [3.0] * (count - 1)),
    }
    with pytest.raises(InputError) as error:
        read_ratings(write(tmp_path / "a.parquet", columns))
    lines = str(error.value).splitlines()
    assert "36 faults" in lines[0] and "row 1: the rating is missing" in lines[1]


def test_columns_by_position_and_a_missing_value(tmp_path):
    columns = {"r": pa.array([1.0, 2.0]), "u": pa.array([7, None]), "i": pa.array(["a", "b"])}
    path = write(tmp_path / "a.feather", columns)
    with pytest.raises(InputError, match="a.feather: row 2: the user is missing"):
        read_ratings(path, ReadOptions(columns=(1, 2, 0)))
    whole = write(tmp_path / "b.feather", {name: c.slice(0, 1) for name, c in columns.items()})
    assert rows(read_ratings(whole, ReadOptions(columns=(1, 2, 0)))) == [(7, "a", 1.0)]
    with pytest.raises(InputError, match="want each column of .*number 7"):
        read_ratings(path, ReadOptions(columns=(1, 2, 7)))


@pytest.mark.parametrize("options", [{"separator": ";"}, {"header": True}])
def test_what_is_for_text_is_refused(tmp_path, options):
    columns = {"user": pa.array([1]), "item": pa.array([1]), "rating": pa.array([1])}
    path = write(tmp_path / "a.parquet", columns)
    with pytest.raises(InputError, match="--separator and --header are for text files"):
        read_ratings(path, ReadOptions(**options))


@pytest.mark.parametrize("at", range(0, 1_000, 97))
def test_a_damaged_feather_file_is_refused_or_the_same(tmp_path, at):
    columns = {"user": pa.array(["a", "b"]), "item": pa.array([1, 2]), "rating": pa.array([1, 2])}
    path = write(tmp_path / "a.feather", columns)
    whole = path.read_bytes()
    path.write_bytes(whole[: at % len(whole)])
    with pytest.raises(InputError, match="a.feather: cannot be read as ratings"):
        read_ratings(path)


LABELS = st.one_of(
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=30),
    st.lists(st.text("abc-:,;\"' 7", min_size=1, max_size=8).filter(lambda t: t == t.strip())),
)
PANDAS_TYPES = (None, "category", "string", "Int64", "string[pyarrow]", "int64[pyarrow]")


@given(
    users=LABELS.filter(len),
    items=LABELS.filter(len),
    user_type=st.sampled_from(PANDAS_TYPES),
    item_type=st.sampled_from(PANDAS_TYPES),
    rating_type=st.sampled_from(["float64", "float32", "int8", "Int16", "Float64"]),
    suffix=st.sampled_from([".parquet", ".feather"]),
    data=st.data(),
)
def test_what_pandas_writes_is_read_as_pandas_reads_it(
    users, items, user_type, item_type, rating_type, suffix, data
):
    count = min(len(users), len(items))
    stars = data.draw(st.lists(st.integers(1, 5), min_size=count, max_size=count))
    frame = pd.DataFrame({"user": users[:count], "item": items[:count], "rating": stars})
    frame = frame.drop_duplicates(["user", "item"]).reset_index(drop=True)
    for column, kind in (("user", user_type), ("item", item_type), ("rating", rating_type)):
        wants_integers = kind in ("Int64", "int64[pyarrow]")
        if kind and not (wants_integers and not pd.api.types.is_integer_dtype(frame[column])):
            frame[column] = frame[column].astype(kind)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        (frame.to_parquet if suffix == ".parquet" else frame.to_feather)(path)
        ratings = read_ratings(path)
        back = (pd.read_parquet if suffix == ".parquet" else pd.read_feather)(path)
    expected = [back[name].astype(str).tolist() for name in ("user", "item")]
    read = [ratings.user_ids[ratings.user], ratings.item_ids[ratings.item]]
    assert [labels.astype(str).tolist() for labels in read] == expected
    np.testing.assert_array_equal(ratings.rating, back["rating"].astype("float32").to_numpy())
