"""The API as a program calls it: answers, limits, and one line for everything that is wrong."""

import concurrent.futures
import io
import json
import socket
import threading
import urllib.parse
import urllib.request

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies
from PIL import Image

from dsf_jax.app import errors, request_body, server
from dsf_jax.app.searcher import Searcher
from dsf_jax.app.server import create_app
from tests.app.made import BARS, BOX, SQUARE, call, drawn, gallery, jpeg, png, serving

pytestmark = pytest.mark.slow  # all ask networks over sockets

DRAWING = {"strokes": SQUARE, "box": BOX}


def search(address, body=None, kind="application/json", **options):
    asked = urllib.parse.urlencode(options, doseq=True)
    return call(address, f"/api/search?{asked}", DRAWING if body is None else body, kind)


def ids(reply):
    assert reply.status == 200, reply.data
    return [result["id"] for result in reply.json["results"]]


# --- Answers ---


def test_strokes_find_pictures(address, searcher):
    answer = search(address, count=5).json
    assert answer["taken"] == "drawing" and answer["pictures"] == 33
    assert len(answer["results"]) == 5 and answer["milliseconds"] > 0
    for result in answer["results"]:
        picture = searcher.gallery.get(result["id"])
        assert result["path"] == picture.path and result["label"] == picture.label
        assert (result["width"], result["height"]) == (picture.width, picture.height)
        assert 1 <= result["steps"] <= 5 and 0 <= result["closer_than"] <= 1
        assert result["duplicates"] == []
    assert answer["nothing_near"] == (answer["results"][0]["steps"] == 1)
    distances = [result["distance"] for result in answer["results"]]
    assert distances == sorted(distances)
    shares = [guess["probability"] for guess in answer["guesses"]]
    assert shares[:4] == sorted(shares[:4], reverse=True)
    assert sum(shares) == pytest.approx(1, abs=1e-5)
    assert [guess["pictures"] for guess in answer["guesses"]] == [8, 8, 8, 8, 0]


def test_a_picture_file_is_a_query(address):
    photo = search(address, png(drawn("square", 2)), "image/png").json
    assert photo["taken"] == "photo" and photo["results"][0]["label"] == "square"
    assert photo["results"][0]["distance"] < 1e-3  # it is in the gallery
    scan = search(address, jpeg(drawn("hollow ring", 2)), "image/jpeg", **{"as": "drawing"}).json
    assert scan["taken"] == "drawing" and scan["results"]


def test_a_picture_of_the_gallery_is_a_query(address):
    one = ids(search(address))[0]
    answer = search(address, {"picture": one}, count=200)
    assert answer.json["taken"] == "picture" and answer.json["guesses"] == []
    assert one not in ids(answer) and len(ids(answer)) == 32


def test_marks_and_filters(address):
    before = ids(search(address, count=200))
    after = ids(search(address, count=200, like=before[9], unlike=before[:2]))
    assert after != before and not set(before[:2]) & set(after)
    filtered = search(address, count=200, label=["bars", "square"]).json["results"]
    assert {result["label"] for result in filtered} == {"bars", "square"}


def test_the_vote_and_the_reasons(address):
    voted = call(address, "/api/guesses", DRAWING).json["guesses"]
    assert len(voted) == 5 and voted[0]["probability"] >= voted[1]["probability"]
    assert voted[-1]["label"] is None
    one = ids(search(address))[0]
    for body, kind in ((DRAWING, "application/json"), (png(drawn("bars", 1)), "image/png")):
        why = call(address, f"/api/why?result={one}", body, kind).json
        for side in ("query", "result"):
            assert why[side]["view"].startswith("data:image/png;base64,")
            assert np.min(why[side]["strength"]) >= 0 and np.max(why[side]["strength"]) == 255
    call(address, "/api/guesses", {"picture": one}).refused(422, "not voted on")


