"""The page keeps what was done: undo, Back, Forward, reload and a closed tab; and what it says when
something is wrong, by whom it is met.
"""

import numpy as np
import pytest
from PIL import Image

from dsf_jax.app.searcher import Searcher
from dsf_jax.app.server import create_app
from tests.app import made
from tests.app.browsing import LINES, SQUARE, Board, ink, needs_browser
from tests.app.made import drawn, png, serving

pytestmark = needs_browser

VIEWPORTS = [(320, 480), (360, 740), (844, 390), (568, 320), (1280, 600), (1024, 768)]
DROP = """([files, data]) => {
    const transfer = new DataTransfer();
    for (const [name, type, bytes] of files) transfer.items.add(new File([new Uint8Array(bytes)], name, {type}));
    for (const [kind, text] of data) transfer.setData(kind, text);
    window.dispatchEvent(new DragEvent("drop", {dataTransfer: transfer, cancelable: true}));
}"""


def said(page):
    page.wait_for_selector("#error", state="visible")
    return page.inner_text("#error-text")


def file(name, data, kind="image/png"):
    return [name, kind, list(data)]


def test_back_and_undo_take_back_the_last_thing_done(page):
    board = Board(page)
    before = board.draw(SQUARE)
    likes = board.press(f'[data-id="{before[2]}"] .alike')
    page.go_back()
    page.wait_for_selector("#shown", state="hidden")
    assert board.settled() == before and ink(page) > 0
    page.go_forward()
    page.wait_for_selector("#shown", state="visible")
    assert board.settled() == likes
    page.keyboard.press("Control+z")  # the picture, and not a stroke below it
    page.wait_for_selector("#shown", state="hidden")
    assert board.settled() == before and ink(page) > 0
    board.press(f'[data-id="{before[1]}"] .like')
    page.keyboard.press("Control+z")
    page.wait_for_selector("#marks", state="hidden")
    assert board.settled() == before
    page.keyboard.press("Control+Shift+z")
    page.wait_for_selector("#marks", state="visible")
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")  # faster than the browser travels
    page.wait_for_selector("#empty", state="visible")
    assert ink(page) == 0


def test_keys_held_down_walk_all_the_way_and_what_is_too_much_does_nothing_later(page):
    board = Board(page)
    before = board.draw(SQUARE, *LINES[:2])
    board.press(f'[data-id="{before[2]}"] .alike')
    held = """([shiftKey, times]) => {
        for (let i = 0; i < times; i++) dispatchEvent(new KeyboardEvent("keydown", {key: "z", ctrlKey: true, shiftKey}));
    }"""
    page.evaluate(held, [False, 9])  # before the browser has travelled once
    page.wait_for_selector("#empty", state="visible")
    assert ink(page) == 0
    page.evaluate(held, [True, 4])
    page.wait_for_selector("#shown", state="visible")
    assert page.is_disabled("#redo") and page.is_enabled("#undo")
    page.evaluate(held, [False, 1])
    page.wait_for_selector("#shown", state="hidden")
    assert board.settled() == before


def test_redo_works_after_a_dialog(page):
    board = Board(page)
    before = board.draw(SQUARE)
    likes = board.press(f'[data-id="{before[2]}"] .alike')
    for wait in (True, False):
        page.keyboard.press("Control+z")
        page.wait_for_selector("#shown", state="hidden")
        page.click("#show-help")  # its entry takes the place of those ahead
        page.keyboard.press("Escape")
        if wait:
            page.wait_for_function("() => !history.state.dialog")
        page.keyboard.press("Control+Shift+z")
        page.wait_for_selector("#shown", state="visible")
        assert board.settled() == likes
    page.go_back()
    page.wait_for_selector("#shown", state="hidden")
    assert board.settled() == before and ink(page) > 0


