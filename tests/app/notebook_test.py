"""The widget, in Python and in a real browser: what stands for the notebook there keeps a model as anywidget's
protocol has it, whose other side is the widget itself.
"""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("anywidget", reason="anywidget is not installed: pip install -e .[notebook]")

from dsf_jax.app.notebook import BOX, STATIC, DrawingWidget, joined_modules
from dsf_jax.app.query import query_from_strokes
from tests.app.browsing import LINES, SQUARE, ink, needs_browser, new_context, stroke_on

STROKES = [[[20, 20], [600, 20], [600, 600]], [[50, 300], [400, 310, 0.5]]]


def in_units(strokes):
    return [[[BOX[2] * x, BOX[3] * y] for x, y in stroke] for stroke in strokes]


def test_modules_are_one_and_those_of_the_page():
    joined = joined_modules()
    assert "import" not in re.sub("//.*", "", joined)
    for name in ("strokes.js", "drawing.js"):
        own = [line for line in (STATIC / name).read_text().splitlines() if "import" not in line]
        assert "\n".join(own[-30:]) in joined


def test_the_surfaces_side_is_the_boxs():
    (side,) = re.findall(r"export const SIDE = (\d+);", (STATIC / "drawing.js").read_text())
    assert (0, 0, int(side), int(side)) == BOX


def test_a_drawing_is_the_pages():
    widget = DrawingWidget()
    widget.strokes = STROKES
    np.testing.assert_array_equal(
        widget.drawing.points, query_from_strokes(STROKES, (0, 0, 681, 681)).points
    )
    assert widget.results == [] and widget._found == []


def test_no_drawing_is_an_error():
    with pytest.raises(ValueError, match=r"nothing is drawn on the widget yet; draw a stroke"):
        _ = DrawingWidget().drawing


@pytest.mark.slow
def test_what_is_found_is_what_the_searcher_finds(searcher):
    widget = DrawingWidget(searcher, count=5)
    widget.strokes = STROKES
    expected = searcher.search(searcher.embed(query_from_strokes(STROKES, BOX)), 5)
    assert widget.results == expected and len(expected) == 5
    assert [shown["distance"] for shown in widget._found] == [one.distance for one in expected]
    header, _, data = widget._found[0]["source"].partition(",")
    assert header == "data:image/jpeg;base64"
    picture = expected[0].picture
    assert base64.b64decode(data) == searcher.gallery.thumbnail(picture.id)
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (picture.width, picture.height)
    assert widget._found[0]["name"] == picture.label and widget._status == "5 of 33 pictures"
    widget.strokes = []
    assert widget.results == widget._found == [] and widget._status == ""


@pytest.mark.slow
def test_what_is_no_drawing_is_said_under_it(searcher):
    widget = DrawingWidget(searcher)
    widget.strokes = STROKES
    widget.strokes = [[[9000, 9000]]]
    assert widget._status == "nothing is drawn inside of the box; draw a stroke"
    assert widget.results == widget._found == []


MODEL = """async ([esm, css, state]) => {
    document.head.appendChild(document.createElement("style")).textContent = css;
    const url = URL.createObjectURL(new Blob([esm], {type: "text/javascript"}));
    const {default: {render}} = await import(url);
    const heard = {}, changed = new Set();
    const fire = (name) => { for (const call of heard[`change:${name}`] ?? []) call(); };
    const model = {
        get: (name) => state[name],
        set: (name, value) => {
            if (JSON.stringify(state[name]) === JSON.stringify(value)) return;
            state[name] = value;
            changed.add(name);
            fire(name);
        },
        save_changes: async () => {
            const sent = Object.fromEntries([...changed].map((name) => [name, state[name]]));
            changed.clear();
            window.take(await window.send(sent));
        },
        on: (event, call) => (heard[event] ??= []).push(call),
        off: (event, call) => { heard[event] = heard[event].filter((one) => one !== call); },
    };
    window.take = (received) => {
        for (const [name, value] of Object.entries(received)) { state[name] = value; fire(name); }
        document.body.dataset.answers = Number(document.body.dataset.answers ?? 0) + 1;
    };
    window.heard = () => Object.values(heard).flat().length;
    window.leave = render({model, el: document.body});
}"""


