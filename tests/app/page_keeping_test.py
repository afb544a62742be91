"""What leaves the page and comes back: drawings saved by name, drawings in links, and a
server that was restarted.
"""

import base64
import contextlib
import re
import socket

import pytest

from dsf_jax.app.server import create_app
from tests.app.browsing import LINES, SQUARE, Board, ink, needs_browser, new_context
from tests.app.made import serving

pytestmark = needs_browser

SAID = "() => document.getElementById('told').textContent"


def varint(number):
    data = []
    while number > 127:
        data.append(number & 127 | 128)
        number >>= 7
    return bytes([*data, number])


def code(data):
    """Text with a right checksum, by the format's description alone."""
    total = 7
    for byte in data:
        total = (31 * total + byte + 1) % 65521
    data += bytes([total & 255, total >> 8])
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def link(page):
    page.keyboard.press("s")
    value = page.input_value("#link")
    page.keyboard.press("Escape")
    page.wait_for_function("() => !history.state?.dialog")
    return value


def error(page):
    page.wait_for_selector("#error", state="visible")
    return page.inner_text("#error-text")


# --- Links ---


def test_a_link_opened_on_ones_own_drawing_is_undone(page):
    board = Board(page)
    theirs = board.draw(SQUARE)
    address = link(page)
    board.press("#clear")
    mine = board.draw(*LINES)
    page.goto(address)  # only the part behind the # is another: the page is not loaded anew
    page.wait_for_function("() => !location.hash")
    assert board.settled() == theirs
    page.go_back()
    page.wait_for_function("() => document.getElementById('told').textContent.includes('4')")
    assert board.settled() == mine
    page.go_forward()
    page.wait_for_function("() => document.getElementById('told').textContent.includes('1')")
    board.key("Control+z")
    page.wait_for_function("() => document.getElementById('told').textContent.includes('4')")
    assert board.settled() == mine
    page.goto(page.url.split("#")[0] + "#results")  # no drawing
    assert board.settled() == mine and page.locator("#error").is_hidden()


@pytest.mark.parametrize("broken", [" ", "%0D%0A", ".", ")"])
def test_a_link_is_read_though_a_letter_broke_it_or_went_on_behind(open_page, address, broken):
    text = code(bytes([1]) + varint(4) + b"".join(map(varint, (2000, 2000, 6000, 2000))))
    whole = text + broken if broken in ".)" else text[:5] + broken + text[5:]
    page = open_page(at=f"{address}/#drawing={whole}")
    Board(page).settled()
    assert ink(page) > 0 and page.locator("#error").is_hidden()


HOSTILE = {
    "nothing": ("", "damaged"),
    "no code": ("<img src=x onerror=alert(1)>", "damaged"),
    "percent": ("%E0%A4%A", "damaged"),
    "too long": ("A" * 40_000, "40000 characters of a drawing, at most 32000"),
    "another version": (code(bytes([2, 2, 0, 0])), "another version"),
    "no strokes": (code(bytes([1])), "damaged"),
    "a stroke without points": (code(bytes([1, 0])), "damaged"),
    "a billion points": (code(bytes([1]) + varint(2 * 10**9) + b"\0\0"), "damaged"),
    "a number without end": (code(bytes([1, 2]) + b"\xff" * 2000), "damaged"),
    "too far": (code(bytes([1, 2]) + varint(2 * 10**7) + b"\0"), "damaged"),
    "pressed too hard": (code(bytes([1, 3, 0, 0]) + varint(2 * 101)), "damaged"),
    "cut off": (code(bytes([1]) + varint(4) + b"\2\2\2\2")[:-1], "damaged"),
}


@pytest.fixture(scope="module")
def one_page(browser, address):
    with contextlib.closing(new_context(browser)) as context:
        page = context.new_page()
        page.goto(address)
        page.wait_for_selector("html[data-ready]", state="attached")
        Board(page).draw(SQUARE)
        yield page


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_link_is_refused_and_the_drawing_stays(one_page, kind):
    text, words = HOSTILE[kind]
    before, found = ink(one_page), Board(one_page).settled()
    one_page.evaluate("text => { location.hash = `#drawing=${text}`; }", text)
    one_page.wait_for_function("() => !location.hash")
    assert words in error(one_page) and "\n" not in error(one_page)
    assert ink(one_page) == before and Board(one_page).settled() == found
    one_page.click("#dismiss")


