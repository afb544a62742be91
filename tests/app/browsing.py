"""A person at the page, in a real browser."""

import pathlib

import pytest

try:
    from playwright import sync_api
except ImportError:
    sync_api = None
CHROMIUM = pathlib.Path("/usr/bin/chromium")
PATIENCE = 60_000  # ms; the machine may be busy

SQUARE = [[0.2, 0.2], [0.8, 0.2], [0.8, 0.8], [0.2, 0.8], [0.2, 0.2]]
LINES = [[[x, 0.1], [x, 0.9]] for x in (0.2, 0.4, 0.6, 0.8)]


needs_browser = [
    pytest.mark.slow,
    pytest.mark.skipif(sync_api is None, reason="playwright is not installed"),
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is not installed"),
]

POINTERS = """steps => {
    const canvas = document.getElementById("canvas"), box = canvas.getBoundingClientRect();
    canvas.setPointerCapture = () => {}; // knows no pointers that are made up
    for (const [name, id, kind, isPrimary, x, y, pressure = 0, more = {}] of steps) {
        canvas.dispatchEvent(new PointerEvent(`pointer${name}`, {
            pointerId: id, pointerType: kind, isPrimary, pressure, button: 0, cancelable: true,
            clientX: box.left + x * box.width, clientY: box.top + y * box.height, ...more,
        }));
    }
}"""


def new_context(browser, **options):
    """Pages that wait as long as a busy machine takes."""
    context = browser.new_context(**options)
    context.set_default_timeout(PATIENCE)
    return context


def stroke_on(canvas, stroke):
    """Draws by the mouse; places are fractions of the canvas."""
    box, mouse = canvas.bounding_box(), canvas.page.mouse
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
    mouse.move(*places[0])
    mouse.down()
    for place in places[1:]:
        mouse.move(*place, steps=4)
    mouse.up()


class Board:
    """A person at the page."""

    def __init__(self, page):
        """Looks where the paper lies."""
        self.page = page

    def draw(self, *strokes):
        for stroke in strokes:
            stroke_on(self.page.locator("#canvas"), stroke)
        return self.settled()

    def settled(self):
        """The ids that are listed when nothing is under way any more."""
        self.page.wait_for_selector('.found[aria-busy="false"]')
        return self.page.eval_on_selector_all(
            ".card[data-id]", "cards => cards.map(card => card.dataset.id)"
        )

    def press(self, selector):
        self.page.click(selector)
        return self.settled()

    def key(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)
        return self.settled()

    def names(self):
        return self.page.locator(".card b").all_inner_texts()


def ink(page, selector="#canvas"):
    """How many pixels of a canvas are drawn on."""
    return page.eval_on_selector(
        selector,
        """canvas => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => {
            const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            done(data.filter((x, i) => i % 4 === 3 && x > 0).length);
        })))""",
    )