class Cell:
    """A person at the widget."""

    def __init__(self, page, widget):
        self.page, self.widget, self.answers = page, widget, 0
        page.expose_function("send", self._send)
        state = {name: getattr(widget, name) for name in self._names()}
        page.evaluate(MODEL, [widget._esm, widget._css, state])
        self.canvas = page.locator("canvas")

    def _names(self):
        return "strokes", "_found", "_status", "_searches"

    def _send(self, sent):
        self.widget.set_state(sent)
        return {name: getattr(self.widget, name) for name in self._names()}

    def answered(self):
        self.answers += 1
        self.page.wait_for_selector(f'body[data-answers="{self.answers}"]')

    def draw(self, *strokes):
        for stroke in strokes:
            stroke_on(self.canvas, stroke)
            self.answered()

    def press(self, name):
        self.page.get_by_role("button", name=name).click()

    def disabled(self):
        return [one.inner_text() for one in self.page.locator("button:disabled").all()]


@pytest.fixture
def open_cell(browser):
    """A function that shows a widget; nothing may go wrong on it unnoticed."""
    wrong, context = [], new_context(browser, viewport={"width": 900, "height": 500})

    def open_it(widget):
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: message.type == "error" and wrong.append(message.text))
        return Cell(page, widget)

    yield open_it
    context.close()
    assert wrong == []


def browsed(test):
    for mark in needs_browser:
        test = mark(test)
    return test


@browsed
def test_drawn_strokes_come_to_python_and_pictures_back(open_cell, searcher):
    widget = DrawingWidget(searcher, count=6)
    cell = open_cell(widget)
    assert cell.disabled() == ["Undo", "Clear"]
    cell.draw(SQUARE)
    (stroke,) = widget.strokes
    np.testing.assert_allclose(stroke, in_units([SQUARE])[0], atol=2)
    names = [one.picture.label or "cut.png" for one in widget.results]
    assert cell.page.locator("li span").all_inner_texts() == names and len(names) == 6
    assert cell.page.inner_text('[role="status"]') == "6 of 33 pictures"
    loaded = "images => images.every(image => image.complete && image.naturalWidth > 0)"
    assert cell.page.eval_on_selector_all("img", loaded)
    first = widget.results
    cell.draw(*LINES)
    assert len(widget.strokes) == 5 and widget.results != first
    cell.press("Eraser")
    cell.draw([[0.1, 0.5], [0.9, 0.5]])  # through all of them
    assert widget.strokes == [] and cell.page.locator("li").count() == 0
    assert cell.page.inner_text('[role="status"]') == ""
    cell.press("Undo")
    cell.answered()
    assert len(widget.strokes) == 5
    cell.press("Clear")
    cell.answered()
    assert widget.strokes == [] and cell.disabled() == ["Clear"]


@browsed
def test_keys_draw_and_what_python_assigns_is_shown(open_cell):
    widget = DrawingWidget()
    cell = open_cell(widget)
    cell.page.evaluate(
        "() => document.body.addEventListener('keydown', () => { throw Error('the notebook hears keys'); })"
    )
    cell.canvas.focus()
    for key in ("Space", "ArrowRight", "ArrowDown", "Space", "d", "d"):
        cell.page.keyboard.press(key)
    cell.answered()
    assert widget.strokes == [[[340.5, 340.5], [354.5, 340.5], [354.5, 354.5]]]
    cell.page.evaluate("strokes => window.take({strokes})", STROKES)
    widget.strokes = STROKES
    cell.answers += 1
    assert ink(cell.page, "canvas") > 1000
    cell.press("Undo")
    cell.answered()
    assert widget.strokes == [[[340.5, 340.5], [354.5, 340.5], [354.5, 354.5]]]
    assert cell.page.evaluate("() => [heard(), leave(), heard()]") == [3, None, 0]