def test_words_are_a_query_alone_and_beside_another(understanding):
    assert call(understanding, "/api/health").json["words"]
    before = ids(search(understanding, count=200))
    far = before[-1]
    alone = search(understanding, {"words": far}, count=200)
    assert alone.json["taken"] == "words" and alone.json["guesses"] == []
    assert ids(alone)[0] == far and alone.json["results"][0]["distance"] < 1e-3
    assert ids(search(understanding, count=200, words=far, words_share=1)) == ids(alone)
    assert ids(search(understanding, count=200, words=far, words_share=0)) == before
    joined = search(understanding, count=200, words=far)
    assert ids(joined) not in (before, ids(alone)) and joined.json["guesses"]
    call(understanding, "/api/guesses", {"words": far}).refused(422, "words are not voted on")
    call(understanding, f"/api/why?result={far}", {"words": far}).refused(422, "no places")
    call(understanding, "/api/search", {"words": "  "}).refused(422)
    call(understanding, "/api/search?words_share=2", DRAWING).refused(422, "words_share")


def test_pictures_are_shown_small_and_large(address, searcher):
    one = ids(search(address))[0]
    for path, longest in ((f"/api/pictures/{one}", 160), (f"/api/pictures/{one}?full=1", 160)):
        reply = call(address, path)
        assert reply.headers["Content-Type"] == "image/jpeg"
        with Image.open(io.BytesIO(reply.data)) as image:
            assert max(image.size) == longest


def test_a_file_that_is_gone_is_told(searcher, address, tmp_path, monkeypatch):
    one = ids(search(address))[0]
    gone = str(tmp_path / "gone.png")
    monkeypatch.setattr(searcher.gallery, "paths", lambda identity: [gone])
    call(address, f"/api/pictures/{one}?full=1").refused(404, "gone.png", "launch.index")
    assert call(address, f"/api/pictures/{one}").status == 200  # its thumbnail stays


def test_a_picture_is_shown_by_the_file_that_is_there(model, tmp_path):
    """As after the folder was moved: the gallery keeps the old paths too, for a disk may be off."""
    (tmp_path / "a").mkdir()
    Image.fromarray(drawn("circle", 1)).save(tmp_path / "a" / "x.png")
    made = gallery(tmp_path / "gallery", model, tmp_path / "a")
    made.sync((tmp_path / "a").rename(tmp_path / "b"))
    with serving(create_app(Searcher(model, made))) as address:
        one = ids(search(address))[0]
        assert made.get(one).path == str(tmp_path / "a" / "x.png")
        assert call(address, f"/api/pictures/{one}?full=1").status == 200
        (tmp_path / "b" / "x.png").unlink()
        call(address, f"/api/pictures/{one}?full=1").refused(404, "x.png", "launch.index")


def test_health_and_description(address):
    health = call(address, "/api/health").json
    assert health.pop("expectation").startswith("Nothing is known of what the network behind")
    assert health == {
        "status": "ok", "pictures": 33, "labels": 4, "classes": 5, "layer": "L6+L7", "query_views": "one",
        "words": False,
    }  # fmt: skip
    described = call(address, "/api/openapi.json").json
    assert set(described["paths"]) == {
        "/api/search", "/api/guesses", "/api/why", "/api/pictures/{identity}", "/api/health",
    }  # fmt: skip
    post = described["paths"]["/api/search"]["post"]
    drawing, stored, said = post["requestBody"]["content"]["application/json"]["schema"]["oneOf"]
    assert call(address, "/api/search", drawing["examples"][0]).status == 200
    call(address, "/api/search", stored["examples"][0]).refused(404)
    call(address, "/api/search", said["examples"][0]).refused(422, "knows no words")
    assert {"404", "413", "415", "422"} <= set(post["responses"])


