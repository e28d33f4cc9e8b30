"""Public data sets fetched from their official archives: all that was promised, or nothing.

An archive must have the size and hash that are known for it. Only the files that are asked for
are unpacked, and only from an archive that is harmless as a whole. All happens in a temporary
folder of the data directory, which is gone afterwards; files move from there under their names
when they are complete. Nothing that is there already is replaced.
"""

import logging
import shutil
import stat
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urljoin, urlsplit

import pooch
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

from pfr_jax.errors import InputError

TIMEOUT = (15, 60)  # seconds to connect; seconds without a byte
CHUNK = 1 << 20  # bytes
# Well above what an archive of some text files needs, 32 million ratings included.
MAX_MEMBERS = 100
MAX_TOTAL = 4 << 30  # bytes, unpacked
MAX_RATIO = 100  # unpacked to packed bytes, of any member; deflate can reach 1,032
# What requests (an OSError), pooch (ValueError) and zipfile (the others too) may raise.
FAILURES = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class Archive:
    """A zip file that its publisher offers."""

    url: str
    size: int  # bytes
    known_hash: str  # "sha256:..." or "md5:..."
    extras: tuple[str, ...]  # members that are kept too, if they are there: terms of use, titles
    terms: str  # of use, in a sentence


def fetch(archive: Archive, files: tuple[str, ...], data_dir: Path) -> None:
    """Download `archive`, saying so on stderr, and put those of `files` that are missing in place.

    `files` are members of the archive, and paths relative to `data_dir`. Raises InputError if
    anything is not as it should be; then the files are as they were.
    """
    print(
        f"Downloading {archive.url} ({archive.size / 1e6:,.1f} MB) to {data_dir}. {archive.terms}",
        file=sys.stderr,
    )
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=data_dir) as folder:
            packed = _download(archive, Path(folder) / "packed")
            unpacked = Path(folder) / "unpacked"
            for file in _unpack(packed, files, archive.extras, unpacked):
                if not (data_dir / file).exists():
                    (data_dir / file).parent.mkdir(parents=True, exist_ok=True)
                    (unpacked / file).replace(data_dir / file)
    except FAILURES as error:
        raise InputError(
            f"{archive.url}: {error}. Nothing was kept of it; try again later, or "
            f"{by_hand(archive, data_dir)}"
        ) from error


def by_hand(archive: Archive, data_dir: Path) -> str:
    """What a user can do without `fetch`."""
    return (
        f"download {archive.url} elsewhere and unpack it in {data_dir}, or say with --data_dir "
        "where it is unpacked already"
    )


def _download(archive: Archive, folder: Path) -> Path:
    """The archive's path in `folder`; raises OSError or ValueError."""
    pooch.get_logger().setLevel(logging.WARNING)  # it would name a file that is soon gone
    console = Console(stderr=True)
    columns = (BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=archive.size)
        downloader = _Downloader(archive.size, lambda count: bar.update(task, completed=count))
        return Path(
            pooch.retrieve(
                archive.url,
                archive.known_hash,
                fname="archive.zip",
                path=folder,
                downloader=downloader,
            )
        )


class _Downloader:
    """pooch's, but for exactly `size` bytes, and through redirects of the same scheme only."""

    def __init__(self, size: int, show: Callable[[int], None]):
        self._size = size
        self._show = show  # called with the bytes so far
        self._responses: list[Any] = []

    def __call__(self, url: str, output_file: str, mod: Any) -> None:
        get = pooch.HTTPDownloader(
            chunk_size=CHUNK,
            timeout=TIMEOUT,
            hooks={"response": self._look_at},
            headers={"Accept-Encoding": "identity"},
        )
        try:
            with open(output_file, "wb") as file:
                body = _Bounded(file, self._size, self._show)
                get(url, body, mod)
            if body.count != self._size:
                raise ValueError(f"{body.count:,} bytes arrived instead of {self._size:,}")
        finally:
            for response in self._responses:
                response.close()

    def _look_at(self, response: Any, *args: Any, **kwargs: Any) -> None:
        """Called with every response, before a redirect is followed."""
        self._responses.append(response)
        if response.is_redirect:
            target = urljoin(response.url, response.headers["location"])
            if urlsplit(target).scheme != urlsplit(response.url).scheme:
                raise ValueError(f"redirected to {target}, which is another scheme: refused")


class _Bounded:
    """A file that can be written to up to `size` bytes."""

    def __init__(self, file: BinaryIO, size: int, show: Callable[[int], None]):
        self.count = 0  # bytes written
        self._file = file
        self._size = size
        self._show = show

    def write(self, data: bytes) -> None:
        self.count += len(data)
        if self.count > self._size:
            raise ValueError(f"more than {self._size:,} bytes arrived")
        self._file.write(data)
        self._show(self.count)

    def flush(self) -> None:
        """Closing is soon enough."""


def _unpack(
    packed: Path, files: tuple[str, ...], extras: tuple[str, ...], folder: Path
) -> list[str]:
    """Unpack `files`, and what there is of `extras`, into `folder`; which ones these are.

    Raises ValueError, or whatever zipfile does, if one is missing or anything in the archive
    is suspicious, asked for or not.
    """
    with zipfile.ZipFile(packed) as archive:
        members = {member.filename: member for member in archive.infolist()}
        if len(members) != len(archive.infolist()):
            raise ValueError("the archive holds two members of one name: refused")
        if len(members) > MAX_MEMBERS:
            raise ValueError(f"the archive holds more than {MAX_MEMBERS} members: refused")
        if sum(member.file_size for member in members.values()) > MAX_TOTAL:
            raise ValueError(f"the archive unpacks to more than {MAX_TOTAL:,} bytes: refused")
        for member in members.values():
            _check_member(member)
        missing = set(files) - set(members)
        if missing:
            raise ValueError(f"the archive does not hold {', '.join(sorted(missing))}")
        wanted = [name for name in (*extras, *files) if name in members]
        for name in wanted:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            # zipfile reads no more than the size checked above, and checks the CRC-32 at the end.
            with archive.open(members[name]) as source, target.open("xb") as file:
                shutil.copyfileobj(source, file, CHUNK)
                if file.tell() != members[name].file_size:
                    raise ValueError(f"{name} in the archive is cut")
    return wanted


def _check_member(member: zipfile.ZipInfo) -> None:
    """Raise ValueError unless this is a plain file or folder, at a path below the root."""
    name = member.orig_filename  # which zipfile has not made harmless
    parts = name.removesuffix("/").split("/")
    if any(part in ("", ".", "..") for part in parts) or any(c in name for c in '\\:\0"'):
        raise ValueError(f"the archive holds the path {name!r}: refused")
    kind = stat.S_IFMT(member.external_attr >> 16)  # 0 where the archive does not say
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise ValueError(f"{name} in the archive is a link or device: refused")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} in the archive is compressed in an unknown way: refused")
    if member.flag_bits & 0x1:
        raise ValueError(f"{name} in the archive is encrypted: refused")
    if member.file_size > MAX_RATIO * member.compress_size + 1024:  # little ones may be empty
        raise ValueError(
            f"{name} in the archive unpacks to more than {MAX_RATIO} times its size: refused"
        )
