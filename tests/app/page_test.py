"""The page in a real browser: drawn on, undone, filtered, marked, by mouse, touch and keys."""

import contextlib
import io
import re

import numpy as np
import pytest
from PIL import Image

from dsf_jax.app.query import query_from_strokes
from dsf_jax.app.searcher import Searcher
from dsf_jax.app.server import create_app
from dsf_jax.gallery.embedder import Embedder
from dsf_jax.gallery.gallery import Gallery
from tests.app.browsing import (
    LINES,
    PATIENCE,
    POINTERS,
    SQUARE,
    Board,
    ink,
    needs_browser,
    sync_api,
)
from tests.app.made import BARS, BOX, LAYER, drawn, png, serving

pytestmark = needs_browser


def test_draw_undo_redo_erase_and_clear(page):
    board = Board(page)
    assert page.locator("#empty").is_visible() and page.locator("#undo").is_disabled()
    one = board.draw(SQUARE)
    assert len(one) == 24 and page.locator("#empty").is_hidden()
    assert re.match(r"24 of 33 pictures in \d+ ms, nearest: \w", page.inner_text("#status"))
    drawn_once = ink(page)
    two = board.draw(*LINES)
    assert two != one and ink(page) > drawn_once
    for _ in LINES:
        board.press("#undo")
    assert board.settled() == one and ink(page) == drawn_once
    assert board.key("Control+Shift+Z", "Control+y", "Control+Shift+Z", "Control+y") == two
    board.key("e")
    assert page.get_attribute("#eraser", "aria-pressed") == "true"
    assert board.draw([[0.1, 0.5], [0.9, 0.5]]) == []  # through all five strokes
    assert ink(page) == 0 and page.locator("#empty").is_visible()
    assert board.key("Control+z") == two  # a sweep is one step
    board.draw([[0.2, 0.15], [0.21, 0.15]])  # the first line alone
    assert ink(page) > 0 and board.settled() != two
    board.key("Delete")
    assert ink(page) == 0 and page.get_attribute("#pen", "aria-pressed") == "true"
    assert board.key("Control+z") != []


def test_strokes_travel_as_points_while_the_pen_moves(page):
    bodies = []
    page.on(
        "request", lambda request: "search" in request.url and bodies.append(request.post_data_json)
    )
    box = page.locator("#canvas").bounding_box()
    page.mouse.move(box["x"] + 50, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 250, box["y"] + 50, steps=10)
    page.wait_for_selector(".card[data-id]")  # the pen is down still
    page.mouse.up()
    Board(page).settled()
    assert len(bodies) >= 2 and bodies[-1]["box"] == [0, 0, 681, 681]
    (last,) = bodies[-1]["strokes"]
    assert len(last) == 2  # a straight line needs no more
    scale = 681 / box["width"]
    np.testing.assert_allclose(last, np.array([[50, 50], [250, 50]]) * scale, atol=0.2)


def test_a_pens_pressure_travels_and_is_seen_and_a_mouse_has_none(page):
    def drawn(kind, *pressures):
        places = [(0.2, 0.5), (0.5, 0.5), (0.8, 0.5), (0.8, 0.5)]
        names = ["down", "move", "move", "up"]
        rows = zip(names, places, pressures, strict=True)
        page.evaluate(POINTERS, [(name, 1, kind, True, *at, p) for name, at, p in rows])
        Board(page).settled()
        (stroke,) = bodies[-1]["strokes"]
        amount = ink(page)
        Board(page).press("#clear")
        return stroke, amount

    bodies = []
    page.on(
        "request", lambda request: "search" in request.url and bodies.append(request.post_data_json)
    )
    stroke, light = drawn("pen", 0.1, 0.1, 0.1, 0)
    assert [point[2:] for point in stroke] == [[0.1], [0.1]]
    stroke, hard = drawn("pen", 0.2, 1.0, 0.4, 0)
    assert [point[2:] for point in stroke] == [
        [0.2],
        [1.0],
        [0.4],
    ]  # on a line, but not by pressure
    assert hard > light > 0
    assert [len(point) for point in drawn("mouse", 0.5, 0.5, 0.5, 0)[0]] == [2, 2]


def test_the_page_says_what_may_be_expected_of_the_network(page):
    told = page.inner_text("#expectation")
    assert page.locator("#expectation").is_visible()
    assert told.startswith("Nothing is known of what the network behind this page was trained on")