# --- What is wrong ---


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", ["not JSON"]),
        (b"", ["not JSON"]),
        (b"\xff\xfe", ["not JSON"]),
        (b"[]", []),
        (b"{}", []),
        ({"strokes": SQUARE}, ["box"]),
        ({"strokes": [], "box": BOX}, ["strokes"]),
        ({"strokes": [[[1, 2, 3]]], "box": BOX}, ["pressure 3", "0 to 1"]),
        ({"strokes": [[[1, 2, 0.5, 4]]], "box": BOX}, ["strokes"]),
        ({"strokes": [[[1]]], "box": BOX}, ["strokes"]),
        ({"strokes": [[["a", 2]]], "box": BOX}, ["strokes"]),
        ({"strokes": "x", "box": BOX}, ["strokes"]),
        ({"strokes": SQUARE, "box": [0, 0, 0, 5]}, ["box"]),
        ({"strokes": SQUARE, "box": [0, 0, 1]}, ["box"]),
        (b'{"strokes": [[[1e999, 0]]], "box": [0, 0, 1, 1]}', []),
        (b'{"strokes": [[[NaN, 0]]], "box": [0, 0, 1, 1]}', []),
        ({"strokes": [[[500, 500]]], "box": BOX}, ["nothing is drawn"]),
        ({"strokes": [[[1, 1]]] * 1001, "box": BOX}, ["1001 strokes", "1000"]),
        ({"strokes": [[[1, 1]] * 20001], "box": BOX}, ["20001 points", "20000"]),
        (DRAWING | {"path": "/etc/passwd"}, ["path"]),
        ({"words": "x", "path": "/etc/passwd", "other": 1}, ["path"]),
        (DRAWING | {"a\nb\u2028" + 9000 * "c": 1}, ["a b c", "not permitted"]),
        ({"picture": ""}, ["picture"]),
    ],
)  # fmt: skip
def test_a_bad_drawing_is_one_line(address, body, words):
    assert len(search(address, body).refused(422, *words).splitlines()[0]) < 300


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"count": 0}, ["count"]),
        ({"count": 201}, ["count", "200"]),
        ({"count": "many"}, ["count"]),
        ({"as": "poem"}, ["as", "drawing", "photo"]),
        ({"like": ["x"] * 51}, ["like", "50"]),
        ({"label": "no such label"}, ["no such label"]),
    ],
)
def test_a_bad_option_is_one_line(address, options, words):
    answer = search(address, **options)
    answer.refused(422, *words)
    assert answer.json.get("code") == ("unknown_label" if "label" in options else None)


@pytest.mark.parametrize("identity", ["0", "..%2f..%2fetc%2fpasswd", "%00", "ä", "/etc/passwd"])
def test_an_id_is_nothing_but_an_id(address, identity):
    quoted = urllib.parse.quote(identity, safe="%")
    for path in (f"/api/pictures/{quoted}", f"/api/pictures/{quoted}?full=1"):
        call(address, path).refused(404)
    search(address, {"picture": identity}).refused(404)
    search(address, like=identity).refused(404)
    call(address, f"/api/why?result={quoted}", DRAWING).refused(404)


@pytest.mark.parametrize(
    "path",
    [
        "/nowhere",
        "/static/../server.py",
        "/static/..%2fserver.py",
        "/docs",
        "/static",
        "/api/health/",
    ],
)
def test_there_is_nothing_else(address, path):
    call(address, path).refused(404)


def test_bad_pictures_are_one_line(address):
    search(address, b"no picture", "image/png").refused(422, "is not a picture")
    search(address, png(drawn("bars", 0))[:200], "image/png").refused(422, "cannot be read")
    white = png(np.full((50, 50, 3), 255, np.uint8))
    search(address, white, "image/png", **{"as": "drawing"}).refused(422, "shows no strokes")


def test_other_bodies_and_methods_are_refused(address):
    search(address, kind="text/plain").refused(415, "text/plain", "application/json")
    search(address, kind="multipart/form-data").refused(415, "image/*")
    reply = call(address, "/api/search")
    reply.refused(405, "GET")
    call(address, "/api/why", DRAWING).refused(422, "result")


