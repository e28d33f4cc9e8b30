"""Damaged files against a second grammar: the reader takes what that takes, and nothing else.

The second grammar is written from the docstrings of `lines` and `fields`, with none of their
code and no care for speed. $PFR_FUZZ_FILES says how many files to damage.
"""

import os
import re
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from pfr_jax.data import lines
from pfr_jax.data.fields import FixedLayout
from pfr_jax.data.readers import TEXT_FORMATS, read_ratings
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


KINDS = [
    Kind("ratings.dat", "::", layout=LAYOUT),
    Kind("own.dat", "::"),
    Kind("u.data", "\t", layout=LAYOUT),
    Kind("u1.base", "\t", ending="\r\n"),
    Kind("ratings.csv", ",", (*NAMES, "time"), LAYOUT, "\r\n"),
    Kind("own.csv", ",", ("rating", "title", "item", "user")),
    Kind("own.tsv", "\t", NAMES),
]

# The second grammar ------------------------------------------------------------------------------

INTEGER = "(?:0|[1-9][0-9]{0,17})"
DIGITS = r"\d+(?:_\d+)*"
OTHER_NUMBER = (
    rf"[+-]?(?:{DIGITS}[.]?(?:{DIGITS})?|[.]{DIGITS})(?:[eE][+-]?{DIGITS})?"
    "|[+-]?(?:[nN][aA][nN]|[iI][nN][fF](?:[iI][nN][iI][tT][yY])?)"
    "|[+-]?0(?:[xX](?:_?[0-9a-fA-F])+|[oO](?:_?[0-7])+|[bB](?:_?[01])+)"
)
LEVEL = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"


def is_label(text: str, kind: Kind) -> bool:
    if kind.layout:
        return bool(re.fullmatch(INTEGER, text)) and int(text) <= kind.layout.max_id
    if re.fullmatch(f"{INTEGER}|0[0-9]+", text):
        return True
    return (
        0 < len(text) <= 200
        and not (text[0].isspace() or text[-1].isspace())
        and not re.search("[\x00-\x1f\x7f-\x9f]", text)
        and not re.fullmatch(OTHER_NUMBER, text)
    )


def is_level(text: str) -> bool:
    if not re.fullmatch(LEVEL, text):
        return False
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
    field = f'"(?:[^"]|"")*"|[^"{kind.separator}]*'
    for count in range(1, text.count(kind.separator) + 2):
        if match := re.fullmatch(kind.separator.join([f"({field})"] * count), text):
            return [re.sub('^"|"$', "", f).replace('""', '"') for f in match.groups()]
    return []


