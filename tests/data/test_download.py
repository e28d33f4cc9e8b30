"""Downloads from a server on this machine: the good archive is accepted, and nothing else."""

import hashlib
import io
import socket
import stat
import tempfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pfr_jax.data import download, load, sources
from pfr_jax.data.download import Archive, fetch
from pfr_jax.errors import InputError

RATINGS, USERS, README = "ml-100k/u.data", "ml-100k/u.user", "ml-100k/README"
TITLES = "ml-100k/u.item"
CONTENT = {
    "ml-100k/": b"",
    README: b"Terms of use\n",
    RATINGS: b"2\t9\t4\t881250949\n1\t9\t3\t881250950\n",
    USERS: b"1|24|M|technician|85711\n2|53|F|other|94043\n",
    TITLES: b"1|Toy Story\n",
}


class Handler(BaseHTTPRequestHandler):
    """Answers as the server's `answers` say, path by path."""

    def do_GET(self):  # noqa: N802
        status, headers, body = self.server.answers[self.path]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            self.wfile.write(body)
        except ConnectionError:
            pass  # the client had enough

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    """A server with one good archive at /good; `answers` may be changed."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{server.server_port}"
    server.answers = {}
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def data_dir(tmp_path):
    return tmp_path / "data"


@pytest.fixture(autouse=True)
def nothing_outside_is_touched(tmp_path, data_dir):
    (tmp_path / "beside").write_text("mine")
    yield
    assert {path.name for path in tmp_path.iterdir()} <= {"beside", "data"}
    assert (tmp_path / "beside").read_text() == "mine"


def zipped(content: dict, compression=zipfile.ZIP_DEFLATED) -> bytes:
    """Members by name, or by a ZipInfo of one's own."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def whole(body: bytes) -> tuple[int, dict, bytes]:
    return 200, {"Content-Length": str(len(body))}, body


def archive_of(server, path: str, body: bytes) -> Archive:
    digest = hashlib.sha256(body).hexdigest()
    return Archive(f"{server.url}{path}", len(body), f"sha256:{digest}", (README,), "For research.")


def files_in(data_dir) -> dict[str, bytes]:
    return {
        str(path.relative_to(data_dir)): path.read_bytes()
        for path in data_dir.rglob("*")
        if not path.is_dir()
    }


def assert_nothing_is_left(data_dir):
    assert list(data_dir.rglob("*")) == []


GOOD = zipped(CONTENT)


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_a_good_archive_is_unpacked_and_thrown_away(server, data_dir, capsys, algorithm):
    server.answers["/good"] = whole(GOOD)
    digest = hashlib.new(algorithm, GOOD).hexdigest()
    extras = README, TITLES, "ml-100k/not-there"
    archive = Archive(f"{server.url}/good", len(GOOD), f"{algorithm}:{digest}", extras, "Be kind.")
    fetch(archive, (RATINGS, USERS), data_dir)
    assert files_in(data_dir) == {name: body for name, body in CONTENT.items() if body}
    assert [path.name for path in data_dir.iterdir()] == ["ml-100k"]
    shown = capsys.readouterr()
    assert "Be kind." in shown.err and archive.url in shown.err
    assert shown.out == ""


def test_without_a_length_the_whole_is_accepted_and_a_part_is_not(server, data_dir):
    archive = archive_of(server, "/body", GOOD)
    server.answers["/body"] = 200, {}, GOOD[:-1]
    with pytest.raises(InputError, match="bytes arrived instead of"):
        fetch(archive, (RATINGS,), data_dir)
    assert_nothing_is_left(data_dir)
    server.answers["/body"] = 200, {}, GOOD
    fetch(archive, (RATINGS,), data_dir)
    assert set(files_in(data_dir)) == {RATINGS, README}


def test_a_redirect_of_the_same_scheme_is_followed(server, data_dir):
    server.answers["/old"] = 302, {"Location": f"{server.url}/new"}, b""
    server.answers["/new"] = 301, {"Location": "/good"}, b""
    server.answers["/good"] = whole(GOOD)
    fetch(archive_of(server, "/old", GOOD), (RATINGS,), data_dir)
    assert files_in(data_dir)[RATINGS] == CONTENT[RATINGS]