def test_bodies_are_limited_announced_or_not(searcher, monkeypatch):
    monkeypatch.setattr(request_body, "MAX_DRAWING_BYTES", 500)
    monkeypatch.setattr(request_body, "MAX_PICTURE_BYTES", 900)
    with serving(create_app(searcher)) as address:
        assert search(address).status == 200
        long = json.dumps({"strokes": [[[1, 1]] * 99], "box": BOX}).encode()
        search(address, long).refused(413, len(long), 500)
        search(address, b"x" * 901, "image/png").refused(413, 901, 900)
        search(address, b"x" * 900, "image/png").refused(422)
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), 10) as chunked:
            head = (
                f"POST /api/search HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
            )
            chunked.sendall(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n")
            chunked.sendall(b"200\r\n" + b"[" * 512 + b"\r\n")  # and no end
            assert chunked.recv(99).startswith(b"HTTP/1.1 413")


json_values = strategies.recursive(
    strategies.none() | strategies.booleans() | strategies.floats() | strategies.text(max_size=5),
    lambda inner: (
        strategies.lists(inner, max_size=4)
        | strategies.dictionaries(
            strategies.sampled_from(["strokes", "box", "picture", "x"]), inner
        )
    ),
    max_leaves=12,
)


@hypothesis.settings(
    max_examples=40,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
@hypothesis.given(
    strategies.one_of(
        json_values,
        strategies.fixed_dictionaries(
            {"strokes": json_values, "box": strategies.one_of(strategies.just(BOX), json_values)}
        ),
    )
)
def test_no_json_breaks_the_server(address, value):
    reply = search(address, json.dumps(value).encode())
    if reply.status != 200:
        assert reply.status in (404, 422)
        reply.refused(reply.status)


def test_of_a_million_errors_one_is_made(address, monkeypatch):
    made = []
    first = errors.first_error
    monkeypatch.setattr(
        errors, "first_error", lambda found, *given: (made.append(len(found)), first(found))[1]
    )
    for strokes in ([[0] * 300_000], [0] * 300_000):
        body = json.dumps({"strokes": strokes, "box": BOX}).encode()
        search(address, body).refused(422, "strokes.0", "valid")
    many = {f"{number:x}": 0 for number in range(150_000)}
    for query in (DRAWING, {"words": "x"}, {"picture": "x"}):
        search(address, query | many).refused(422, "0: Extra inputs are not permitted")
    assert made == [1, 1, 1, 1, 1]


# --- Who may ask ---


def test_headers_let_a_page_use_this_server_alone(address):
    for path in ("/", "/static/page.js", "/api/health", "/nowhere"):
        headers = call(address, path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    assert "javascript" in call(address, "/static/page.js").headers["Content-Type"]


def test_browsers_ask_whether_the_pages_files_are_still_the_same(address):
    for path in ("/", "/static/page.js", "/static/style.css"):
        headers = call(address, path).headers
        assert headers["Cache-Control"] == "no-cache" and headers["ETag"]


def test_files_that_an_installer_made_links_of_are_served(searcher, tmp_path, monkeypatch):
    for file in server.STATIC.iterdir():
        (tmp_path / file.name).symlink_to(file)
    monkeypatch.setattr(server, "STATIC", tmp_path)
    with serving(create_app(searcher)) as address:
        assert call(address, "/static/page.js").status == 200
        call(address, "/static/%2e%2e/server.py").refused(404)


@pytest.mark.parametrize("path", ["/", "/static/page.js", "/api/health", "/api/pictures/{}"])
def test_head_is_get_without_a_body(address, path):
    path = path.format(ids(search(address, count=1))[0])
    request = urllib.request.Request(address + path, method="HEAD")
    with urllib.request.urlopen(request, timeout=60) as reply:
        assert reply.status == 200 and reply.read() == b""
        assert reply.headers["Content-Length"] == call(address, path).headers["Content-Length"]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "localhost.evil.example", ""])
def test_other_names_are_refused(address, host):
    call(address, "/api/health", Host=host).refused(
        421, "localhost", f"--allowed_hosts={host.split(':')[0]}"
    )


@pytest.mark.parametrize(
    "host",
    ["localhost", "127.0.0.1:8000", "LOCALHOST:1", "[::1]:8000", "192.168.3.4:80", "[fe80::1]"],
)
def test_own_names_are_served(address, host):
    assert call(address, "/api/health", Host=host).status == 200


def test_the_names_it_was_given(searcher):
    with serving(create_app(searcher, hosts=("desk.example",))) as address:
        assert call(address, "/api/health", Host="desk.example:80").status == 200
        call(address, "/api/health", Host="localhost").refused(421, "desk.example")


def test_under_a_path(searcher):
    with serving(create_app(searcher, base_path="/tools/draw")) as address:
        assert b"Draw, and find" in call(address, "/tools/draw/").data
        assert b"Draw, and find" in call(address, "/tools/draw").data  # sent on to the one before
        assert call(address, "/tools/draw/static/page.js").status == 200
        assert ids(call(address, "/tools/draw/api/search", DRAWING))
        for elsewhere in ("/", "/api/health", "/tools/drawing/", "/tools", "/tools%0A"):
            call(address, elsewhere).refused(404, "the page is at /tools/draw/")
        described = "/tools/draw/api/openapi.json"
        for nothing in ("/api/health/", "/static", "/static/none.js", "//evil.example/", "/none"):
            path = f"/tools/draw{nothing}"
            call(address, path).refused(404, f"{path!r}; {described}")
        call(address, "/tools/draw/api/search").refused(405, "'/tools/draw/api/search'", described)
        call(address, "/tools/draw/api/search", {}).refused(422, described)
        call(address, "/tools/draw/api/search?count=x", DRAWING).refused(422, described)
        assert call(address, described).json["servers"] == [{"url": "/tools/draw"}]
    for wrong in ("draw", "/draw/", "/", "/a b", "/..//x"):
        with pytest.raises(ValueError, match="is no path to lie under"):
            create_app(searcher, base_path=wrong)


# --- Side by side ---


def test_a_slow_request_holds_up_no_other(address, searcher, monkeypatch):
    begun, end = threading.Event(), threading.Event()
    vote = searcher.vote

    def slow(query):
        begun.set()
        assert end.wait(60)
        return vote(query)

    monkeypatch.setattr(searcher, "vote", slow)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(call, address, "/api/guesses", DRAWING)
        assert begun.wait(30)
        assert search(address).status == 200 and call(address, "/api/health").status == 200
        assert not waiting.done()
        end.set()
        assert waiting.result().status == 200


def test_many_at_once_get_their_own_answers(address):
    drawings = [DRAWING, {"strokes": BARS, "box": BOX}, {"strokes": SQUARE + BARS, "box": BOX}]
    alone = [ids(search(address, body)) for body in drawings]
    assert alone[0] != alone[1]
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda body: ids(search(address, body)), drawings * 4))
    assert together == alone * 4


def test_a_fault_of_ours_is_told_as_one(address, searcher, monkeypatch):
    monkeypatch.setattr(searcher, "search", lambda *given, **options: 1 / 0)
    failed = search(address)
    failed.refused(500, "the server failed")
    assert failed.headers["Content-Security-Policy"] and failed.headers["X-Content-Type-Options"]


def test_what_others_add_is_seen(searcher, monkeypatch):
    looks = threading.Event()
    monkeypatch.setattr(server, "REFRESH_SECONDS", 0.01)
    monkeypatch.setattr(searcher.gallery, "refresh", looks.set)
    with serving(create_app(searcher)):
        assert looks.wait(60)
