"""What is asked for is what was last wished for: words half typed, files that change, answers that refuse."""

import contextlib
import os
import socket

import pytest

from dsf_jax.app.query import query_from_strokes
from dsf_jax.app.server import create_app
from tests.app.browsing import LINES, SQUARE, Board, needs_browser, new_context, stroke_on
from tests.app.made import BARS, BOX, drawn, png, serving

pytestmark = needs_browser

ERROR = "() => document.getElementById('error-text').textContent"
DROP = """([bytes, name, padding]) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([new Uint8Array(bytes), new Uint8Array(padding)], name, {type: "image/png"}));
    window.dispatchEvent(new DragEvent("drop", {dataTransfer: transfer, cancelable: true}));
}"""
LARGE = 5_000_000  # bytes: such pictures are made smaller


def drop(page, kind, name, *, padding=0):
    page.evaluate(DROP, [list(png(drawn(kind, 1))), name, padding])


HELD = """() => {
    const made = createImageBitmap, held = new Promise((done) => { window.release = done; });
    window.createImageBitmap = async (...given) => { await held; return made(...given); };
}"""


def word_of(speaking):
    """What the vocabulary knows."""
    return speaking.search(speaking.embed(query_from_strokes(BARS, BOX)), 9)[7].picture.id


def searches(page):
    """The addresses that are searched at from now on."""
    asked = []
    page.on("request", lambda request: "/api/search" in request.url and asked.append(request.url))
    return asked


# --- Words ---


@pytest.mark.parametrize("deed", ["stroke", "drop"])
def test_words_that_are_being_typed_go_along_with_what_is_done(
    open_page, understanding, speaking, deed
):
    page = open_page(at=understanding)
    one = word_of(speaking)
    page.click("#words")
    page.keyboard.type(one)
    page.wait_for_selector(f'.card[data-id="{one}"]')
    asked = searches(page)
    if deed == "stroke":
        stroke_on(page.locator("#canvas"), SQUARE)
    else:
        drop(page, "bars", "bars.png")
        page.wait_for_selector("#query", state="visible")
    Board(page).settled()
    assert page.input_value("#words") == one and f"words={one}" in asked[-1]
    assert page.locator("#weighing").is_visible()
    page.click("#undo")  # what was done, and not the words
    page.wait_for_selector("#weighing", state="hidden")
    assert page.input_value("#words") == one and Board(page).settled()[0] == one


def test_words_stay_when_a_picture_is_gone(open_page, understanding, speaking):
    page = open_page(at=understanding)
    board = Board(page)
    one = word_of(speaking)
    first = board.draw(SQUARE)[0]
    board.press(f'[data-id="{first}"] .alike')
    page.route(
        "**/api/search*", lambda route: route.fulfill(status=404, json={"detail": "gone; x"})
    )
    page.click("#words")
    page.keyboard.type(f"{one} ")
    page.wait_for_selector("#query", state="hidden")  # the drawing goes on alone
    assert page.input_value("#words") == f"{one} "  # who types on finds the same


def test_words_that_the_tab_kept_are_not_said_to_a_network_that_knows_none(
    browser, searcher, speaking
):
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
    with contextlib.closing(new_context(browser)) as context:
        page = context.new_page()
        board = Board(page)
        with serving(create_app(speaking), port):
            page.goto(f"http://127.0.0.1:{port}")
            page.wait_for_selector("html[data-ready]", state="attached")
            page.fill("#words", word_of(speaking))
            page.keyboard.press("Enter")
            page.wait_for_selector(".card[data-id]")
        with serving(create_app(searcher), port):
            page.reload()
            page.wait_for_selector("html[data-ready]", state="attached")
            page.wait_for_selector("#empty", state="visible")
            assert page.locator("#saying").is_hidden() and page.locator("#error").is_hidden()
            assert len(board.draw(SQUARE)) == 24 and page.locator("#error").is_hidden()
            assert board.press("#undo") == []  # the stroke, and no words that nobody sees
            assert page.locator("#undo").is_disabled()


# --- Files ---


def test_a_picture_file_that_changes_later_is_searched_as_it_was_opened(page, tmp_path):
    board = Board(page)
    path = tmp_path / "scan.png"
    path.write_bytes(png(drawn("square", 3)))
    page.set_input_files("#file", path)
    page.wait_for_selector(".card[data-id]")
    board.settled()
    path.write_bytes(png(drawn("bars", 3)) + b"more")
    os.utime(path, (1, 1))
    board.press("#as-drawing")
    assert len(board.press("#as-photo")) == 24 and page.locator("#error").is_hidden()
    assert board.names()[0] == "square"


