"""Downloads from a server of this test: kept, compared, and never half there."""

import dataclasses
import errno
import functools
import hashlib
import http.server
import shutil
import socket
import threading

import pytest

from dsf_jax.data import downloads
from dsf_jax.data.downloads import Download, fetch, fetch_as, is_address
from tests.data.web import served

CONTENT = bytes(range(256)) * 40


class _Server(http.server.SimpleHTTPRequestHandler):
    asked: list[str] = []  # noqa: RUF012
    ended = threading.Event()

    def do_GET(self):
        self.asked.append(self.path)
        if self.path == "/short.zip":
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT[:1000])
            return
        if self.path == "/silent.zip":
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.ended.wait(60)
            return
        super().do_GET()

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("www")
    (folder / "a b.zip").write_bytes(CONTENT)
    handler = functools.partial(_Server, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        _Server.ended.set()
        server.shutdown()


def _files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_file_is_downloaded_once_under_its_own_name(address, tmp_path):
    sums = {kind: hashlib.new(kind, CONTENT).hexdigest() for kind in ("md5", "sha256")}
    download = Download(f"{address}/a%20b.zip", **sums)
    _Server.asked.clear()
    for _ in range(2):
        path = fetch(download, tmp_path)
        assert path.name == "a b.zip" and path.read_bytes() == CONTENT
    assert _Server.asked == ["/a%20b.zip"] and _files(tmp_path) == [path]


@pytest.mark.parametrize("kind", ["md5", "sha256"])
def test_a_checksum_that_differs_removes_the_file(address, tmp_path, kind):
    found, wrong = hashlib.new(kind, CONTENT).hexdigest(), "0" * 32
    download = Download(f"{address}/a%20b.zip", **{kind: wrong})
    with pytest.raises(ValueError) as caught:
        fetch(download, tmp_path)
    assert str(caught.value) == (
        f"{download.url}: its {kind} is {found}, expected {wrong}; "
        "try again, or download it by other means and give its path"
    )
    assert not _files(tmp_path)


def test_a_download_that_is_cut_short_is_no_file_yet(address, tmp_path):
    with pytest.raises(OSError, match=r"broke off .*1000.*try again"):
        fetch(Download(f"{address}/short.zip"), tmp_path)
    assert {path.name for path in _files(tmp_path)} == {"short.zip.part", "short.zip.version"}


@pytest.fixture
def web(tmp_path):
    (tmp_path / "www" / "host" / "at").mkdir(parents=True)
    (tmp_path / "www" / "host" / "at" / "a b.zip").write_bytes(CONTENT)
    with served(tmp_path / "www") as (address, handler):
        yield address, handler


def test_a_broken_download_goes_on_where_it_was(web, tmp_path):
    address, handler = web
    handler.faults["/host/at/a%20b.zip"] = 3000
    download = Download("https://host/at/a%20b.zip", sha256=hashlib.sha256(CONTENT).hexdigest())
    fetch_as(download, tmp_path / "out" / "a.zip", mirror=f"{address}/")
    assert (tmp_path / "out" / "a.zip").read_bytes() == CONTENT
    assert _files(tmp_path / "out") == [tmp_path / "out" / "a.zip"]
    assert handler.ranges == ["", "bytes=3000-", "bytes=6000-", "bytes=9000-"]


def test_another_process_goes_on_too_unless_the_file_has_changed(web, tmp_path):
    address, handler = web
    target, download = tmp_path / "out" / "a.zip", Download("http://host/at/a%20b.zip")
    part, version = (target.with_name(f"a.zip.{end}") for end in ("part", "version"))
    served_file = tmp_path / "www" / "host" / "at" / "a b.zip"
    tag = f'"{served_file.stat().st_mtime_ns}"'
    for known, content, ranges in (
        (tag, CONTENT + b"more", [f"bytes={len(CONTENT) + 4}-", ""]),
        (tag, CONTENT[:500], ["bytes=500-"]),
        ('"of yesterday"', b"old" * 100, ["bytes=300-"]),
        ("", b"of a server without versions", [""]),
        (tag, CONTENT, []),  # killed before it got its name
    ):
        target.parent.mkdir(exist_ok=True)
        part.write_bytes(content)
        version.write_text(f"{len(CONTENT)} {known}")
        handler.ranges.clear()
        fetch_as(download, target, mirror=address)
        assert target.read_bytes() == CONTENT and handler.ranges == ranges
        assert _files(target.parent) == [target]
        target.unlink()


def test_the_beginning_of_a_file_ends_with_a_whole_line(web, tmp_path):
    address, handler = web
    (tmp_path / "www" / "host" / "x.ndjson").write_bytes(b"12345\n" * 10)
    for first, length in ((15, 12), (60, 60), (100, 60)):
        target = tmp_path / f"{first}.ndjson"
        fetch_as(Download("http://host/x.ndjson", first=first), target, mirror=address)
        assert len(target.read_bytes()) == length
    assert handler.ranges == ["bytes=0-14", "bytes=0-59", "bytes=0-99"]


def test_what_finds_no_room_is_not_begun(web, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda _: usage._replace(free=99))
    with pytest.raises(OSError, match=r"10240 more bytes .* 99 are free; free some") as caught:
        fetch_as(Download("http://host/at/a%20b.zip"), tmp_path / "out" / "a", mirror=web[0])
    assert caught.value.errno == errno.ENOSPC and not (tmp_path / "out" / "a").exists()


def test_a_server_that_falls_silent_is_not_waited_for(address, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "_TIMEOUT", 0.2)
    with pytest.raises(OSError, match=r"silent\.zip.*(timed out|Timeout).*try again"):
        fetch(Download(f"{address}/silent.zip"), tmp_path)
    assert not _files(tmp_path)


def test_what_is_not_there_is_one_clear_line(address, tmp_path):
    with pytest.raises(OSError, match=r"none\.zip cannot be downloaded .*404.*its path"):
        fetch(Download(f"{address}/none.zip"), tmp_path)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/a.zip"
        with pytest.raises(OSError, match=r"cannot be downloaded .*refused"):
            fetch(Download(url), tmp_path)
    assert not _files(tmp_path)


def test_a_path_is_no_address(tmp_path):
    assert is_address("https://a/b.zip") and not is_address(tmp_path) and not is_address("http/a")


def test_no_more_is_taken_than_it_may_have(address, tmp_path):
    download = Download(f"{address}/a%20b.zip", most=len(CONTENT) - 1)
    with pytest.raises(ValueError, match="has more than 10239 bytes"):
        fetch(download, tmp_path)
    assert not [path for path in _files(tmp_path) if path.suffix != ".version"]
    fetch(dataclasses.replace(download, most=len(CONTENT)), tmp_path)