FLIPPED = GOOD[:99] + bytes([GOOD[99] ^ 1]) + GOOD[100:]
LENGTH = {"Content-Length": str(len(GOOD))}


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ((200, LENGTH, GOOD[:-7]), "IncompleteRead|bytes arrived instead of"),
        (whole(GOOD[:-7]), "bytes arrived instead of"),
        (whole(b""), "0 bytes arrived instead of"),
        (whole(GOOD + b"x"), "more than .* bytes arrived"),
        ((200, {}, GOOD + bytes(1 << 23)), "more than .* bytes arrived"),
        (whole(FLIPPED), "hash"),
        ((404, LENGTH, GOOD), "404"),
        ((500, LENGTH, GOOD), "500"),
        ((302, {"Location": "https://127.0.0.1:1/good"}, b""), "https://.* another scheme"),
        ((302, {"Location": "ftp://127.0.0.1:1/good"}, b""), "ftp://.* another scheme"),
        ((302, {"Location": "file:///etc/hostname"}, b""), "file:///.* another scheme"),
        ((302, {"Location": "/bad"}, b""), "redirects"),
    ],
)
def test_a_bad_answer_is_refused_and_leaves_nothing(server, data_dir, answer, problem):
    server.answers["/bad"] = answer
    with pytest.raises(InputError, match=problem) as error:
        fetch(archive_of(server, "/bad", GOOD), (RATINGS,), data_dir)
    assert_nothing_is_left(data_dir)
    message = str(error.value)
    assert f"{server.url}/bad" in message and str(data_dir) in message and "--data_dir" in message
    assert "\n" not in message


def special(name: str, kind: int) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name)
    member.external_attr = (kind | 0o777) << 16
    return member


@pytest.mark.parametrize(
    ("extra", "problem"),
    [
        ({"../beside": b"evil"}, r"holds the path '\.\./beside'"),
        ({"ml-100k/../../beside": b"evil"}, "holds the path"),
        ({"ml-100k/./x": b"evil"}, "holds the path"),
        ({"ml-100k//x": b"evil"}, "holds the path"),
        ({"/pfr_jax_evil": b"evil"}, "holds the path '/pfr_jax_evil'"),
        ({"..\\beside": b"evil"}, "holds the path"),
        ({"C:/beside": b"evil"}, "holds the path"),
        ({special("ml-100k/link", stat.S_IFLNK): b"../../beside"}, "is a link or device"),
        ({special("ml-100k/pipe", stat.S_IFIFO): b""}, "is a link or device"),
        ({"ml-100k/bomb": bytes(3 << 20)}, "more than 100 times its size"),
        ({f"ml-100k/{n}": b"" for n in range(100)}, "more than 100 members"),
    ],
)
def test_a_harmful_archive_is_refused_as_a_whole(server, data_dir, extra, problem):
    """Though its hash is the known one, and the harmful member is not asked for."""
    body = zipped(CONTENT | extra)
    server.answers["/evil"] = whole(body)
    with pytest.raises(InputError, match=problem):
        fetch(archive_of(server, "/evil", body), (RATINGS,), data_dir)
    assert_nothing_is_left(data_dir)


def test_a_symbolic_link_in_the_place_of_the_ratings_is_refused(server, data_dir):
    link = special(RATINGS, stat.S_IFLNK)
    body = zipped({link: b"../../beside", README: b""})
    server.answers["/evil"] = whole(body)
    with pytest.raises(InputError, match="is a link or device"):
        fetch(archive_of(server, "/evil", body), (RATINGS,), data_dir)
    assert_nothing_is_left(data_dir)


def test_the_sum_of_all_members_is_limited(server, data_dir, monkeypatch):
    monkeypatch.setattr(download, "MAX_TOTAL", sum(map(len, CONTENT.values())) - 1)
    server.answers["/good"] = whole(GOOD)
    with pytest.raises(InputError, match="unpacks to more than"):
        fetch(archive_of(server, "/good", GOOD), (RATINGS,), data_dir)
    assert_nothing_is_left(data_dir)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("seed", range(3))
def test_other_archives_that_are_not_whole(server, data_dir, seed):
    """Two members of a name, none of the one asked for, no archive at all."""
    buffer = io.BytesIO(GOOD)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(RATINGS, b"1\t1\t1\t1\n")
    bodies = [buffer.getvalue(), zipped({README: b""}), b"<html>Sorry</html>"]
    server.answers["/odd"] = whole(bodies[seed])
    with pytest.raises(InputError, match="two members|does not hold ml-100k/u.data|not a zip"):
        fetch(archive_of(server, "/odd", bodies[seed]), (RATINGS,), data_dir)
    assert_nothing_is_left(data_dir)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("flip", [0x01, 0x40, 0xFF])
