"""Kinds of text files, separators, headers and packing: what is found out, and what is told."""

import gzip

import pyarrow as pa
import pytest

from pfr_jax.data.formats import ReadOptions, read_ratings
from pfr_jax.data.table import Ratings
from pfr_jax.errors import InputError

ROWS = [(7, 30, 4.0), (5, 10, 2.5)]


def rows(ratings: Ratings) -> list[tuple]:
    users, items = ratings.user_ids[ratings.user], ratings.item_ids[ratings.item]
    return list(zip(users.tolist(), items.tolist(), ratings.rating.tolist(), strict=True))


FOUND = {
    "semicolons": ("a.csv", "user;item;rating\n7;30;4\n5;10;2.5\n", {}, "separated by ';'"),
    "semicolons in quotes": (
        "a.csv",
        '"User-ID";"ISBN";"Book-Rating"\n"7";"30";"4"\n"5";"10";"2.5"\n',
        {"columns": ("User-ID", "ISBN", "Book-Rating")},
        "'ISBN' is the item",
    ),
    "tabs in a dat file": ("a.dat", "7\t30\t4\n5\t10\t2.5\n", {}, r"separated by '\t'"),
    "tabs and a header in a dat file": (
        "a.dat",
        "u\ti\tw\n7\t30\t4\n5\t10\t2.5\n",
        {"columns": ("u", "i", "w")},
        "'w' is the rating",
    ),
    "commas in a txt file": ("a.txt", "7,30,4,9\n5,10,2.5,9\n", {}, "separated by ','"),
    "tabs between words": ("a.txt", "7\t30\t4\ta b, c\n5\t10\t2.5\td e\n", {}, r"by '\t'"),
    "colons in a txt file": ("a.txt", "7::30::4\n5::10::2.5\n", {}, "separated by '::'"),
    "single blanks": ("a.txt", "7 30 4\n5 10 2.5\n", {}, "separated by spaces"),
    "columns of blanks": ("a.txt", "  7   30 4  \r\n  5 \t 10 2.5\r\n", {}, "separated by spaces"),
    "blanks in a csv file": ("a.csv", "user item rating\n7 30 4\n5 10 2.5\n", {}, "by spaces"),
    "a mark": ("a.csv", "\ufeffuser,item,rating\n7,30,4\n5,10,2.5\n", {}, "byte-order mark"),
    "a mark and no header": ("u.data", "\ufeff7\t30\t4\n5\t10\t2.5\n", {}, "byte-order mark"),
    "a blank last line": ("a.csv", "user,item,rating\n7,30,4\n5,10,2.5\n\n", {}, "line is blank"),
    "a blank last line of Windows": (
        "a.dat",
        "7::30::4\r\n5::10::2.5\r\n\r\n",
        {},
        "line is blank",
    ),
    "an atomic file": (
        "a.inter",
        "item_id:token\tuser_id:token\tx:token_seq\trating:float\n30\t7\ta b\t4\n10\t5\tc\t2.5\n",
        {},
        "'user_id' is the user",
    ),
    "an atomic file's other columns": (
        "a.inter",
        "who:token\twhat:token\tstars:float\n7\t30\t4\n5\t10\t2.5\n",
        {"columns": ("who", "what", "stars")},
        "'who' is the user",
    ),
}
TOLD = {
    "a bar": ("a.dat", "7|30|4\n5|10|2.5\n", {"separator": "|"}),
    "a semicolon, the last line open": ("a.csv", "7;30;4\n5;10;2.5", {"columns": (0, 1, 2)}),
    "a kind of no known name": ("a.log", "7#30#4\n5#10#2.5\n", {"separator": "#"}),
    "one blank, quoted": ("a.txt", '7 "30" 4\n"5" 10 2.5\n', {"separator": " "}),
    "a header passed over": (
        "a.dat",
        "user::item::rating\n7::30::4\n5::10::2.5\n",
        {"header": True},
    ),
    "a numbered header": (
        "a.csv",
        "0,1,2\n7,30,4\n5,10,2.5\n",
        {"header": True, "columns": (0, 1, 2)},
    ),
    "no header in a csv file": ("a.csv", "7,30,4\n5,10,2.5\n", {"header": False}),
    "a fourth column": ("a.data", "9\t7\t30\t4\n9\t5\t10\t2.5\n", {"columns": (1, 2, 3, 0)}),
}


@pytest.mark.parametrize(("file", "text", "options", "note"), FOUND.values(), ids=FOUND)
def test_what_is_found_out_is_said(tmp_path, file, text, options, note):
    path = tmp_path / file
    path.write_text(text, encoding="utf-8", newline="")
    ratings = read_ratings(path, ReadOptions(**options))
    assert rows(ratings) == ROWS
    assert note in " ".join(ratings.notes) and ratings.notes[0].startswith(f"{file}: ")


@pytest.mark.parametrize(("file", "text", "options"), TOLD.values(), ids=TOLD)
def test_what_is_told_is_followed(tmp_path, file, text, options):
    path = tmp_path / file
    path.write_text(text, newline="")
    assert rows(read_ratings(path, ReadOptions(**options))) == ROWS


def test_a_first_line_that_numbers_the_columns_may_be_a_rating(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("0,1,2\n5,9,4\n")
    with pytest.raises(InputError, match="a.csv:1: .* --header=yes .* --header=no"):
        read_ratings(path, ReadOptions(columns=(0, 1, 2)))
    without = read_ratings(path, ReadOptions(columns=(0, 1, 2), header=False))
    assert rows(without) == [(0, 1, 2.0), (5, 9, 4.0)]


def test_a_header_over_positions_is_pointed_at(tmp_path):
    path = tmp_path / "a.dat"
    path.write_text("userID\tartistID\tweight\n7\t30\t4\n")
    with pytest.raises(InputError, match="a.dat:1: .* --header=yes, or name the columns"):
        read_ratings(path)


def test_names_want_a_header():
    with pytest.raises(InputError, match="names want a header"):
        ReadOptions(columns=("user", "item", "rating"), header=False)


def pack(content: bytes, suffix: str) -> bytes:
    if suffix == ".gz":
        return gzip.compress(content)
    return pa.Codec("zstd").compress(content, asbytes=True)


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".GZ"])
@pytest.mark.parametrize("file", ["a.csv", "a.inter", "A.TSV"])
def test_packed_files_are_read_as_what_is_in_them(tmp_path, suffix, file):
    header = (
        "user_id:token\titem_id:token\trating:float" if file == "a.inter" else "user\titem\trating"
    )
    text = f"{header}\n7\t30\t4\n5\t10\t2.5\n"
    text = text.replace("\t", ",") if file == "a.csv" else text
    path = tmp_path / (file + suffix)
    path.write_bytes(pack(text.encode(), suffix.lower()))
    assert rows(read_ratings(path)) == ROWS
    path.write_bytes(pack((text + "1\n").encode(), suffix.lower()))
    with pytest.raises(InputError, match=f"{path.name}:4: 1 field"):
        read_ratings(path)


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_damaged_packed_file_is_refused(tmp_path, suffix):
    whole = pack(b"user,item,rating\n" + b"".join(b"%d,1,3\n" % n for n in range(9_999)), suffix)
    path = tmp_path / f"a.csv{suffix}"
    for data in (whole[: len(whole) // 2], whole[:-1], b"user,item,rating\n1,2,3\n"):
        path.write_bytes(data)
        with pytest.raises(InputError, match=f"a.csv{suffix}: cannot be read"):
            read_ratings(path)
