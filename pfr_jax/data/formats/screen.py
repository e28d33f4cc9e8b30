"""What Arrow might let pass in the lines of a text file, looked for with NumPy: fast, not exact.

A piece in which nothing is found has no fault around its fields; one in which something is may
still have none.
"""

from collections.abc import Iterator

import numpy as np

from pfr_jax.data.formats import grammar
from pfr_jax.data.formats.grammar import Dialect

PART = 1 << 20  # bytes, about
_NEW_LINE, _QUOTE = ord("\n"), ord('"')


def looks_odd(piece: bytes, dialect: Dialect) -> bool:
    """Whether anything is in `piece`, whole lines, that might be wrong outside the fields."""
    return any(_is_odd(part, dialect) for part in _parts(piece))


def _parts(piece: bytes) -> Iterator[bytes]:
    """A piece in parts of whole lines that stay in a processor's cache while they are looked at."""
    begin = 0
    while begin < len(piece):
        end = piece.rfind(b"\n", begin, begin + PART) + 1 or len(piece)
        yield piece[begin:end]
        begin = end


def _is_odd(piece: bytes, dialect: Dialect) -> bool:
    if dialect.ending == b"\r\n":
        odd_ends = not piece.count(b"\r\n") == piece.count(b"\r") == piece.count(b"\n")
    else:
        odd_ends = b"\r" in piece
    return (
        odd_ends
        or not (piece.endswith(b"\n") or dialect.open_end)
        or piece.startswith(dialect.ending)
        or b"\n" + dialect.ending in piece  # a blank line
        or (dialect.quotable and not _is_quoted_well(piece, dialect.separator))
        or grammar.holds_control(piece)
        or grammar.BYTE_ORDER_MARK in piece
        or _longest_line(piece) > grammar.MAX_LINE
        or not _is_utf8(piece)
    )


def _is_quoted_well(piece: bytes, separator: str) -> bool:
    """Whether quotes open where a field begins, close where it ends, and never span lines.

    Within a field two quotes mean one: the first closes, the second opens again at once.
    """
    if b'"' not in piece:
        return True
    data = np.frombuffer(b"\n" + piece + b"\n", np.uint8)
    quote, line_end = data == _QUOTE, data == _NEW_LINE
    # From an opening quote to the byte before the closing one.
    inside = np.bitwise_xor.accumulate(quote.view(np.uint8)).view(bool)
    if (inside & line_end).any():  # the last line end, too: all quotes are closed
        return False
    # \r stands before \n only.
    border = quote | line_end | (data == ord(separator)) | (data == ord("\r"))
    opens_inside = (quote & inside)[1:] & ~border[:-1]
    goes_on = (quote & ~inside)[:-1] & ~border[1:]
    return not (opens_inside.any() or goes_on.any())


def _longest_line(piece: bytes) -> int:
    """In bytes, line end included."""
    ends = np.flatnonzero(np.frombuffer(piece, np.uint8) == _NEW_LINE)
    return int(np.diff(ends, prepend=-1, append=len(piece) - 1).max())


def _is_utf8(piece: bytes) -> bool:
    try:
        piece.decode()
    except UnicodeDecodeError:
        return False
    return True