def test_a_dialogs_drawing_can_be_taken_back_though_it_comes_first(page, address):
    board = Board(page)
    board.draw(SQUARE)
    page.keyboard.press("s")
    page.fill("#saved-name", "a square")
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    page.wait_for_selector("#drawings", state="hidden")
    page.click("#clear")
    page.wait_for_selector("#empty", state="visible")
    page.wait_for_function("() => localStorage.getItem('dsf_jax.drawing') === '[]'")
    other = page.context.new_page()
    for way in ("Control+z", "back"):
        other.goto(address)
        other.wait_for_selector("html[data-ready]", state="attached")
        other.keyboard.press("s")
        other.click("#saved .load")
        other.wait_for_selector(".card[data-id]")
        assert ink(other) > 0
        other.go_back() if way == "back" else other.keyboard.press(way)
        other.wait_for_selector("#empty", state="visible")
        assert ink(other) == 0 and other.url.rstrip("/") == address


def test_a_reload_and_a_closed_tab_keep_the_drawing(page, address):
    board = Board(page)
    before = board.draw(SQUARE, *LINES)
    drawn_then = ink(page)
    page.reload()
    page.wait_for_selector(".card[data-id]")
    assert board.settled() == before and ink(page) == drawn_then
    board.press("#undo")  # a stroke
    assert 0 < ink(page) < drawn_then
    board.press("#redo")
    likes = board.press(f'[data-id="{before[2]}"] .alike')
    page.reload()
    page.wait_for_selector("#shown", state="visible")
    page.wait_for_selector(".card[data-id]")
    assert board.settled() == likes
    page.keyboard.press("Control+z")
    page.wait_for_selector("#shown", state="hidden")
    assert board.settled() == before
    other = page.context.new_page()
    page.close()
    other.goto(address)
    other.wait_for_selector(".card[data-id]")
    assert Board(other).settled() == before


def test_back_closes_a_dialog(page):
    board = Board(page)
    before = board.draw(SQUARE)
    page.click(f'[data-id="{before[0]}"] .thumb')
    page.wait_for_selector("#picture", state="visible")
    page.go_back()
    page.wait_for_selector("#picture", state="hidden")
    assert board.settled() == before
    page.click(f'[data-id="{before[0]}"] .thumb')
    page.click("#picture-alike")
    page.wait_for_selector("#shown", state="visible")
    board.settled()
    page.go_back()
    page.wait_for_selector("#shown", state="hidden")
    assert board.settled() == before and page.locator("#picture").is_hidden()


@pytest.mark.parametrize("way", ["reload", "forward"])
def test_undo_takes_back_a_step_at_once_from_a_dialogs_entry(page, way):
    board = Board(page)
    before = board.draw(SQUARE)
    board.press(f'[data-id="{before[2]}"] .alike')
    page.click("#show-help")
    if way == "reload":
        page.reload()
        page.wait_for_selector("#shown", state="visible")
    else:
        page.keyboard.press("Escape")
        page.wait_for_function("() => !history.state.dialog")
        page.go_forward()
        page.wait_for_function("() => history.state.dialog")
    board.press("#undo")
    page.wait_for_selector("#shown", state="hidden")
    assert board.settled() == before
    board.press("#redo")
    page.wait_for_selector("#shown", state="visible")
    board.press("#undo")
    page.wait_for_selector("#shown", state="hidden")
    assert board.settled() == before


def test_undo_right_after_a_dialog_takes_back_one_step(page):
    board = Board(page)
    before = board.draw(SQUARE)
    liked = board.press(f'[data-id="{before[2]}"] .like')
    board.press(f'[data-id="{liked[1]}"] .alike')
    page.click("#show-help")
    page.evaluate(
        """() => new Promise((done) => {
            const help = document.getElementById("help");
            help.addEventListener("close", () => { document.getElementById("undo").click(); done(); });
            help.close();
        })"""
    )
    page.wait_for_selector("#shown", state="hidden")
    page.wait_for_timeout(300)
    assert board.settled() == liked and page.locator("#marks").is_visible()


