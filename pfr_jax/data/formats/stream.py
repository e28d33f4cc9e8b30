"""The bytes of a text file, unpacked where it is packed, in pieces of whole lines."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from pfr_jax.data.formats.grammar import MAX_LINE, Dialect

PIECE = 1 << 24  # bytes, about
PACKED = {".gz": "gzip", ".zst": "zstd"}


def suffix(path: Path) -> str:
    """The ending of the name that says what kind of file it is, in lower case: .csv of a.csv.gz."""
    packed = path.suffix.lower() in PACKED
    return (Path(path.stem) if packed else path).suffix.lower()


def first_line(path: Path) -> bytes:
    """With its end; of a line without one, at most MAX_LINE + 1 bytes and a byte-order mark."""
    with _open(path) as file:
        begin = file.read(MAX_LINE + 4)
    end = begin.find(b"\n") + 1
    return begin[: end or MAX_LINE + 4]


def pieces(path: Path, dialect: Dialect) -> Iterator[tuple[bytes, bool]]:
    """The file after what `dialect` skips, in pieces of whole lines, and which is the last."""
    with _open(path) as file:
        file.read(dialect.skipped)
        rest, piece = b"", b""
        while block := file.read(PIECE):
            end = block.rfind(b"\n") + 1
            if not end:  # a line goes on: it is too long, or the last
                rest += block
                if len(rest) > MAX_LINE:
                    break
                continue
            if piece:
                yield piece, False
            piece, rest = rest + block[:end], block[end:]
        if piece:
            yield piece, not rest
        if rest:
            yield rest, True


def _open(path: Path) -> pa.NativeFile:
    """Raises OSError where it cannot be read or unpacked; so does reading it."""
    return pa.input_stream(str(path), compression=PACKED.get(path.suffix.lower()))
