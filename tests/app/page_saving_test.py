"""Drawings kept by a name and sent as a link, and results as files."""

import csv
import io
import re

import pytest

from tests.app.browsing import LINES, SQUARE, Board, ink, needs_browser, new_context

pytestmark = needs_browser


def in_module(page, call):
    """What an expression about the page's module of links is."""
    return page.evaluate(f"""async () => {{
        const links = await import("/static/links.js");
        return {call};
    }}""")


def link_of(page):
    Board(page).press("#keep")
    link = page.input_value("#link")
    page.keyboard.press("Escape")
    return link


def saved_names(page):
    return page.locator("#saved b").all_inner_texts()


def save_as(page, name):
    Board(page).press("#keep")
    page.fill("#saved-name", name)
    page.keyboard.press("Enter")


def test_strokes_are_the_same_behind_a_link(page):
    strokes = "[[[0, 0.05], [680.9, 12.3]], [[5, 5, 0.25], [-3.2, 700, 1]], [[340.5, 340.5]]]"
    back = in_module(page, f"links.strokesOf(links.textOf({strokes}))")
    assert back == [[[0, 0.1], [680.9, 12.3]], [[5, 5, 0.25], [-3.2, 700, 1]], [[340.5, 340.5]]]


def test_no_cut_or_changed_link_is_taken_for_another_drawing(page):
    wrong = in_module(
        page,
        """(() => {
            const text = links.textOf([[[10, 20], [30, 40.5], [600, 1]], [[3, 4, .5], [5, 6, .75]]]), wrong = [];
            const tried = [];
            for (let i = 0; i < text.length; i++) {
                tried.push(text.slice(0, i), text.slice(0, i) + (text[i] === "A" ? "B" : "A") + text.slice(i + 1));
            }
            for (const one of tried) {
                try { if (one !== text) wrong.push([one, links.strokesOf(one)]); } catch (error) {
                    if (!/link to a drawing/.test(error.message)) wrong.push([one, error.message]);
                }
            }
            return wrong;
        })()""",
    )
    assert wrong == []


def test_a_link_opens_the_drawing_elsewhere_and_undo_brings_back_what_was_there(
    page, open_page, address
):
    board = Board(page)
    board.draw(SQUARE, LINES[1])
    link, drawn = link_of(page), ink(page)
    assert link.startswith(address) and "#drawing=" in link
    other = open_page()
    Board(other).draw(LINES[3])
    before = ink(other)
    other.evaluate("link => { location.href = link; }", link)
    other.wait_for_function("!location.hash")  # what is drawn next is not what it would say
    Board(other).settled()
    assert ink(other) == drawn
    other.click("#undo")
    other.wait_for_function("() => document.getElementById('told').textContent === 'Now 1 stroke'")
    assert ink(other) == before
    assert ink(open_page(at=link)) == drawn


@pytest.mark.parametrize("fragment", ["!!!!", "%3Cscript%3Ealert(1)%3C/script%3E"])
def test_a_page_that_begins_with_what_is_no_drawing_tells_it(open_page, address, fragment):
    page = open_page(at=f"{address}#drawing={fragment}")
    assert re.search("link", page.inner_text("#error-text"))
    assert "#" not in page.url
    assert len(Board(page).draw(LINES[0])) > 0


def test_drawings_are_saved_shown_deleted_and_brought_back(page):
    board = Board(page)
    board.draw(SQUARE)
    square = ink(page)
    save_as(page, "  a   house <b>")
    assert saved_names(page) == ["a house <b>"]
    assert "a house <b>" in page.inner_text("#saved-status")
    page.fill("#saved-name", "a house <b>")
    page.keyboard.press("Enter")
    assert saved_names(page) == ["a house <b> 2", "a house <b>"]  # none is written over
    page.keyboard.press("Escape")
    board.press("#clear")
    board.draw(LINES[2])
    page.reload()
    page.wait_for_selector("html[data-ready]", state="attached")
    board.press("#keep")
    page.click("#saved .delete >> nth=0")
    assert saved_names(page) == ["a house <b>"]
    page.keyboard.press("Enter")  # what has the focus now deletes the next one
    assert saved_names(page) == []
    page.click("#bring-back")
    assert saved_names(page) == ["a house <b>"]
    page.keyboard.press("Enter")  # and it has the focus
    board.settled()
    assert ink(page) == square


def test_saving_is_within_reach_of_keys_and_named(page):
    Board(page).draw(SQUARE)
    page.keyboard.press("s")
    dialog = page.get_by_role("dialog", name="Your drawings")
    assert dialog.is_visible()
    assert dialog.get_by_role("textbox", name="Link to this drawing").is_visible()
    dialog.get_by_role("textbox", name="Name").fill("by keys")
    page.keyboard.press("Enter")
    assert dialog.get_by_role("button", name="Show “by keys”").count() == 1
    assert dialog.get_by_role("button", name="Delete “by keys”").count() == 1
    assert page.get_attribute("#saved-status", "role") == "status"


def downloaded(page, selector):
    with page.expect_download() as waiting:
        page.click(selector)
    return waiting.value.path().read_bytes()


def test_results_as_a_table(page):
    ids = Board(page).draw(SQUARE)
    text = downloaded(page, "#files-csv").decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["id"] for row in rows] == ids
    assert [int(row["rank"]) for row in rows] == list(range(1, len(ids) + 1))
    assert [float(row["distance"]) for row in rows] == sorted(
        float(row["distance"]) for row in rows
    )


def test_a_table_computes_nothing(page):
    result = "{id: 'a', label: '=1+1', path: '@x,\"y\"', width: 1, height: 2, steps: 1, distance: 0.5, duplicates: []}"
    with page.expect_download() as waiting:
        page.evaluate(f"""async () => (await import("/static/files.js")).saveTable([{result}])""")
    (row,) = csv.DictReader(io.StringIO(waiting.value.path().read_text("utf-8-sig")))
    assert (row["label"], row["path"]) == ("'=1+1", '\'@x,"y"')


def test_results_as_a_page_that_needs_no_server(page, open_page, tmp_path):
    ids = Board(page).draw(SQUARE)
    file = tmp_path / "found.html"
    file.write_bytes(downloaded(page, "#files-html"))
    context = new_context(page.context.browser, offline=True)
    saved = context.new_page()
    saved.goto(file.as_uri())
    loaded = saved.eval_on_selector_all("img", "all => all.map(one => one.naturalWidth > 0)")
    assert loaded == [True] * len(ids)
    assert saved.locator("svg path").count() == 1
    assert saved.eval_on_selector("ol", "list => getComputedStyle(list).display") == "grid"
    assert "a drawing" in saved.title()
    context.close()


def test_a_page_of_results_holds_no_markup_of_names(page):
    result = (
        "{id: 'a', label: '<img src=x onerror=alert(1)>', path: '</small><script>1</script>', width: 1, "
        "height: 2, steps: 1, distance: 0.5, duplicates: []}"
    )
    with page.expect_download() as waiting:
        page.evaluate(
            f"""async () => (await import("/static/files.js")).savePage([{result}], {{strokes: [], title: "<b>", among: 1}})"""
        )
    text = waiting.value.path().read_text("utf-8")
    assert "<script" not in text and "<img src=x" not in text and "Found: <b>" not in text
    assert "default-src 'none'" in text
