"""Given-up requests never reach the network, and clients that leave leave no traceback."""

import contextlib
import json
import logging
import socket
import threading
import time
import urllib.parse

import pytest

from dsf_jax.app import routes
from dsf_jax.app.query import query_from_strokes
from dsf_jax.app.server import create_app
from tests.app.made import BOX, SQUARE, call, drawn, png, serving

pytestmark = pytest.mark.slow  # all wait for each other

DRAWING = json.dumps({"strokes": SQUARE, "box": BOX}).encode()
GIVEN_UP = 60


def connected(address):
    where = urllib.parse.urlparse(address)
    return socket.create_connection((where.hostname, where.port), 60)


def head(path, length, kind="application/json", more=""):
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {length}\r\n{more}\r\n"
    ).encode()


def settled(condition):
    """Waits until the condition holds."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def slow(searcher, monkeypatch):
    """Makes one of the searcher's methods wait; returns the lists of calls begun, and the way on."""

    def slow(method):
        begun, go_on, original = [], threading.Event(), getattr(searcher, method)

        def waiting(*given, **options):
            begun.append(1)
            assert go_on.wait(60)
            return original(*given, **options)

        monkeypatch.setattr(searcher, method, waiting)
        return begun, go_on

    return slow


@pytest.mark.parametrize(
    ("path", "method", "kind", "body"),
    [
        ("/api/search", "embed", "application/json", DRAWING),
        ("/api/guesses", "vote", "application/json", DRAWING),
        ("/api/why?result={id}", "explain", "application/json", DRAWING),
        ("/api/search", "embed", "image/png", png(drawn("square", 1))),
    ],
    ids=["search", "vote", "why", "picture"],
)
def test_what_is_given_up_is_not_computed(searcher, slow, path, method, kind, body):
    shown = searcher.embed(query_from_strokes(SQUARE, BOX))
    path = path.format(id=searcher.search(shown, 1)[0].picture.id)
    begun, go_on = slow(method)
    at_once = routes.AT_ONCE[path.split("/")[2].partition("?")[0]]
    with serving(create_app(searcher)) as address, contextlib.ExitStack() as stack:
        held = [stack.enter_context(connected(address)) for _ in range(at_once)]
        for client in held:
            client.sendall(head(path, len(body), kind) + body)
        settled(lambda: len(begun) == at_once)
        for _ in range(GIVEN_UP):
            with connected(address) as client:
                client.sendall(head(path, len(body), kind) + body)
        last = stack.enter_context(connected(address))
        last.sendall(head(path, len(body), kind) + body)
        for _ in range(
            3
        ):  # what was sent before this is answered has been read: that they have gone
            assert call(address, "/api/health").status == 200
        go_on.set()
        for client in [*held, last]:
            assert client.recv(12) == b"HTTP/1.1 200"
        assert len(begun) == at_once + 1


def test_votes_hold_up_no_search(searcher, slow):
    begun, go_on = slow("vote")
    with serving(create_app(searcher)) as address, contextlib.ExitStack() as stack:
        for _ in range(3 * routes.AT_ONCE["guesses"]):
            client = stack.enter_context(connected(address))
            client.sendall(head("/api/guesses", len(DRAWING)) + DRAWING)
        settled(lambda: len(begun) == routes.AT_ONCE["guesses"])
        assert call(address, "/api/search", DRAWING).status == 200
        go_on.set()


@pytest.mark.parametrize(
    "sent",
    [
        head("/api/search", 900)[:40],
        head("/api/search", 900),
        head("/api/search", 900) + DRAWING[:30],
        head("/api/search", 9000, "image/png") + b"\x89PNG",
        head("/api/guesses", 900) + DRAWING[:30],
        head("/api/search", len(DRAWING)) + DRAWING,
        head("/api/search", 10**9),
        head("/nowhere", 900) + b"x",
        b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n400\r\n{",
        b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\nno number\r\n{",
        b"\x16\x03\x01 this is TLS",
        b"GET /static/page.js HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    ],
)
@pytest.mark.parametrize("reset", [False, True])
def test_a_client_that_leaves_leaves_no_traceback(address, caplog, sent, reset):
    logger = logging.getLogger("uvicorn.error")  # passes nothing on
    logger.addHandler(caplog.handler)
    try:
        with connected(address) as client:
            if reset:  # an RST instead of a FIN
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.sendall(sent)
            time.sleep(0.02)
        time.sleep(0.05)
        assert call(address, "/api/health").status == 200
    finally:
        logger.removeHandler(caplog.handler)
    assert [record.getMessage() for record in caplog.records] == []
