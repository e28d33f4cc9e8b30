"""Damaged files against a second grammar: the reader takes what that takes, and nothing else.

The second grammar is written from the docstrings of `grammar` and `fields`, with none of their
code and no care for speed. $PFR_FUZZ_FILES says how many files to damage.
"""

import gzip
import os
import re
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from pfr_jax.data.formats import FixedLayout, ReadOptions, grammar, read_ratings
from pfr_jax.data.formats.dialect import find_dialect
from pfr_jax.data.table import Ratings, Scale
from pfr_jax.errors import InputError

NUM_FILES = int(os.environ.get("PFR_FUZZ_FILES", "2000"))
SCALE = Scale(0.5, 5.0, 0.5)
LAYOUT = FixedLayout(num_fields=4, max_id=71_567)
NAMES = ("user", "item", "rating")


@dataclass(frozen=True)
class Kind:
    """One kind of valid file."""

    file: str
    separator: str
    header: tuple[str, ...] = ()
    layout: FixedLayout | None = None
    ending: str = "\n"
    kept: tuple[float, float] | None = None  # range of ratings

    @property
    def options(self) -> ReadOptions:
        """The separator and the header are given, lest another fit the damaged first line."""
        return ReadOptions(
            separator=self.separator,
            header=bool(self.header),
            scale=SCALE,
            rating_range=self.kept,
            layout=self.layout,
        )

    @property
    def names(self) -> tuple[str, ...]:
        return ("user_id", "item_id", "rating") if self.file.endswith(".inter") else NAMES

    @property
    def open_ended(self) -> bool:
        return self.layout is None and self.separator in (",", ";")

    @property
    def quotes(self) -> bool:
        return self.separator not in ("::", "spaces")


ATOMIC = ("user_id:token", "item_id:token", "rating:float", "timestamp:float")
KINDS = [
    Kind("ratings.dat", "::", layout=LAYOUT),
    Kind("own.dat", "::"),
    Kind("u.data", "\t", layout=LAYOUT),
    Kind("u1.base", "\t", ending="\r\n"),
    Kind("ratings.csv", ",", (*NAMES, "time"), LAYOUT, "\r\n"),
    Kind("own.csv", ",", ("rating", "title", "item", "user")),
    Kind("own.tsv", "\t", NAMES, kept=(1.0, 4.5)),
    Kind("own.txt", "spaces"),
    Kind("semicolons.csv", ";", NAMES, ending="\r\n"),
    Kind("packed.csv.gz", ",", NAMES),
    Kind("bars.dat", "|"),
    Kind(
        "atomic.inter", "\t", ("user_id:token", "item_id:token", "rating:float", "timestamp:float")
    ),
]

# The second grammar ------------------------------------------------------------------------------

INTEGER = "(?:0|[1-9][0-9]{0,17})"
MISSING = ("", "nan", "null", "none", "<na>", "\\n")
LEVEL = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"


def is_label(text: str, kind: Kind) -> bool:
    if kind.layout:
        return bool(re.fullmatch(INTEGER, text)) and int(text) <= kind.layout.max_id
    return (
        len(text) <= 200
        and text.lower() not in MISSING
        and not (text[0].isspace() or text[-1].isspace())
        and not re.search("[\x00-\x1f\x7f-\x9f]", text)
    )


def is_level(text: str, kept: tuple[float, float] | None) -> bool:
    if not re.fullmatch(LEVEL, text):
        return False
    if kept and not kept[0] <= float(text) <= kept[1]:
        return True
    return any(abs(float(text) - level) <= 5e-10 for level in np.arange(0.5, 5.5, 0.5))


