"""Files of the web, from a server of this machine: broken off, changed, too large."""

import hashlib
import http.server
import threading

import numpy as np
import pytest

from dsf_jax.data import downloads
from dsf_jax.data.downloads import download

CONTENT = np.random.default_rng(0).bytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Keeps what it was asked for: (path, first byte)."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked = []
        self.address = f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT; /cut breaks off half way, /whole knows no ranges, all else is not there."""

    def do_GET(self):
        first = int(self.headers.get("Range", "bytes=0-")[6:-1])
        assert isinstance(self.server, Server)
        self.server.asked.append((self.path, first))
        if self.path == "/missing":
            return self.send_error(404)
        ranged = first and self.path != "/whole"
        if ranged and first >= len(CONTENT):
            return self.send_error(416)
        body = CONTENT[first:] if ranged else CONTENT
        self.send_response(206 if ranged else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if self.path == "/cut" else body)

    def log_message(self, *arguments):
        """Says nothing."""


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_file_is_whole_and_checked(server, tmp_path):
    download(f"{server.address}/file", tmp_path / "file", sha256=SHA256, most=len(CONTENT))
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("path", ["file", "whole"])
@pytest.mark.parametrize("there", [1, 200_000, 300_000])
def test_what_is_there_is_not_fetched_again_where_the_server_can(server, tmp_path, path, there):
    (tmp_path / "file.part").write_bytes(CONTENT[:there])
    if path == "whole" and there == len(CONTENT):
        pytest.skip("a server without ranges sends all of it")
    download(f"{server.address}/{path}", tmp_path / "file", sha256=SHA256, most=len(CONTENT))
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.asked == [(f"/{path}", there)]


def test_a_connection_that_breaks_off_goes_on(server, tmp_path):
    """Half of the rest comes each time: three tries do not suffice, a second call goes on from there."""
    address, file = f"{server.address}/cut", tmp_path / "file"
    with pytest.raises(OSError, match=r"/cut cannot be fetched \(.*broke off.*try again later"):
        download(address, file, sha256=SHA256, most=len(CONTENT))
    assert not file.exists()
    firsts = [first for _, first in server.asked]
    assert firsts == [0, 150_000, 225_000]
    download(f"{server.address}/file", file, sha256=SHA256, most=len(CONTENT))
    assert file.read_bytes() == CONTENT and server.asked[-1] == ("/file", 262_500)


def test_what_was_changed_is_refused_and_forgotten(server, tmp_path):
    with pytest.raises(ValueError, match=f"has the SHA-256 {SHA256}, expected {'0' * 64}"):
        download(f"{server.address}/file", tmp_path / "file", sha256="0" * 64, most=len(CONTENT))
    assert not list(tmp_path.iterdir())


def test_no_more_is_taken_than_said(server, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "CHUNK", 10_000)
    with pytest.raises(ValueError, match="has more than 100000 bytes"):
        download(f"{server.address}/file", tmp_path / "file", sha256=SHA256, most=100_000)
    assert (tmp_path / "file.part").stat().st_size <= 100_000


def test_what_is_not_there_is_not_asked_for_again(server, tmp_path):
    with pytest.raises(OSError, match=r"/missing cannot be fetched \(HTTP Error 404"):
        download(f"{server.address}/missing", tmp_path / "file", sha256=SHA256, most=1)
    assert len(server.asked) == 1


@pytest.mark.parametrize("address", ["http://example.org/x", "file:///etc/passwd", "ftp://h/x"])
def test_other_addresses_are_refused(address, tmp_path):
    with pytest.raises(ValueError, match="is no https:// address"):
        download(address, tmp_path / "x", sha256=SHA256, most=1)