def test_a_drawing_that_is_too_long_for_a_link_is_told_and_saved(page):
    strokes = [[[x, (7 * x + 311 * y) % 681] for x in range(0, 680, 4)] for y in range(60)]
    page.evaluate(
        "strokes => localStorage.setItem('dsf_jax.drawing', JSON.stringify(strokes))", strokes
    )
    other = page.context.new_page()
    other.goto(page.url)
    other.wait_for_selector(".card[data-id]")
    other.keyboard.press("s")
    assert re.search(
        r"too long for a link: \d{5} characters, at most 32000", other.inner_text("#link-note")
    )
    assert other.input_value("#link") == "" and other.locator("#copy-link").is_disabled()
    other.click("#save")
    assert other.inner_text("#saved-status") == "Saved as “drawing”."


@pytest.mark.parametrize("trusted", [True, False])
def test_the_link_is_copied_also_over_http_in_a_home_network(open_page, trusted):
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    Board(page).draw(SQUARE)
    page.keyboard.press("s")
    if not trusted:  # as where the page does not come by https or from this machine
        page.evaluate(
            "() => { window.clip = navigator.clipboard; Object.defineProperty(navigator, 'clipboard', {value: undefined}); }"
        )
    page.click("#copy-link")
    page.wait_for_function(
        "() => document.getElementById('saved-status').textContent === 'The link is copied.'"
    )
    assert page.evaluate(
        "() => (window.clip ?? navigator.clipboard).readText()"
    ) == page.input_value("#link")
    assert page.evaluate("() => document.activeElement.id") == "copy-link"
    assert page.locator("textarea").count() == 0
    if trusted:
        return
    page.evaluate("() => { document.execCommand = () => false; }")
    page.click("#copy-link")
    assert "Ctrl+C" in page.inner_text("#saved-status")
    assert page.evaluate("() => getSelection().toString()") == page.input_value("#link")


# --- Saved drawings ---


def test_drawings_are_saved_listed_shown_deleted_and_brought_back_by_keys_alone(page):
    board = Board(page)
    square = board.draw(SQUARE)
    page.keyboard.press("s")
    assert page.evaluate("() => document.activeElement.id") == "drawings-title"
    for name in ("<b>box</b>", "<b>box</b>"):
        page.focus("#saved-name")
        page.keyboard.type(name)  # its letters are no shortcuts
        page.keyboard.press("Enter")
    assert page.inner_text("#saved-status") == "Saved as “<b>box</b> 2”."
    page.keyboard.press("Escape")
    page.wait_for_function("() => !history.state?.dialog")
    assert page.evaluate("() => document.activeElement.id") != "saved-name"
    board.press("#clear")
    lines = board.draw(*LINES)
    page.keyboard.press("s")
    page.fill("#saved-name", "lines")
    page.click("#save")
    tree = page.locator("#drawings").aria_snapshot()
    for line in (
        'dialog "Your drawings"',
        'textbox "Name of this drawing"',
        'textbox "Link to this drawing"',
        'list "Saved in this browser"',
        "status: Saved as “lines”.",
    ):
        assert line in tree, tree
    assert re.findall(r'button "(Show|Delete) “(.*?)”', tree.replace('\\"', '"')) == [
        (deed, name)
        for name in ("lines", "<b>box</b> 2", "<b>box</b>")
        for deed in ("Show", "Delete")
    ]
    page.focus('.load[aria-label^="Show “lines”"]')
    page.keyboard.press("Delete")
    assert page.inner_text("#saved-status") == "“lines” is deleted."
    assert page.evaluate("() => document.activeElement.ariaLabel") == "Delete “<b>box</b> 2”"
    page.click("#bring-back")
    assert page.evaluate("() => document.activeElement.ariaLabel").startswith("Show “lines”")
    page.focus('.load[aria-label^="Show “<b>box</b>”"]')
    page.keyboard.press("Enter")
    page.wait_for_selector("#drawings", state="hidden")
    assert board.settled() == square and page.evaluate(SAID) == "<b>box</b>: 1 stroke"
    page.go_back()
    page.wait_for_function("() => document.getElementById('told').textContent === 'Now 4 strokes'")
    assert board.settled() == lines and page.locator("#drawings").is_hidden()
    page.go_forward()
    page.wait_for_function("() => document.getElementById('told').textContent === 'Now 1 stroke'")
    page.keyboard.press("Control+z")
    page.wait_for_function("() => document.getElementById('told').textContent === 'Now 4 strokes'")
    assert board.settled() == lines