def test_a_picture_file_that_cannot_be_read_is_to_be_opened_again(page, tmp_path):
    board = Board(page)
    before = board.draw(SQUARE)
    path = tmp_path / "scan.png"
    path.write_bytes(png(drawn("square", 3)))
    page.evaluate(
        """() => addEventListener("change", (event) => {
            window.chosen = event.target.files[0];
            event.stopImmediatePropagation();
        }, {capture: true, once: true})"""
    )
    page.set_input_files("#file", path)
    path.unlink()
    asked = searches(page)
    page.evaluate(
        """() => {
            const transfer = new DataTransfer();
            transfer.items.add(window.chosen);
            window.dispatchEvent(new DragEvent("drop", {dataTransfer: transfer, cancelable: true}));
        }"""
    )
    page.wait_for_selector("#error", state="visible")
    assert page.evaluate(ERROR) == "scan.png cannot be read; open it again."
    assert board.settled() == before and asked == [] and page.locator("#query").is_hidden()


@pytest.mark.parametrize("later", ["another picture", "a stroke", "undo"])
def test_a_large_picture_does_not_take_the_place_of_what_was_asked_for_after_it(page, later):
    board = Board(page)
    board.draw(LINES[0])
    page.evaluate(HELD)
    drop(page, "circle", "large.png", padding=LARGE)
    if later == "another picture":
        drop(page, "bars", "small.png")
        page.wait_for_selector("#query", state="visible")
    elif later == "a stroke":
        board.draw(LINES[1])
    else:
        board.press("#undo")
    before, name = board.settled(), page.text_content("#query-name")
    page.evaluate("() => window.release()")
    page.wait_for_timeout(500)
    assert board.settled() == before and page.text_content("#query-name") == name != "large.png as"


def test_a_large_picture_is_opened_though_a_search_before_it_is_refused(page):
    board = Board(page)
    one = board.draw(SQUARE)[0]
    board.press(f'[data-id="{one}"] .like')
    page.evaluate(HELD)
    drop(page, "circle", "large.png", padding=LARGE)
    page.route("**/api/search*like*", lambda route: route.fulfill(status=404, json={"detail": "x"}))
    page.evaluate("() => document.getElementById('retry').click()")
    page.wait_for_selector("#marks", state="hidden")
    page.evaluate("() => window.release()")
    page.wait_for_selector("#query", state="visible")
    assert page.text_content("#query-name") == "large.png as"


# --- Refusals ---


def test_a_page_that_is_not_found_is_told_and_not_asked_for_again(page):
    board = Board(page)
    board.draw(SQUARE)
    page.route("**/api/search*", lambda route: route.fulfill(status=404, body="page not found"))
    asked = searches(page)
    board.draw(LINES[0])
    page.wait_for_selector("#error", state="visible")
    number = len(asked)
    page.wait_for_timeout(1000)
    assert len(asked) == number and page.evaluate(ERROR) == "The server answered 404."
    page.unroute("**/api/search*")
    board.press("#undo")
    assert len(board.press("#undo")) == 0 and page.locator("#undo").is_disabled()


def test_marks_of_a_picture_that_is_gone_are_left_out(page):
    board = Board(page)
    before = board.draw(SQUARE)
    gone = {"status": 404, "json": {"detail": "the gallery has no picture 'x'; search again"}}
    page.route("**/api/search*like*", lambda route: route.fulfill(**gone))
    page.click(f'[data-id="{before[3]}"] .like')
    page.wait_for_selector("#error", state="visible")
    assert board.settled() == before and page.locator("#marks").is_hidden()
    assert "no picture" in page.evaluate(ERROR)


@pytest.mark.parametrize("unknown", [True, False])
def test_a_label_is_left_out_only_where_the_gallery_has_none_such(page, unknown):
    board = Board(page)
    board.draw(SQUARE)
    label = page.get_attribute(".facet[data-label]", "data-label")
    board.press(f'.facet[data-label="{label}"]')
    refusal = {"detail": "no, for some reason; do something else"}
    if unknown:
        refusal["code"] = "unknown_label"
    asked = searches(page)
    page.route("**/api/search*label=*", lambda route: route.fulfill(status=422, json=refusal))
    board.draw(LINES[0])
    page.wait_for_selector("#error", state="visible")
    board.settled()
    assert page.evaluate(ERROR) == refusal["detail"]
    assert ("label=" in asked[-1]) == (not unknown)
    page.unroute("**/api/search*label=*")
    board.draw(LINES[1])
    assert (set(board.names()) == {label}) == (not unknown)