def test_an_archive_with_any_byte_changed_never_gives_other_ratings(compression, flip):
    """As if its hash were the known one: only the unpacking stands in the way."""
    body = zipped({RATINGS: CONTENT[RATINGS] * 2, README: b""}, compression)
    refused = 0
    with tempfile.TemporaryDirectory() as folder:
        for at in range(len(body)):
            packed, unpacked = Path(folder, "packed"), Path(folder, str(at))
            packed.write_bytes(body[:at] + bytes([body[at] ^ flip]) + body[at + 1 :])
            try:
                download._unpack(packed, (RATINGS,), (README,), unpacked)
            except download.FAILURES:
                refused += 1
            else:
                assert (unpacked / RATINGS).read_bytes() == CONTENT[RATINGS] * 2
    assert refused > len(body) / 4


def test_what_is_there_is_kept(server, data_dir):
    server.answers["/good"] = whole(GOOD)
    (data_dir / "ml-100k").mkdir(parents=True)
    (data_dir / RATINGS).write_text("mine")
    fetch(archive_of(server, "/good", GOOD), (RATINGS, USERS), data_dir)
    assert files_in(data_dir) == {
        RATINGS: b"mine",
        **{name: CONTENT[name] for name in (USERS, README)},
    }


def test_a_stop_by_the_user_leaves_nothing(server, data_dir, monkeypatch):
    def stop(*args):
        raise KeyboardInterrupt

    server.answers["/good"] = whole(GOOD)
    monkeypatch.setattr(download._Bounded, "write", stop)
    with pytest.raises(KeyboardInterrupt):
        fetch(archive_of(server, "/good", GOOD), (RATINGS,), data_dir)
    assert_nothing_is_left(data_dir)


def test_a_folder_that_cannot_be_written_is_named(server, tmp_path):
    server.answers["/good"] = whole(GOOD)
    with pytest.raises(InputError, match="beside"):
        fetch(archive_of(server, "/good", GOOD), (RATINGS,), tmp_path / "beside")


@pytest.fixture
def source(server, monkeypatch):
    """ml100k, with the good archive on the local server."""
    server.answers["/good"] = whole(GOOD)
    archive = archive_of(server, "/good", GOOD)
    changed = sources.dataclasses.replace(sources.SOURCES["ml100k"], archive=archive)
    monkeypatch.setitem(sources.SOURCES, "ml100k", changed)
    return changed


def test_a_source_is_downloaded_once(source, server, data_dir):
    assert load("ml100k", data_dir, download=True).rating.tolist() == [4.0, 3.0]
    server.answers.clear()  # whoever asks now gets no answer
    assert load("ml100k", data_dir, download=True).rating.tolist() == [4.0, 3.0]


def test_missing_users_are_downloaded_when_they_are_asked_for(source, data_dir):
    load("ml100k", data_dir, download=True)
    assert not (data_dir / USERS).exists()
    assert load("ml100k", data_dir, download=True, user_profile=True).profile.shape == (2, 30)
    assert set(files_in(data_dir)) == {RATINGS, USERS, README}


def test_without_leave_to_download_nothing_is_asked_for(source, server, data_dir):
    server.answers.clear()
    with pytest.raises(InputError) as error:
        load("ml100k", data_dir, download=False)
    message = str(error.value)
    for part in (str(data_dir / RATINGS), source.archive.url, "--download", "--data_dir"):
        assert part in message
    assert not data_dir.exists()


def test_offline_says_what_to_do(source, data_dir, monkeypatch):
    with socket.socket() as free:  # bound, but nobody listens
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/ml-100k.zip"
        archive = sources.dataclasses.replace(source.archive, url=url)
        offline = sources.dataclasses.replace(source, archive=archive)
        monkeypatch.setitem(sources.SOURCES, "ml100k", offline)
        with pytest.raises(InputError) as error:
            load("ml100k", data_dir, download=True)
    assert_nothing_is_left(data_dir)
    for part in (url, "refused", f"unpack it in {data_dir}", "--data_dir"):
        assert part in str(error.value)