def second_grammar(data: bytes, kind: Kind) -> tuple[list[tuple[str, str, float]], set[int]]:
    """Rows of a file, and the numbers of its faulty lines: 0 if it is faulty as a whole."""
    if not data:
        return [], {0}
    parts = data.split(b"\n")
    ending = b"\r" if len(parts) > 1 and parts[0].endswith(b"\r") else b""
    ended = [part.endswith(ending) for part in parts[:-1]] + [kind.file == "own.csv"]
    bodies = [part.removesuffix(ending) for part in parts[:-1]] + parts[-1:]
    if not parts[-1]:
        bodies, ended = bodies[:-1], ended[:-1]
    table = [fields_of(body, kind) if ok else [] for body, ok in zip(bodies, ended, strict=True)]
    where = (0, 1, 2)
    if kind.header:
        if any(table[0].count(name) != 1 for name in NAMES):
            return [], {1}
        where = tuple(table[0].index(name) for name in NAMES)
    count = kind.layout.num_fields if kind.layout else len(table[0])
    if len(table[0]) != count or count < 3:
        return [], {1}
    rows: dict[tuple[str, str], float] = {}
    faulty = set()
    for number, fields in list(enumerate(table, start=1))[bool(kind.header) :]:
        if len(fields) != count:
            faulty.add(number)
            continue
        user, item, rating = (fields[p] for p in where)
        times = [field for p, field in enumerate(fields) if p not in where and kind.layout]
        good = is_label(user, kind) and is_label(item, kind) and is_level(rating)
        if not good or (user, item) in rows or not all(re.fullmatch(INTEGER, t) for t in times):
            faulty.add(number)
        else:
            rows[user, item] = float(np.float32(rating))
    if not rows and not faulty:
        faulty = {0}
    return [(*pair, stars) for pair, stars in rows.items()], faulty


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
        if kind.separator != "::" and (re.search('[,"\t]', text) or rng.random() < 0.1):
            return '"' + text.replace('"', '""') + '"'
        return text

    num = int(rng.integers(1, 9))
    pairs = rng.choice(100, num, replace=False)
    rows = []
    for number, pair in enumerate(pairs):
        user, item = str(pair // 10 + 1), str(pair % 10 * 7_000)
        if not kind.layout and rng.random() < 0.3:
            item = WORDS[pair % 10]
        stars = f"{rng.integers(1, 11) / 2:g}"
        by_name = {"user": user, "item": item, "rating": stars, "title": rng.choice(WORDS)}
        names = kind.header or (*NAMES, "time")
        row = [by_name.get(name, str(978_300_760 + number)) for name in names]
        rows.append(kind.separator.join(quote(field) for field in row))
    lines = [kind.separator.join(kind.header), *rows] if kind.header else rows
    end = "" if kind.file == "own.csv" and rng.random() < 0.5 else kind.ending
    return (kind.ending.join(lines) + end).encode()


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
            return data.replace(kind.separator.encode(), [b",", b"\t", b":", b"::", b";"][at % 5])
        case 8:
            return data.replace(b"\r", b"") if b"\r" in data else data.replace(b"\n", b"\r\n")
        case 9:
            return data.replace(b"\n", [b"\r", b"\n\n", b"\r\n", b" \n"][at % 4], 1 + at % 3)
        case kind_of_damage:
            return damage_lines(data, kind, kind_of_damage, rng)


def damage_lines(data: bytes, kind: Kind, how: int, rng: np.random.Generator) -> bytes:
    rows = data.splitlines(keepends=True) or [b""]
    one, two = rng.integers(len(rows), size=2)
    separator = kind.separator.encode()
    fields = rows[one].split(separator)
    at = int(rng.integers(len(fields)))
    match how:
        case 10:
            rows[one], rows[two] = rows[two], rows[one]
        case 11:
            rows.insert(one, rows[two])
        case 12:
            del rows[one]
        case 13:
            rows[one] = separator.join(fields[:at] + fields[at + 1 :])
        case _:
            end = b"\n" if fields[at].endswith(b"\n") else b""
            fields[at] = FIELDS[rng.integers(len(FIELDS))].encode() + end
            rows[one] = separator.join(fields)
    return b"".join(rows)


# The comparison ----------------------------------------------------------------------------------


def rows_of(ratings: Ratings) -> list[tuple]:
    users, items = ratings.user_ids[ratings.user], ratings.item_ids[ratings.item]
    return list(zip(users.tolist(), items.tolist(), ratings.rating.tolist(), strict=True))


def with_integers(rows: list[tuple[str, str, float]]) -> list[tuple]:
    """The rows as they should be read: a column of integers only is no text."""
    columns = [list(column) for column in zip(*rows, strict=True)]
    for column in columns[:2]:
        if all(re.fullmatch(INTEGER, label) for label in column):
            column[:] = map(int, column)
    return list(zip(*columns, strict=True))


def passes_slowly(path: Path, kind: Kind) -> bool:
    """Whether the slow reader finds no fault; pairs given twice are not its business."""
    separator, columns = TEXT_FORMATS[path.suffix]
    try:
        dialect = lines.sniff(path, separator, columns, SCALE, kind.layout)
    except InputError:
        return False
    return lines.first_fault(BytesIO(path.read_bytes()), 1, dialect) is None


def compare(path: Path, kind: Kind) -> bool:
    """Whether the file is accepted, having made sure that all readers agree on it."""
    rows, faulty = second_grammar(path.read_bytes(), kind)
    try:
        ratings = read_ratings(path, None, SCALE, "fuzz", kind.layout)
    except InputError as error:
        message = str(error)
        named = re.match(rf"{re.escape(str(path))}(?::(\d+))?: \S", message)
        assert named, message
        assert int(named[1] or 0) in faulty, message
        assert "cannot be read" not in message, message  # no line was found to blame
        only_slowly = not named[1] or "already; keep one" in message
        assert only_slowly or not passes_slowly(path, kind), message
        return False
    assert not faulty
    assert rows_of(ratings) == with_integers(rows)
    assert passes_slowly(path, kind)
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
        path.write_bytes(data)
        try:
            accepted = compare(path, kind)
        except Exception as error:
            raise AssertionError(f"file {seed} of {kind.file}: {data!r}") from error
        assert accepted or num_faults
        num_damaged += num_faults > 0
        num_accepted += accepted and num_faults > 0
    # Both verdicts are tried: else the comparison would be empty.
    assert 0.02 < num_accepted / num_damaged < 0.7