def test_another_tab_and_another_program_may_write_what_is_saved(page):
    Board(page).draw(SQUARE)
    page.keyboard.press("s")
    assert page.locator("#none-saved").is_visible()
    other = page.context.new_page()
    other.goto(page.url)
    other.wait_for_selector(".card[data-id]")
    other.keyboard.press("s")
    other.fill("#saved-name", "theirs")
    other.click("#save")
    page.wait_for_selector(".load")  # at once
    other.evaluate(
        """() => localStorage.setItem("dsf_jax.saved", JSON.stringify([
            null, 5, {name: {}, at: 1, text: ""}, {name: "bad", at: 1, text: "!"},
            ...JSON.parse(localStorage.getItem("dsf_jax.saved"))]))"""
    )
    page.click("#save")
    assert page.locator(".load b").all_inner_texts() == ["drawing", "theirs"]
    page.evaluate(
        "() => { Storage.prototype.setItem = () => { throw new DOMException('', 'QuotaExceededError'); }; }"
    )
    page.click("#save")
    assert "keeps nothing more" in page.inner_text("#saved-status")
    other.evaluate("() => localStorage.setItem('dsf_jax.saved', '{')")
    other.reload()
    other.wait_for_selector(".card[data-id]")
    other.keyboard.press("s")
    assert other.locator("#none-saved").is_visible()


def test_text_is_pasted_into_fields_and_an_empty_paper_is_not_saved(page):
    page.keyboard.press("s")
    assert page.locator("#save").is_disabled() and page.locator("#copy-link").is_disabled()
    assert page.inner_text("#link-note") == "There is no drawing yet."
    page.keyboard.press("Escape")
    Board(page).draw(SQUARE)
    page.keyboard.press("s")
    page.eval_on_selector(
        "#saved-name",
        "field => field.dispatchEvent(new ClipboardEvent('paste', {clipboardData: new DataTransfer(), bubbles: true}))",
    )
    assert page.locator("#drawings").is_visible() and page.locator("#error").is_hidden()


# --- Who does not see the paper; a restarted server ---


def test_what_is_drawn_by_keys_is_said(page):
    page.focus("#canvas")
    said = []
    for key in (
        "Space",
        "ArrowRight",
        "Space",
        "e",
        "Space",
        "Escape",
        "Control+z",
        "Control+z",
        "p",
        "p",
    ):
        page.keyboard.press(key)
        Board(page).settled()
        said.append(page.evaluate(SAID).strip("\u00a0"))
    assert said == [
        "Pen down, 50 % across, 50 % down", "Pen down, 50 % across, 50 % down", "Drawn: 1 stroke", "Eraser",
        "Eraser down, 52 % across, 50 % down", "Erased: no strokes", "Now 1 stroke", "Now no strokes", "Pen", "Pen",
    ]  # fmt: skip
    assert page.get_attribute("#told", "role") == "status"
    page.focus("#canvas")
    board = Board(page)
    board.key("Space", "ArrowRight", "Space")
    page.focus("#clear")
    page.keyboard.press("Enter")
    board.settled()
    # The button is off, and the focus goes on to the paper.
    page.wait_for_function("() => document.activeElement.id == 'canvas'")
    page.keyboard.press("Control+z")
    assert board.settled()


def test_a_restarted_server_finds_the_drawing_where_it_was(browser, searcher):
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
    with contextlib.closing(new_context(browser)) as context:
        page = context.new_page()
        with serving(create_app(searcher), port):
            page.goto(f"http://127.0.0.1:{port}")
            page.wait_for_selector("html[data-ready]", state="attached")
            before = Board(page).draw(SQUARE)
        Board(page).draw(*LINES)  # nobody is there
        assert "does not answer" in error(page)
        with serving(create_app(searcher), port):
            page.wait_for_selector("#error", state="hidden")  # by itself
            page.wait_for_function("() => !document.querySelector('.stale')")
            after = Board(page).settled()
            assert after and after != before
            drawn = ink(page)
        with serving(create_app(searcher), port):
            page.reload()
            page.wait_for_selector(".card[data-id]")
            assert Board(page).settled() == after and ink(page) == drawn