def test_a_stale_answer_is_dropped(page):
    board = Board(page)
    wanted = board.draw(*LINES)
    board.press("#clear")
    held = []
    page.route("**/api/search*", lambda route: held.append(route))
    with page.expect_request("**/api/search*"):
        page.click('[data-example="bell"]')
    # The browser tells of a request before it asks what to do with it.
    for _ in range(PATIENCE // 20):
        if held:
            break
        page.wait_for_timeout(20)
    page.unroute("**/api/search*")
    page.keyboard.press("Control+z")
    assert board.key("Control+z") == wanted  # before the clearing
    with contextlib.suppress(sync_api.Error):  # the page has given it up
        held[0].fulfill(json={"results": [], "guesses": [], "taken": "drawing", "pictures": 1})
    page.wait_for_timeout(50)
    assert board.settled() == wanted


def test_guesses_filter(page):
    board = Board(page)
    before = board.draw(SQUARE)
    page.wait_for_selector(".facet[data-label]")
    assert page.inner_text("#guesses-title") == "You may have drawn"
    texts = page.locator(".facet").all_inner_texts()
    assert all(re.search(r"\n(8|\d+ here)$", text) for text in texts), texts
    label = page.get_attribute(".facet[data-label]", "data-label")
    board.press(f'.facet[data-label="{label}"]')  # by its name: the vote may change the order
    assert set(board.names()) == {label} and len(board.names()) == 8
    assert page.get_attribute(f'.facet[data-label="{label}"]', "aria-pressed") == "true"
    assert board.press(f'.facet[data-label="{label}"]') == before


def test_the_vote_comes_after_the_results(page):
    with page.expect_response("**/api/guesses*") as voted:
        Board(page).draw(SQUARE)
    page.wait_for_timeout(50)
    shares = [f"{guess['probability']:.0%}" for guess in voted.value.json()["guesses"]]
    assert shares and page.locator("#facets li").count() >= 1


def test_marks_rank_anew(page):
    board = Board(page)
    before = board.draw(SQUARE)
    after = board.press(f'[data-id="{before[8]}"] .like')
    assert after.index(before[8]) < 8
    assert page.get_attribute(f'[data-id="{before[8]}"] .like', "aria-pressed") == "true"
    after = board.press(f'[data-id="{before[0]}"] .unlike')
    assert before[0] not in after
    assert page.inner_text("#marks-text") == "Ranked anew by 1 right and 1 wrong."
    assert board.press("#forget") == before and page.locator("#marks").is_hidden()


def test_more_like_this_and_back(page):
    board = Board(page)
    before = board.draw(SQUARE)
    likes = board.press(f'[data-id="{before[2]}"] .alike')
    assert before[2] not in likes and likes != before
    assert page.inner_text("#query-name").startswith("More like ")
    assert page.locator("#shown").is_visible()
    assert board.press("#back") == before and page.locator("#shown").is_hidden()
    board.press(f'[data-id="{before[2]}"] .alike')
    assert board.draw(*LINES) not in (likes, before)  # the pen goes on with the drawing
    assert page.locator("#query").is_hidden()


STROKE = (("down", 0.2, 0.2), ("move", 0.8, 0.2), ("move", 0.8, 0.8), ("up", 0.8, 0.8))


def fingers(kind, other, before, after):
    """A stroke, and what another pointer does after its first `before` steps and up to `after`."""
    own = [(name, 1, kind, True, x, y) for name, x, y in STROKE]
    kind, primary = other
    strange = [(name, 2, kind, primary, 0.3, y) for name, y in (("down", 0.7), ("move", 0.9))]
    lifted = ("up", 2, kind, primary, 0.3, 0.9)
    return [*own[:before], *strange, *own[before:after], lifted, *own[after:]]


@pytest.mark.parametrize(
    "steps",
    [
        fingers("touch", ("touch", False), 2, 3),  # a second finger, when the first draws
        fingers("pen", ("touch", True), 1, 2),  # the hand, put down beside the pen
        fingers("pen", ("touch", True), 0, 2),  # the hand, put down first
        fingers("mouse", ("pen", True), 1, 3),
    ],
    ids=["second finger", "hand", "hand first", "pen beside mouse"],
)
def test_one_pointer_draws_at_a_time(page, steps):
    board = Board(page)
    page.evaluate(POINTERS, [(name, 1, "mouse", True, x, y) for name, x, y in STROKE])
    alone = board.settled(), ink(page)
    board.press("#clear")
    page.evaluate(POINTERS, steps)
    assert (board.settled(), ink(page)) == alone
    board.press("#undo")
    assert ink(page) == 0


def test_a_hand_put_down_first_gives_back_what_it_erased(page):
    board = Board(page)
    board.draw(*LINES)
    whole = ink(page)
    board.press("#eraser")
    page.evaluate(
        POINTERS, [("down", 2, "touch", True, 0.2, 0.5), ("down", 1, "pen", True, 0.9, 0.95)]
    )
    assert ink(page) == whole
    page.evaluate(POINTERS, [("up", 1, "pen", True, 0.9, 0.95), ("up", 2, "touch", True, 0.2, 0.5)])
    assert ink(page) == whole


def test_a_picture_opens_large(page, searcher):
    board = Board(page)
    first, second = board.draw(SQUARE)[:2]
    page.click(f'[data-id="{first}"] .thumb')
    page.wait_for_function("() => document.getElementById('picture-image').naturalWidth > 100")
    assert page.inner_text("#picture-path") == searcher.gallery.get(first).path
    assert "(distance " in page.inner_text("#picture-closeness")
    assert page.locator("#previous").is_disabled()
    page.click("#why")
    page.wait_for_selector("#why-sides", state="visible")
    page.wait_for_function("() => document.getElementById('why-query').naturalWidth === 224")
    page.keyboard.press("ArrowRight")
    page.wait_for_function(
        "path => document.getElementById('picture-path').textContent === path",
        arg=searcher.gallery.get(second).path,
    )
    page.wait_for_function(  # its own, and not the one before it
        "id => document.getElementById('picture-image').src.includes(id)", arg=second
    )
    page.keyboard.press("Escape")
    page.wait_for_selector("#picture", state="hidden")
    page.wait_for_function(  # where one was
        "id => document.activeElement.closest('.card')?.dataset.id === id", arg=second
    )


@pytest.mark.parametrize("way", ["opened", "dropped", "pasted"])
def test_a_picture_file_is_the_query(page, way):
    board = Board(page)
    data = png(drawn("square", 3))
    if way == "opened":
        page.set_input_files("#file", {"name": "box.png", "mimeType": "image/png", "buffer": data})
    else:
        page.evaluate(
            """([bytes, way]) => {
                const transfer = new DataTransfer();
                transfer.items.add(new File([new Uint8Array(bytes)], "box.png", {type: "image/png"}));
                window.dispatchEvent(way === "dropped"
                    ? new DragEvent("drop", {dataTransfer: transfer})
                    : new ClipboardEvent("paste", {clipboardData: transfer}));
            }""",
            [list(data), way],
        )
    page.wait_for_selector(".card[data-id]")
    photo = board.settled()
    assert board.names()[0] == "square" and page.inner_text("#query-name") == "box.png as"
    assert page.get_attribute("#as-photo", "aria-pressed") == "true"
    drawing = board.press("#as-drawing")
    assert drawing != photo and page.get_attribute("#as-drawing", "aria-pressed") == "true"
    assert board.press("#clear") == [] and page.locator("#shown").is_hidden()


def test_what_is_transparent_lies_on_paper(page):
    ink_alone = np.zeros((1800, 1800, 4), np.uint8)
    ink_alone[..., :3] = np.random.default_rng(0).integers(0, 60, (1800, 1800, 3))  # a large file
    ink_alone[400:1400, 400:1400, 3] = 255
    ink_alone[440:1360, 440:1360, 3] = 0
    buffer = io.BytesIO()
    Image.fromarray(ink_alone).save(buffer, "PNG", compress_level=1)
    assert len(buffer.getvalue()) > 4e6
    file = {"name": "ink.png", "mimeType": "image/png", "buffer": buffer.getvalue()}
    page.set_input_files("#file", file)
    page.wait_for_selector(".card[data-id]")
    Board(page).settled()
    assert page.get_attribute("#as-drawing", "aria-pressed") == "true"


def test_by_keys_alone(page):
    page.focus("#canvas")
    board = Board(page)
    for keys in (["Space", *["ArrowRight"] * 8], [*["ArrowDown"] * 8], ["Escape"]):
        board.key(*keys)
    first = board.settled()
    assert first and ink(page) > 0
    page.focus(".card .thumb")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("() => document.activeElement.closest('.card').dataset.id") == first[1]
    board.key("+")
    assert page.get_attribute(f'[data-id="{first[1]}"] .like', "aria-pressed") == "true"
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    page.keyboard.press("Escape")
    assert page.locator("#help").is_hidden()


def test_everything_has_a_name(page):
    Board(page).draw(SQUARE)
    page.wait_for_selector(".facet[data-label]")
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, input, canvas[tabindex], section, dialog")]
            .filter(e => !(e.ariaLabel || e.innerText?.trim() || e.title || e.getAttribute("aria-labelledby")))
            .map(e => e.outerHTML.slice(0, 80))"""
    )
    assert nameless == []
    ids = page.evaluate("() => [...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))
    assert page.get_attribute("#status", "aria-live") == "polite"


def brightness(page, folder):
    page.screenshot(path=folder / "page.png")
    with Image.open(folder / "page.png") as image:
        return np.asarray(image.convert("L")).mean()


def test_dark_where_the_system_is(open_page, tmp_path):
    light, dark = (open_page(color_scheme=scheme) for scheme in ("light", "dark"))
    assert brightness(light, tmp_path) > 220 and brightness(dark, tmp_path) < 50


def test_on_a_phone_nothing_sticks_out(open_page):
    page = open_page(has_touch=True, is_mobile=True, device_scale_factor=2)
    page.set_viewport_size({"width": 360, "height": 740})
    page.tap('[data-example="heart"]')
    page.wait_for_selector(".card[data-id]")
    page.wait_for_selector(".facet")
    width = "() => document.documentElement.scrollWidth"
    assert page.evaluate(width) == 360
    page.evaluate("() => scrollTo(0, 0)")
    box = page.locator("#canvas").bounding_box()
    assert box["width"] == pytest.approx(box["height"], abs=1) and box["width"] > 300
    before = ink(page)
    page.touchscreen.tap(box["x"] + 20, box["y"] + 20)  # a dot
    assert ink(page) > before
    page.tap(".card .thumb")
    page.wait_for_selector("#picture", state="visible")
    assert page.evaluate(width) == 360
    dialog = page.locator("#picture").bounding_box()
    assert dialog["x"] >= 0 and dialog["x"] + dialog["width"] <= 360


def test_errors_are_told_and_mended(page):
    board = Board(page)
    page.route("**/api/search*", lambda route: route.abort())
    board.draw(SQUARE)
    page.wait_for_selector("#error", state="visible")
    assert "The server does not answer. Is launch.serve still" in page.inner_text("#error-text")
    page.unroute("**/api/search*")
    assert len(board.press("#retry")) == 24 and page.locator("#error").is_hidden()
    page.set_input_files("#file", {"name": "x.png", "mimeType": "image/png", "buffer": b"no"})
    page.wait_for_selector("#error", state="visible")
    assert "is not a picture" in page.inner_text("#error-text")


def test_more_results(page):
    board = Board(page)
    first = board.draw(SQUARE)
    more = board.press("#more")
    assert more[:24] == first and len(more) == 33 and page.locator("#more").is_hidden()


def test_an_empty_gallery(open_page, searcher, model, tmp_path):
    width = searcher.gallery.config.features
    embedder = Embedder("none", LAYER, lambda batch: np.zeros((len(batch), width), np.float32))
    empty = Searcher(model, Gallery.create(tmp_path / "g", embedder))
    with serving(create_app(empty)) as address:
        page = open_page(at=address)
        assert page.inner_text("#gallery") == "0 pictures"
        Board(page).draw(SQUARE)
        assert page.inner_text("#status") == "The gallery is empty: fill it with launch.index."


def test_words_alone_and_beside_a_drawing(open_page, understanding, speaking):
    page = open_page(at=understanding)
    board = Board(page)
    bars = speaking.embed(query_from_strokes(BARS, BOX))
    one = speaking.search(bars, 9)[7].picture.id
    page.fill("#words", one)
    page.keyboard.press("Enter")
    page.wait_for_selector(f'.card[data-id="{one}"]')
    assert board.settled()[0] == one and page.locator("#weighing").is_hidden()
    drawn = board.draw(SQUARE)
    assert page.locator("#weighing").is_visible()
    page.locator("#share").fill("0")
    without = board.settled()
    page.keyboard.press("End")  # the slider is focused
    assert board.settled()[0] == one != without[0] and drawn != without
    page.fill("#words", "")
    page.keyboard.press("Enter")
    assert board.settled() == without and page.locator("#weighing").is_hidden()
    page.evaluate("document.activeElement.blur()")  # in the field, Ctrl+Z is the browser's
    board.key("Control+z")
    page.wait_for_function("one => document.getElementById('words').value === one", arg=one)


def test_a_network_without_words_asks_for_none(page):
    assert page.locator("#saying").is_hidden()