@pytest.mark.parametrize("deed", ["clear", "undo", ".card:nth-child(3) .alike"])
def test_what_is_done_right_after_a_dialog_stays(page, deed):
    """The dialog's own way back took it for a way back before it."""
    board = Board(page)
    before = board.draw(SQUARE)
    page.click("#show-help")
    page.evaluate(
        """selector => new Promise((done) => {
            const help = document.getElementById("help");
            addEventListener("popstate", () => setTimeout(done), {once: true});
            help.addEventListener("close", () => document.querySelector(selector).click());
            help.close();
        })""",
        deed if " " in deed else f"#{deed}",
    )
    after = board.settled()
    assert after != before and (ink(page) == 0) == (" " not in deed)
    page.click("#redo" if deed == "undo" else "#undo")
    page.wait_for_function("() => document.getElementById('told').textContent === 'Now 1 stroke'")
    assert board.settled() == before


# --- The grid ---


@pytest.fixture(scope="module")
def many_shapes(model, tmp_path_factory):
    """The address of a gallery of portraits, landscapes, panoramas, and long names."""
    folder = tmp_path_factory.mktemp("shapes")
    name = "a_name_that_cameras_and_exports_give_and_nobody_reads_" * 3
    (folder / name).mkdir()
    shapes = [(120, 360), (400, 150), (900, 90), (300, 200), (200, 300), (60, 600), (256, 256)] * 3
    for number, (w, h) in enumerate(shapes):
        pixels = np.full((h, w, 3), 20 + 10 * number, np.uint8)
        pixels[: h // 2, number % 7 :: 9] = 255 - 10 * number
        Image.fromarray(pixels).save(
            folder / (name if number % 2 else ".") / f"{name[:90]}{number}.png"
        )
    gallery = made.gallery(tmp_path_factory.mktemp("g") / "g", model, folder)
    searcher = Searcher(model, gallery, duplicates="separate")
    with serving(create_app(searcher)) as address:
        yield address


@pytest.mark.parametrize(("width", "height"), VIEWPORTS)
def test_rows_are_of_one_height_and_full(open_page, many_shapes, width, height):
    page = open_page(at=many_shapes, color_scheme="dark")
    page.set_viewport_size({"width": width, "height": height})
    page.click('[data-example="bell"]')
    page.wait_for_selector(".card[data-id]")
    Board(page).settled()
    boxes = page.eval_on_selector_all(
        ".thumb",
        "all => all.map(e => { const b = e.getBoundingClientRect(); return [b.x, b.y, b.width, b.height]; })",
    )
    assert len(boxes) == 21
    edge = page.locator("#results").bounding_box()
    rows = {}
    for box in boxes:
        rows.setdefault(round(box[1]), []).append(box)
    for number, row in enumerate(rows.values()):
        heights = [box[3] for box in row]
        assert max(heights) - min(heights) < 1, row
        if number < len(rows) - 1:
            assert row[-1][0] + row[-1][2] == pytest.approx(edge["x"] + edge["width"], abs=2)
    assert page.eval_on_selector(".thumb img", "e => getComputedStyle(e).objectFit") == "cover"
    assert page.evaluate("() => document.documentElement.scrollWidth") == width


@pytest.mark.parametrize(("width", "height"), VIEWPORTS)
def test_everything_can_be_reached(open_page, many_shapes, width, height):
    page = open_page(at=many_shapes)
    page.set_viewport_size({"width": width, "height": height})
    page.click('[data-example="bell"]')
    page.wait_for_selector(".facet")
    Board(page).settled()
    paper = page.locator("#paper").bounding_box()
    assert paper["height"] <= height and paper["width"] == pytest.approx(paper["height"], abs=1)
    covered = """() => [...document.querySelectorAll("SELECTOR")].filter((e) => e.checkVisibility()).filter((e) => {
        e.scrollIntoView({block: "center", inline: "center"});
        const b = e.getBoundingClientRect();
        const hit = document.elementFromPoint(b.x + Math.min(b.width / 2, 40), b.y + b.height / 2);
        return !(hit && (e.contains(hit) || hit.contains(e)));
    }).map((e) => e.outerHTML.slice(0, 90))"""
    assert page.evaluate(covered.replace("SELECTOR", "main button, header button, #canvas")) == []
    page.locator(".thumb").first.click()
    page.wait_for_selector("#picture", state="visible")
    assert page.evaluate(covered.replace("SELECTOR", "#picture button, #picture-path")) == []
    inside = page.locator("#picture").bounding_box()
    assert inside["x"] >= 4 and inside["x"] + inside["width"] <= width - 4
    page.click("#picture-close")
    page.wait_for_selector("#picture", state="hidden")
    page.wait_for_function("() => !history.state.dialog")
    page.evaluate("() => scrollTo(0, 0)")
    page.click("#show-help")
    help = page.locator("#help").bounding_box()
    assert help["x"] >= 8 and help["x"] + help["width"] <= width - 8
    assert page.locator("#help-title").bounding_box()["y"] >= 0
    assert page.evaluate(covered.replace("SELECTOR", "#help button, #help-title")) == []


# --- What is wrong ---


def test_the_server_goes_and_comes_back(page):
    board = Board(page)
    before = board.draw(SQUARE)
    page.route("**/api/**", lambda route: route.abort())
    page.click(f'[data-id="{before[0]}"] .thumb')
    page.wait_for_selector("#picture-error", state="visible")
    assert "does not answer" in page.inner_text("#picture-error")
    page.unroute("**/api/**")
    page.wait_for_selector("#picture-error", state="hidden")  # by itself
    page.keyboard.press("Escape")
    page.wait_for_function("() => !history.state.dialog")
    page.route("**/api/**", lambda route: route.fulfill(status=502, body="<html>bad gateway"))
    board.draw(LINES[0])
    assert "does not answer" in said(page)
    page.unroute("**/api/**")
    page.wait_for_selector("#error", state="hidden")
    page.wait_for_function("() => !document.querySelector('.stale')")
    assert len(board.settled()) == 24


def test_a_drop_behind_a_dialog_closes_it(page):
    board = Board(page)
    before = board.draw(SQUARE)
    page.click(f'[data-id="{before[0]}"] .thumb')
    page.wait_for_selector("#picture", state="visible")
    page.evaluate(
        DROP, [[file("a.png", png(drawn("bars", 1))), file("b.png", png(drawn("bars", 2)))], []]
    )
    page.wait_for_selector("#picture", state="hidden")
    page.wait_for_selector("#query", state="visible")
    assert page.inner_text("#query-name") == "a.png as"
    assert said(page) == "Of 2 files, one is searched with: a.png."
    board.settled()
    page.go_back()
    page.wait_for_selector("#query", state="hidden")
    assert board.settled() == before


@pytest.mark.parametrize(
    ("files", "data", "words"),
    [
        (
            [],
            [["text/uri-list", "https://example.org/cat.jpg"]],
            "picture of another page cannot be read",
        ),
        ([], [["text/html", "<img src=x>"]], "picture of another page cannot be read"),
        ([], [["text/plain", "cat"]], "is not a picture"),
        ([file("notes.pdf", b"%PDF", "application/pdf")], [], "notes.pdf is not a picture"),
        ([file("notes.png", b"no")], [], "notes.png: the file is not a picture"),
    ],
)
def test_what_is_dropped_and_is_no_picture(page, files, data, words):
    board = Board(page)
    page.evaluate(DROP, [[file("a.png", png(drawn("bars", 1)))], []])
    page.wait_for_selector(".card[data-id]")
    board.settled()
    page.evaluate(DROP, [files, data])
    page.wait_for_function(
        "words => document.getElementById('error-text').textContent.includes(words)", arg=words
    )
    assert page.locator("#retry").is_hidden()
    if words.startswith("notes.png"):  # nothing of the picture before it is left
        assert board.settled() == [] and page.locator("#guesses").is_hidden()
        assert page.eval_on_selector("#shown", "e => getComputedStyle(e).visibility") == "hidden"
    page.click("#dismiss")
    assert page.locator("#error").is_hidden()


def test_a_result_that_is_dropped_is_the_query(page, address):
    board = Board(page)
    before = board.draw(SQUARE)
    page.evaluate(DROP, [[], [["text/uri-list", f"{address}/api/pictures/{before[3]}"]]])
    page.wait_for_selector("#shown", state="visible")
    assert before[3] not in board.settled()


def test_a_paste_of_no_picture(page):
    page.evaluate(
        "() => window.dispatchEvent(new ClipboardEvent('paste', {clipboardData: new DataTransfer()}))"
    )
    assert "no picture in the clipboard" in said(page)


def test_more_strokes_than_are_taken(page):
    strokes = [[[x, y], [x + 2, y]] for x in range(0, 660, 20) for y in range(0, 680, 20)][:1100]
    page.evaluate(
        "strokes => localStorage.setItem('dsf_jax.drawing', JSON.stringify(strokes))", strokes
    )
    other = page.context.new_page()
    other.goto(page.url)
    text = said(other)
    assert "1100 strokes" in text and "1000" in text and "erase" in text
    assert other.locator("#retry").is_hidden() and Board(other).settled() == []


@pytest.mark.parametrize("far", [True, False])
def test_nothing_near_is_said_when_the_server_says_so(page, far):
    def answer(route):
        route.fulfill(json=route.fetch().json() | {"nothing_near": far})

    page.route("**/api/search*", answer)
    Board(page).draw(SQUARE)
    assert page.locator("#none-near").is_visible() == far and "%" not in page.inner_text("main")
    page.unroute("**/api/search*")
    Board(page).draw(*LINES)


# --- Near-duplicates ---


@pytest.fixture(scope="module")
def copied(model, searcher, tmp_path_factory):
    """The address of the shared pictures' gallery, near-duplicates together."""
    with serving(create_app(Searcher(model, searcher.gallery))) as address:
        yield address


def test_near_duplicates_are_one_card_that_shows_them(open_page, copied):
    page = open_page(at=copied)
    board = Board(page)
    with page.expect_response("**/api/search*") as answer:
        page.click('[data-example="bell"]')  # at once: one search
    listed = board.settled()
    results = answer.value.json()["results"]
    assert listed == [result["id"] for result in results] and len(listed) < 33
    joined = next(result for result in results if result["duplicates"])
    members = [joined, *joined["duplicates"]]
    button = page.locator(f'[data-id="{joined["id"]}"] .copies')
    assert button.inner_text() == f"{len(members)} alike"
    assert page.locator(".copies:visible").count() == sum(
        bool(one["duplicates"]) for one in results
    )
    page.locator(f'[data-id="{joined["id"]}"] .thumb').focus()
    page.keyboard.press("Tab")  # by keyboard alone
    assert "alike. Show them" in page.evaluate("() => document.activeElement.ariaLabel")
    page.keyboard.press("Enter")
    page.wait_for_selector("#picture", state="visible")
    for place, member in enumerate(members, 1):
        assert page.inner_text("#picture-path") == member["path"]
        assert f"{place} of {len(members)} alike" in page.inner_text("#picture-size")
        assert page.locator("#next").is_disabled() == (place == len(members))
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    page.wait_for_selector("#picture", state="hidden")
    focused = "() => document.activeElement.closest('.card').dataset.id"
    assert page.evaluate(focused) == joined["id"]
    wrong = board.press(f'[data-id="{joined["id"]}"] .unlike')
    assert not {member["id"] for member in members} & set(wrong)  # its near-duplicates go with it


def test_classes_that_cannot_be_found_are_no_buttons(page):
    guesses = [
        {"name": "bars", "probability": 0.1, "label": "bars", "pictures": 8},
        {"name": "white_chess_knight", "probability": 0.76, "label": None, "pictures": 0},
    ]
    page.route(
        "**/api/guesses*", lambda route: route.fulfill(json={"guesses": guesses, "milliseconds": 1})
    )
    Board(page).draw(SQUARE)
    page.wait_for_selector("#absent", state="visible")
    assert "white chess knight" in page.inner_text("#absent")
    names = page.locator(".facet b").all_inner_texts()
    assert names[0] == "bars" and "white_chess_knight" not in names


def test_the_status_does_not_move_what_is_below(page):
    board = Board(page)
    top = "() => document.getElementById('results').getBoundingClientRect().top"
    before = board.draw(SQUARE)
    at = page.evaluate(top)
    board.press(f'[data-id="{before[0]}"] .like')
    assert page.locator("#marks").is_visible() and page.evaluate(top) == pytest.approx(at, abs=0.5)
