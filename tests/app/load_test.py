"""Many clients at once, of every kind: each is answered, and the log stays clean."""

import concurrent.futures
import json
import logging
import random
import socket
import urllib.parse

import pytest

from tests.app.made import BARS, BOX, SQUARE, call, jpeg, sheet

pytestmark = pytest.mark.slow

REQUESTS, CLIENTS = 160, 12
STROKES = {"strokes": SQUARE, "box": BOX}


def leaves(address, length):
    """Sends half of what it has announced, and goes."""
    place = urllib.parse.urlsplit(address)
    with socket.create_connection((place.hostname, place.port)) as connection:
        head = f"POST /api/search HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: {length}\r\n"
        connection.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + b"x" * 9)


def ask(address, number):
    """Makes one of eight kinds of request; returns its status, and what it should be."""
    rng = random.Random(number)
    picture = jpeg(sheet(noise=rng.uniform(0, 4))[0])
    kinds = [
        lambda: (call(address, "/api/search", STROKES), 200),
        lambda: (call(address, "/api/search?count=9", {"strokes": BARS, "box": BOX}), 200),
        lambda: (call(address, "/api/guesses", STROKES), 200),
        lambda: (call(address, "/api/search", picture, "image/jpeg"), 200),
        lambda: (call(address, "/api/search", picture[:200], "image/jpeg"), 422),
        lambda: (call(address, "/api/search", {"strokes": [], "box": BOX}), 422),
        lambda: (call(address, "/api/health"), 200),
        lambda: (call(address, "/api/pictures/none"), 404),
    ]
    if number % 9 == 0:
        return leaves(address, rng.randrange(100, 10**6))
    reply, expected = kinds[number % len(kinds)]()
    if reply.status == 200 and "search" in str(reply.data[:12]):
        json.loads(reply.data)
    return reply.status, expected


def test_a_mixed_load_is_answered_and_leaves_no_traceback(address, caplog):
    logger = logging.getLogger("uvicorn.error")
    logger.addHandler(caplog.handler)
    try:
        with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
            answers = list(pool.map(lambda number: ask(address, number), range(REQUESTS)))
        assert call(address, "/api/search", STROKES).status == 200
    finally:
        logger.removeHandler(caplog.handler)
    answered = [answer for answer in answers if answer]
    assert len(answered) > REQUESTS * 0.8
    assert [status for status, _ in answered] == [expected for _, expected in answered]
    assert [record.getMessage() for record in caplog.records] == []
