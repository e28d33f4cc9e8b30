"""Every kind of malformed file is refused with the file, the line and what to do."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from pfr_jax.data import load
from pfr_jax.data.formats import FixedLayout, ReadOptions, read_files, read_ratings
from pfr_jax.data.table import Scale
from pfr_jax.errors import InputError

STARS = Scale(1.0, 5.0, 1.0)
LAYOUT = FixedLayout(num_fields=4, max_id=9_999)  # as of MovieLens
KNOWN = ReadOptions(scale=STARS, layout=LAYOUT)
HEAD = "user,item,rating\n"
LONG = "x" * 70_000

# Kind of fault: file, text (or bytes), line, what the message says. Read on the scale STARS.
MALFORMED = {
    # Fields.
    "a field too few": ("a.dat", "1::2::3::9\n1::3::4\n", 2, "3 field.*should be 4"),
    "a field too many": ("a.csv", HEAD + "1,2,3\n1,3,4,5\n", 3, "4 field.*should be 3"),
    "another separator": ("u.data", "1\t2\t3\n1,3,4\n", 2, "1 field"),
    "a decimal comma between semicolons": (
        "a.csv",
        "1;10;4,5;1,3\n2;11;3,5;2,4\n",
        1,
        "column 'user' once",
    ),
    "a colon in a label": ("m.dat", "1::a:b::3\n", 1, "single ':'"),
    "a title with a colon": ("m.dat", "1::It: a movie::4\n2::b::3\n", 1, "single ':'"),
    "a header whose quote stays open": ("a.csv", '"user,item,rating\n1,2,3\n', 1, "not closed"),
    "a header with dashes": ("a.dat", "User-ID|ISBN|Book-Rating\n1|2|3\n", 1, "--header=yes"),
    "a header with blanks": ("u.data", "user\titem\tStar Rating\n1\t2\t3\n", 1, "--header=yes"),
    "a name twice": ("a.csv", "user,item,rating,rating\n", 1, "'rating' once; sep"),
    "nothing in quotes": ("u.data", '""\n', 1, "1 field"),
    "a rating below f32": ("a.csv", HEAD + "1,2,1e-60\n", 2, "beyond what 32 bits hold"),
    "two separators that fit": ("a.dat", "1,2,3;4;5\n", 1, "by ',' or ';'; say with --separator"),
    "no separator that fits": ("a.txt", "1 2\n", 1, "no separator makes .* --separator"),
    "a column too few for any": ("a.dat", "1;2\n1;3\n", 1, "2 field.*separated by ';'"),
    "half a separator": ("a.dat", "1::2::3\n1:3::4\n", 2, "single ':'"),
    "half a separator more": ("a.dat", "1::2::3\n1::3:5::4\n", 2, "single ':'"),
    "two half separators": ("a.dat", "1::2::3\n1:9:3::4\n", 2, "single ':'"),
    "separator at the end": ("a.dat", "1::2::3\n1::3::4::\n", 2, "4 field"),
    "a quote not closed": ("a.csv", HEAD + '1,2,3\n1,"3,4\n1,4,5\n', 3, "quote that is not closed"),
    "a line end in quotes": ("a.csv", HEAD + '"a\nb",2,3\n', 2, "quote that is not closed"),
    "a quote inside a field": ("a.tsv", HEAD.replace(",", "\t") + 'a"b"\t2\t3\n', 2, "inside a"),
    "text after quotes": ("a.csv", HEAD + '"a"b,2,3\n', 2, "inside a field"),
    # The header.
    "no such column": ("a.csv", "who,item,rating\n1,2,3\n", 1, "column 'user' once.*--columns"),
    "a column twice": ("a.csv", "user,user,item,rating\n1,1,2,3\n", 1, "column 'user' once"),
    "no header": ("a.csv", "1,2,3\n", 1, "column 'user' once.*--header=no"),
    "a header in other words": (
        "a.csv",
        "userId;item;rating\n1;2;3\n",
        1,
        "'user' once .there is 'userId'.; separated by ';' it is .*--columns",
    ),
    "numbered columns": ("u.data", "0\t1\t2\n5\t9\t4\n", 1, "0,1,2 may .* --header=yes"),
    "numbered rows and columns": ("u.data", "\t0\t1\t2\n0\t5\t9\t4\n", 1, "may number the col"),
    "a type of no use": (
        "a.inter",
        "user_id:float\titem_id:token\trating:float\n",
        1,
        "is a token",
    ),
    "a header without types": ("a.inter", "user_id\titem_id\trating\n", 1, "of type ''"),
    "a header without a use": (
        "u.data",
        "user\titem\trating\n1\t2\t3\n",
        1,
        "'rating' is not a nu",
    ),
    "a column beyond the line": ("u.data", "1\t2\n", 1, "column 2 .*--columns"),
    # Labels.
    "no user": ("a.csv", HEAD + ",2,3\n", 2, "the user is missing"),
    "no item": ("a.csv", HEAD + 'x,"",3\n', 2, "the item is missing"),
    "an id that is nan": ("a.csv", HEAD + "1,NaN,3\n", 2, "item is missing .'NaN'"),
    "an id that is NULL": ("a.csv", HEAD + "NULL,1,3\n", 2, "user is missing .'NULL'"),
    "an id that is None": ("a.dat", "1::None::3\n", 1, "item is missing .'None'"),
    "space before an id": ("a.dat", "1::2::3\n1:: 7::3\n", 2, "item ' 7' has space around"),
    "space after an id": ("a.csv", HEAD + "7 ,1,3\n", 2, "user '7 ' has space around"),
    "an endless label": ("a.csv", HEAD + f"1,{'x' * 201},3\n", 2, "more than 200 characters"),
    # Ratings.
    "no rating": ("a.csv", HEAD + "1,2,3\n1,3,\n", 3, "the rating is missing"),
    "a word for a rating": ("a.csv", HEAD + "1,2,3\n1,3,good\n", 3, "'good' is not a number"),
    "a rating of nan": ("a.csv", HEAD + "1,2,3\n1,3,nan\n", 3, "the rating is missing .'nan'"),
    "an infinite rating": ("a.dat", "1::2::3\n1::3::-inf\n", 2, "'-inf' is not a number"),
    "a rating beyond f32": ("a.csv", HEAD + "1,2,3\n1,3,1e300\n", 3, "beyond what 32 bits hold"),
    "a decimal comma": ("a.csv", HEAD + '1,2,"3,0"\n', 2, "'3,0' is not a number"),
    "a hexadecimal rating": ("u.data", "1\t2\t0x3\n", 1, "'0x3' is not a number"),
    "a rating with space": ("u.data", "1\t2\t3 \n", 1, "'3 ' is not a number"),
    "a rating with sign": ("u.data", "1\t2\t+3\n", 1, r"'\+3' is not a number"),
    "a rating above the scale": ("a.csv", HEAD + "1,3,6\n", 2, "6 is not on the scale 1 to 5"),
    "a rating below the scale": ("a.csv", HEAD + "1,3,0.999\n", 2, "0.999 is not on the scale"),
    "a rating off the steps": ("a.csv", HEAD + "1,3,3.5\n", 2, "3.5 is not on .*in steps of 1"),
    "a rating just off": ("a.csv", HEAD + "1,3,3.0001\n", 2, "3.0001 is not on the scale"),
    "a pair twice": (
        "a.csv",
        HEAD + "1,2,3\n4,2,3\n1,2,5\n4,2,3\n",
        4,
        "user 1 rated .* at .*:2 a",
    ),
    # Lines and bytes.
    "a cut last line": ("a.dat", "1::2::3\n1::3::4", 2, "no line end, so it may be cut"),
    "a cut last line of tabs": ("u1.base", "1\t2\t3\t88\n1\t3\t4\t8", 2, "no line end"),
    "a blank line": ("a.csv", HEAD + "1,2,3\n\n1,3,4\n", 3, "blank"),
    "two blank lines at the end": ("u.data", "1\t2\t3\n\n\n", 2, "blank"),
    "a blank line at the start": ("u.data", "\n\n1\t2\t3\n", 1, "blank"),
    "a line of spaces": ("a.csv", HEAD + "1,2,3\n   \n", 3, "1 field"),
    "a line end of Windows": ("a.dat", "1::2::3\n1::3::4\r\n1::4::4\n", 2, r"\\r .* all line ends"),
    "a line end of Unix": ("a.csv", "user,item,rating\r\n1,2,3\r\n1,3,4\n1,4,4\r\n", 3, "all line"),
    "line ends of old Macs": ("a.dat", "1::2::3\r1::3::4\r", 1, "all line ends"),
    "a lone carriage return": ("a.csv", HEAD + "1,2,3\n1,\r3,4\n", 3, "all line ends"),
    "two byte-order marks": ("a.csv", "\ufeff\ufeff" + HEAD + "1,2,3\n", 1, "byte-order mark"),
    "a file appended with its mark": ("a.dat", "1::2::3\n\ufeff1::3::4\n", 2, "byte-order mark"),
    "a NUL": ("a.dat", "1::2::3\n1::3\0::4\n", 2, "NUL"),
    "a control character": ("a.csv", HEAD + "1,a\x1bb,3\n", 2, "control character"),
    "UTF-16": ("a.csv", (HEAD + "1,2,3\n").encode("utf-16"), 1, "NUL|not UTF-8"),
    "Latin-1": ("a.csv", (HEAD + "1,2,3\n1,caf\xe9,3\n").encode("latin-1"), 3, "not UTF-8"),
    "Latin-1 in another column": (
        "a.csv",
        "user,title,item,rating\n1,a,2,3\n1,caf\xe9,4,3\n".encode("latin-1"),
        3,
        "not UTF-8",
    ),
    "an endless line": ("a.csv", f"user,item,rating,x\n1,2,3,\n1,3,3,{LONG}\n", 3, "65,536 bytes"),
}


@pytest.mark.parametrize(("file", "text", "line", "problem"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_file_is_refused_with_its_line(tmp_path, file, text, line, problem):
    path = tmp_path / file
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=rf"/{file}:{line}: .*{problem}"):
        read_ratings(path, ReadOptions(scale=STARS))


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("1::2::3::9\n1::2x::3::9\n", 2, "item '2x' is not a plain integer from 0 to 9,999"),
        ("1::2::3::9\n07::2::3::9\n", 2, "user '07' is not a plain integer"),
        ("1::2::3::9\n10000::2::3::9\n", 2, "user '10000' is not a plain integer"),
        ("1::2::3::9\n1::2::3::9.5\n", 2, "'9.5' where this data set has an integer"),
        ("1::2::3::9\n1::3::3::\n", 2, "'' where this data set has an integer"),
        ("1::2::3::9\n1::3::3::-9\n", 2, "'-9' where this data set has an integer"),
        ("1::2::3::9\n1::3::3::9 junk\n", 2, "'9 junk' where this data set has an integer"),
        ("1::2::3\n1::3::3\n", 1, "3 field.*should be 4"),
    ],
)
def test_of_a_known_layout_every_field_is_checked(tmp_path, text, line, problem):
    path = tmp_path / "a.dat"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"/a.dat:{line}: .*{problem}"):
        read_ratings(path, KNOWN)


def test_a_csv_file_of_a_known_layout_wants_its_last_line_end(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("user,item,rating,time\n9999,2,3,9")
    assert len(read_ratings(path, ReadOptions(scale=STARS))) == 1
    with pytest.raises(InputError, match="/a.csv:2: the last line has no line end"):
        read_ratings(path, KNOWN)
    path.write_text("user,item,rating,time\n9999,2,3,9\n")
    assert read_ratings(path, KNOWN).user_ids.tolist() == [9999]


@pytest.mark.parametrize(
    ("file", "text", "problem"),
    [
        ("a.csv", "", "is empty"),
        ("a.csv", HEAD, "only a header"),
        ("a.xls", "1,2,3\n", "unknown kind of file '.xls'. .* --separator .* .csv"),
    ],
)
def test_a_file_at_fault_as_a_whole_is_named(tmp_path, file, text, problem):
    path = tmp_path / file
    path.write_text(text)
    with pytest.raises(InputError, match=rf"/{file}: .*{problem}"):
        read_ratings(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"/a.csv: no such file$"):
        read_ratings(tmp_path / "a.csv")


@pytest.mark.parametrize("at", [0, 70_000, 139_999])
def test_the_line_is_right_in_every_piece_of_a_large_file(tmp_path, at):
    """Of three faults that are found in three ways: by piece, by Arrow and by field."""
    path = tmp_path / "a.dat"
    good = [f"{user}::{user % 977}::3::978300760" for user in range(140_000)]
    for bad in ("1::2\x01::3::9", "1::2::3", "1::2::9::9"):
        path.write_text("\n".join([*good[:at], bad, *good[at + 1 :]]) + "\n")
        with pytest.raises(InputError, match=rf"/a.dat:{at + 1}: "):
            read_ratings(path, ReadOptions(scale=STARS, layout=FixedLayout(4, 10**6)))


def test_a_pair_twice_in_two_files_is_refused_where_it_is_second(tmp_path):
    (tmp_path / "a.csv").write_text(HEAD + "1,2,3\n4,5,3\n")
    (tmp_path / "b.dat").write_text("7::8::1\n4::5::2\n1::2::1\n")
    with pytest.raises(InputError, match=r"b.dat:2: user 4 rated item 5 at .*a.csv:3 already"):
        read_files([tmp_path / "a.csv", tmp_path / "b.dat"])


PARQUET = {
    "no user": ({"user": [1, None]}, "row 2: the user is missing"),
    "no item": ({"item": ["a", ""]}, "row 2: the item is missing"),
    "no rating": ({"rating": [1.0, None]}, "row 2: the rating is missing"),
    "a missing word": ({"item": ["a", "NULL"]}, "row 2: the item is missing .'NULL'"),
    "a pair twice": ({"user": [1, 1], "item": [1, 1]}, "row 2: user 1 rated item 1 at .*row 1"),
    "a line end in a label": ({"item": ["1", "a\nb"]}, "row 2: .* control characters"),
    "fractional ids": ({"user": [1.5, 2.0]}, "'user' is of type double; .* astype"),
    "truth as ids": ({"user": [True, False]}, "'user' is of type bool; .* Write 0 and 1"),
    "truth as ratings": ({"rating": [True, False]}, "'rating' is of type bool; want numbers"),
    "lists": ({"item": [[1], [2]]}, "'item' is of type list.*; want integers or text"),
    "a rating of nan": ({"rating": [1.0, np.nan]}, "row 2: the rating is missing .'nan'"),
    "a rating off the scale": ({"rating": [1, 6]}, "row 2: the rating 6 is not on the scale"),
    "a rating off the steps": ({"rating": [1.0, 1.5]}, "row 2: the rating 1.5 is not on the"),
    "words as ratings": ({"rating": ["1", "two"]}, "row 2: the rating 'two' is not a number"),
    "no such column": ({"rating": None}, "want each column .*once; .*--columns"),
    "no rows": ({"user": [], "item": [], "rating": []}, "no ratings"),
}
TYPES = {"user": pa.int64(), "item": pa.string(), "rating": pa.float64()}


@pytest.mark.parametrize(("changed", "problem"), PARQUET.values(), ids=PARQUET)
def test_a_malformed_parquet_file_is_refused_with_its_row(tmp_path, changed, problem):
    path = tmp_path / "a.parquet"
    table = {"user": [1, 2], "item": ["x", "y"], "rating": [3.0, 4.0]} | changed
    columns = {
        name: pa.array(values, None if len(values) else TYPES[name])
        for name, values in table.items()
        if values is not None
    }
    pa.parquet.write_table(pa.table(columns), path)
    with pytest.raises(InputError, match=rf"/a.parquet: .*{problem}"):
        read_ratings(path, ReadOptions(scale=STARS))


def test_a_parquet_file_of_a_known_layout_has_integers_only(tmp_path):
    path = tmp_path / "a.parquet"
    table = pa.table({"user": [1, 2], "item": [5, 6], "rating": [3, 4], "time": [9, 8]})
    pa.parquet.write_table(table, path)
    assert len(read_ratings(path, KNOWN)) == 2
    pa.parquet.write_table(table.set_column(3, "time", pa.array([9, None])), path)
    with pytest.raises(InputError, match="row 2: '' where this data set has an integer"):
        read_ratings(path, KNOWN)
    pa.parquet.write_table(table.drop_columns("time"), path)
    with pytest.raises(InputError, match="3 columns where this data set has 4"):
        read_ratings(path, KNOWN)


def test_a_damaged_parquet_file_is_refused(tmp_path):
    path = tmp_path / "a.parquet"
    path.write_text("user,item,rating\n1,2,3\n")
    with pytest.raises(InputError, match="a.parquet: cannot be read as ratings"):
        read_ratings(path)
    table = pa.table({"user": [1, 2], "item": [5, 6], "rating": [3, 4]})
    pa.parquet.write_table(table, path, write_page_checksum=True)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="a.parquet: cannot be read as ratings"):
        read_ratings(path)


def test_all_faults_of_a_file_are_told_at_once(tmp_path):
    path = tmp_path / "a.csv"
    lines = ["user,item,rating", "1,2,3", ",5,3", "1,3", "1,4,nan", '1,"5,3', "2,2,6", "1,2,4"]
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError) as error:
        read_ratings(path, ReadOptions(scale=STARS))
    first, *others = str(error.value).splitlines()
    assert first == f"{path}: 5 faults"
    places = [line.split(": ")[0].strip() for line in others]
    assert places == [f"{path}:{number}" for number in (3, 4, 5, 6, 7, 8)]
    assert "1 pair is rated again" in others[-1]


def test_many_faults_are_counted(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(HEAD + "1,2,x\n" * 30_000)
    with pytest.raises(InputError) as error:
        read_ratings(path)
    lines = str(error.value).splitlines()
    assert lines[0] == f"{path}: 30,000 faults" and len(lines) == 22
    assert lines[1].strip().startswith(f"{path}:2: ") and lines[-1] == "  ... and 29,980 more"


def test_all_faults_of_a_parquet_file_are_told_at_once(tmp_path):
    path = tmp_path / "a.parquet"
    table = {
        "user": [1, None, 3, 3],
        "item": ["x", "y", "NaN", "z"],
        "rating": [3.0, 9.0, 2.0, 0.5],
    }
    pa.parquet.write_table(pa.table(table), path)
    with pytest.raises(InputError) as error:
        read_ratings(path, ReadOptions(scale=STARS))
    lines = str(error.value).splitlines()
    assert lines[0] == f"{path}: 3 faults"
    assert [line.split(": ")[1] for line in lines[1:]] == ["row 2", "row 3", "row 4"]


def test_positions_that_two_separators_fit_are_ambiguous(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("1;10;4,5;1,3\n2;11;3,5;2,4\n")
    for options in (ReadOptions(header=False), ReadOptions(columns=(0, 1, 2))):
        with pytest.raises(InputError, match="by ',' or ';'; say with --separator"):
            read_ratings(path, options)


def test_text_that_is_not_utf8_is_no_traceback(tmp_path):
    path = tmp_path / "a.parquet"
    wrong = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(np.array([0, 1, 2], np.int32)), pa.py_buffer(b"\xffb")]
    )
    for users in (wrong, pa.array([b"\xff", b"b"])):
        table = pa.table({"user": users, "item": [1, 2], "rating": [3, 4]})
        pa.parquet.write_table(table, path)
        with pytest.raises(InputError, match="a.parquet: cannot be read as ratings"):
            read_ratings(path)


def test_a_packed_parquet_file_is_to_be_unpacked(tmp_path):
    path = tmp_path / "a.parquet.gz"
    path.write_bytes(b"x")
    with pytest.raises(InputError, match="unpack it first"):
        read_ratings(path)


@pytest.mark.parametrize("name", ["x" * 300 + ".csv", "~nosuchuser/x.csv", "a\0b.csv"])
def test_a_path_that_cannot_be_is_no_traceback(name):
    with pytest.raises(InputError, match="neither a known data set nor a file"):
        load(name)


def test_pairs_in_two_files_are_refused_whatever_duplicates_says(tmp_path):
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(HEAD + "1,2,3\n1,2,4\n")
    with pytest.raises(InputError, match="a rating may be in one file only"):
        read_files([tmp_path / "a.csv", tmp_path / "b.csv"], ReadOptions(duplicates="last"))