def fields_of(line: bytes, kind: Kind) -> list[str]:
    """The fields of a line without its end; none if it is no line of such a file."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        return []
    if not text or re.search("[\x00-\x08\x0a-\x1f\x7f\ufeff]", text) or len(line) > 65_530:
        return []
    if kind.separator == "::":
        return text.split("::") if re.fullmatch("[^:]*(?:::[^:]*)*", text) else []
    if kind.separator == "spaces":
        return re.findall("[^ \t]+", text)
    field = f'"(?:[^"]|"")*"|[^"{kind.separator}]*'
    between = {"|": "[|]"}.get(kind.separator, kind.separator)
    for count in range(1, text.count(kind.separator) + 2):
        if match := re.fullmatch(between.join([f"({field})"] * count), text):
            return [re.sub('^"|"$', "", f).replace('""', '"') for f in match.groups()]
    return []


def columns_of(header: list[str], kind: Kind) -> tuple[int, ...]:
    """Where user, item and rating are; () if the header does not say so once."""
    names = [field.split(":")[0] for field in header] if ":" in kind.header[0] else header
    if any(names.count(name) != 1 for name in kind.names):
        return ()
    where = tuple(names.index(name) for name in kind.names)
    if ":" in kind.header[0]:
        typed = zip(where, ("token", "token", "float"), strict=True)
        if any(header[place] != f"{names[place]}:{kind}" for place, kind in typed):
            return ()
    return where


@dataclass
class Read:
    """What a file holds."""

    rows: dict[tuple[str, str], float]
    faulty: set[int]  # numbers of lines; 0: the file as a whole
    repeated: set[int]  # good lines of pairs that were rated before


def second_grammar(data: bytes, kind: Kind) -> Read:
    own = kind.layout is None
    data = data.removeprefix(b"\xef\xbb\xbf") if own else data
    if not data:
        return Read({}, {0}, set())
    parts = data.split(b"\n")
    ending = b"\r" if len(parts) > 1 and parts[0].endswith(b"\r") else b""
    ended = [part.endswith(ending) for part in parts[:-1]] + [kind.open_ended]
    bodies = [part.removesuffix(ending) for part in parts[:-1]] + parts[-1:]
    if not parts[-1]:
        bodies, ended = bodies[:-1], ended[:-1]
        if own and len(bodies) > 1 and parts[-2] == ending:
            bodies, ended = bodies[:-1], ended[:-1]
    table = [fields_of(body, kind) if ok else [] for body, ok in zip(bodies, ended, strict=True)]
    where = columns_of(table[0], kind) if kind.header else (0, 1, 2)
    count = kind.layout.num_fields if kind.layout else len(table[0])
    if not where or len(table[0]) != count or count < 3:
        return Read({}, {1}, set())
    read = Read({}, set(), set())
    for number, fields in list(enumerate(table, start=1))[bool(kind.header) :]:
        if len(fields) != count:
            read.faulty.add(number)
            continue
        user, item, rating = (fields[p] for p in where)
        times = [field for p, field in enumerate(fields) if p not in where and kind.layout]
        good = is_label(user, kind) and is_label(item, kind) and is_level(rating, kind.kept)
        if not good or not all(re.fullmatch(INTEGER, t) for t in times):
            read.faulty.add(number)
        elif kind.kept and not kind.kept[0] <= float(rating) <= kind.kept[1]:
            continue
        elif (user, item) in read.rows:
            read.repeated.add(number)
        else:
            read.rows[user, item] = float(np.float32(rating))
    if not read.rows and not read.faulty:
        read.faulty = {0}
    return read


# Valid files, and damage to them -----------------------------------------------------------------

WORDS = ["ann", "x, y", 'say "hi"', "007", "caf\u00e9", "a b", "B00X", "\u4e2d", "it's", "a;b"]
BYTES = b"\0\t\n\r \"'+-.,:;0123456789eExX_\x7f\x80\xa0\xc3\xa9\xef\xbb\xbf\xff"
FIELDS = (
    "+7|-7|7.0|1e5| 7|7 |007|0x7|1_0|nan|NaN|inf|-inf|Infinity|||0|71567|71568|999999999999999999|"
    "1000000000000000000|9223372036854775808|1e400|3.5|5.5|4.25|04|.5|4.|4e0|-0|35e-1|5.0|0.50|0.1|"
    '1,5|ann|\u0663|\u00a07|\ufeff7|\u2028|a\u0085b|\u200b|null|NA|\'\'|""|"7"|"a""b"|"a|a"b|'
    '"x"y|a:b|:|::|True|1j|1/2|1 000|0b1|0o7|0_7|1__0|1e|e5|3\u00b2'
).split("|")


def valid_file(kind: Kind, rng: np.random.Generator) -> bytes:
    def quote(text: str) -> str:
        if kind.quotes and (re.search('[,;|"\t]', text) or rng.random() < 0.1):
            return '"' + text.replace('"', '""') + '"'
        return text.replace(" ", "_") if kind.separator == "spaces" else text

    def between() -> str:
        blanks = " \t"[rng.integers(2)] * int(rng.integers(1, 4))
        return blanks if kind.separator == "spaces" else kind.separator

    num = int(rng.integers(1, 9))
    pairs = rng.choice(100, num, replace=False)
    rows = []
    for number, pair in enumerate(pairs):
        user, item = str(pair // 10 + 1), str(pair % 10 * 7_000)
        if not kind.layout and rng.random() < 0.3:
            item = WORDS[pair % 10]
        stars = f"{rng.integers(1, 11) / 2:g}"
        by_name = {"user": user, "item": item, "rating": stars, "title": rng.choice(WORDS)}
        by_name |= {"user_id": user, "item_id": item}
        names = [name.split(":")[0] for name in kind.header or (*NAMES, "time")]
        row = [by_name.get(name, str(978_300_760 + number)) for name in names]
        rows.append(between().join(quote(field) for field in row))
    lines = [between().join(kind.header), *rows] if kind.header else rows
    end = "" if kind.open_ended and rng.random() < 0.5 else kind.ending
    mark = "\ufeff" if kind.layout is None and rng.random() < 0.1 else ""
    blank = kind.ending if kind.layout is None and end and rng.random() < 0.1 else ""
    return (mark + kind.ending.join(lines) + end + blank).encode()


def separator(kind: Kind) -> bytes:
    return b" " if kind.separator == "spaces" else kind.separator.encode()


def damage(data: bytes, kind: Kind, rng: np.random.Generator) -> bytes:
    """One random fault, or a change that is none."""
    at = int(rng.integers(len(data) + 1))
    byte = BYTES[rng.integers(len(BYTES))]
    match int(rng.integers(16)):
        case 0 if at < len(data):
            return data[:at] + bytes([data[at] ^ 1 << int(rng.integers(8))]) + data[at + 1 :]
        case 1:
            return data[:at] + bytes([byte]) + data[at + 1 :]
        case 2:
            return data[:at] + bytes([byte]) + data[at:]
        case 3:
            return data[:at] + data[at + int(rng.integers(1, 4)) :]
        case 4:
            return data[:at]
        case 5:
            return data[:at] + data[max(0, at - int(rng.integers(20))) :]
        case 6:
            return bytes([0xEF, 0xBB, 0xBF]) + data if at % 2 else data + data
        case 7:
            return data.replace(separator(kind), [b",", b"\t", b":", b"::", b";", b"|"][at % 6])
        case 8:
            return data.replace(b"\r", b"") if b"\r" in data else data.replace(b"\n", b"\r\n")
        case 9:
            return data.replace(b"\n", [b"\r", b"\n\n", b"\r\n", b" \n"][at % 4], 1 + at % 3)
        case kind_of_damage:
            return damage_lines(data, kind, kind_of_damage, rng)


def damage_lines(data: bytes, kind: Kind, how: int, rng: np.random.Generator) -> bytes:
    rows = data.splitlines(keepends=True) or [b""]
    one, two = rng.integers(len(rows), size=2)
    between = separator(kind)
    fields = rows[one].split(between)
    at = int(rng.integers(len(fields)))
    match how:
        case 10:
            rows[one], rows[two] = rows[two], rows[one]
        case 11:
            rows.insert(one, rows[two])
        case 12:
            del rows[one]
        case 13:
            rows[one] = between.join(fields[:at] + fields[at + 1 :])
        case _:
            end = b"\n" if fields[at].endswith(b"\n") else b""
            fields[at] = FIELDS[rng.integers(len(FIELDS))].encode() + end
            rows[one] = between.join(fields)
    return b"".join(rows)


# The comparison ----------------------------------------------------------------------------------


def rows_of(ratings: Ratings) -> list[tuple]:
    users, items = ratings.user_ids[ratings.user], ratings.item_ids[ratings.item]
    return list(zip(users.tolist(), items.tolist(), ratings.rating.tolist(), strict=True))


def with_integers(rows: list[tuple[str, str, float]]) -> list[tuple]:
    """The rows as they should be read: a column of integers only is no text."""
    columns = [list(column) for column in zip(*rows, strict=True)]
    for column in columns[:2]:
        if all(re.fullmatch("0|-?[1-9][0-9]*", label) for label in column):
            numbers = [int(label) for label in column]
            for low, high in ((-(2**63), 2**63), (0, 2**64)):
                if all(low <= number < high for number in numbers):
                    column[:] = numbers
    return list(zip(*columns, strict=True))


def slow_faults(path: Path, data: bytes, kind: Kind) -> set[int]:
    """The lines that the slow reader refuses; pairs given twice are not its business."""
    try:
        dialect, _ = find_dialect(path, kind.options)
    except InputError:
        return {1}
    rest = data[dialect.skipped :]
    if dialect.own and rest.endswith(b"\n" + dialect.ending):
        rest = rest.removesuffix(dialect.ending)
    found = grammar.read_lines(BytesIO(rest), dialect.first_line, dialect)
    return {line for line, fields in found if isinstance(fields, grammar.Fault)}


def compare(path: Path, data: bytes, kind: Kind) -> bool:
    """Whether the file is accepted, having made sure that all readers agree on it."""
    path.write_bytes(gzip.compress(data, 1) if path.suffix == ".gz" else data)
    expected = second_grammar(data, kind)
    try:
        ratings = read_ratings(path, kind.options)
    except InputError as error:
        message = str(error)
        told = re.findall(rf"{re.escape(str(path))}(?::(\d+))?: (?!\d+ faults)\S", message)
        repeats = re.findall(r"(\d+) pairs? (?:is|are) rated again", message)
        faulty = {int(number or 0) for number in told[: len(told) - len(repeats)]}
        if expected.faulty == {0}:  # no ratings: an empty file, only a header, none in the range
            assert faulty <= {0} and len(told) <= 1, message
            return False
        assert faulty == set(sorted(expected.faulty)[:20]) or len(expected.faulty) > 20, message
        assert bool(repeats) == bool(expected.repeated), message
        if repeats:
            assert int(told[-1]) == min(expected.repeated), message
        assert slow_faults(path, data, kind) == expected.faulty
        return False
    assert not expected.faulty and not expected.repeated
    rows = [(*pair, stars) for pair, stars in expected.rows.items()]
    assert rows_of(ratings) == with_integers(rows)
    assert not slow_faults(path, data, kind)
    return True


@pytest.mark.parametrize("number", range(len(KINDS)), ids=[kind.file for kind in KINDS])
def test_damaged_files_are_read_as_the_second_grammar_says(tmp_path, number):
    kind = KINDS[number]
    path = tmp_path / kind.file
    num_files = -(-NUM_FILES // len(KINDS))
    num_damaged = num_accepted = 0
    for seed in range(num_files):
        rng = np.random.default_rng([number, seed])
        data = valid_file(kind, rng)
        num_faults = int(rng.integers(4))
        for _ in range(num_faults):
            data = damage(data, kind, rng)
        try:
            accepted = compare(path, data, kind)
        except Exception as error:
            raise AssertionError(f"file {seed} of {kind.file}: {data!r}") from error
        assert accepted or num_faults or kind.kept  # which may leave no rating
        num_damaged += num_faults > 0
        num_accepted += accepted and num_faults > 0
    # Both verdicts are tried: else the comparison would be empty.
    assert 0.02 < num_accepted / num_damaged < 0.7
