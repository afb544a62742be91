"""Pens, hands and fingers at the paper: whatever of them the browser tells, and whatever it breaks off."""

import pytest

from tests.app.browsing import LINES, POINTERS, SQUARE, Board, ink, needs_browser

pytestmark = needs_browser

SOON = "() => new Promise(done => setTimeout(done, 60))"  # after the 50 ms until they are kept
STROKES = "() => JSON.parse(localStorage.getItem('dsf_jax.drawing') ?? '[]')"
TIP, OTHER_END, BARREL = ({"button": b, "buttons": bs} for b, bs in ((0, 1), (5, 32), (2, 2)))
HELD, GONE = {"button": -1, "buttons": 1}, {"button": 0, "buttons": 0}


def events(kind, *steps, id=1):
    """What a pointer does; steps are (name, x, y), and how its buttons are."""
    return [(name, id, kind, True, x, y, 0, *more) for name, x, y, *more in steps]


def pointers(page, kind, *steps, id=1):
    page.evaluate(POINTERS, events(kind, *steps, id=id))


def kept(page):
    """The strokes that the browser keeps, as fractions of the paper."""
    Board(page).settled()
    page.evaluate(SOON)
    return [
        [[round(at / 681, 2) for at in point] for point in stroke]
        for stroke in page.evaluate(STROKES)
    ]


@pytest.mark.parametrize(
    "held", [OTHER_END, {"button": 0, "buttons": 32}, BARREL, {"button": 0, "buttons": 3}]
)
def test_a_pens_other_end_and_the_button_on_its_barrel_erase(page, held):
    board = Board(page)
    board.draw(SQUARE, *LINES)
    whole = ink(page)
    moving = {**held, "button": -1}
    pointers(
        page,
        "pen",
        ("down", 0.2, 0.05, held),
        ("move", 0.2, 0.13, moving),
        ("up", 0.2, 0.13, {**held, "buttons": 0}),
    )
    assert board.settled() and len(kept(page)) == 4
    assert 0 < ink(page) < whole and page.get_attribute("#pen", "aria-pressed") == "true"
    pointers(
        page, "pen", ("down", 0.1, 0.95, TIP), ("move", 0.9, 0.95, HELD), ("up", 0.9, 0.95, GONE)
    )
    assert len(kept(page)) == 5  # the tip draws as before
    board.press("#undo")
    board.press("#undo")
    assert ink(page) == whole


def test_a_mouses_other_buttons_leave_the_drawing_alone(page):
    Board(page).draw(LINES[0])
    for button, buttons in ((1, 4), (2, 2), (3, 8), (4, 16)):
        how = {"button": button, "buttons": buttons}
        pointers(
            page, "mouse", ("down", 0.2, 0.5, how), ("move", 0.9, 0.5, how), ("up", 0.9, 0.5, how)
        )
    assert len(kept(page)) == 1


@pytest.mark.parametrize("broken", ["cancel", "capture"])
@pytest.mark.parametrize("late", [False, True])
def test_a_stroke_that_is_broken_off_is_kept_and_goes_on(page, broken, late):
    name = {"cancel": "pointercancel", "capture": "lostpointercapture"}[broken]
    event = f'new PointerEvent("{name}", {{pointerId: 1, pointerType: "pen"}})'
    end = f'() => document.getElementById("canvas").dispatchEvent({event})'
    pointers(page, "pen", ("down", 0.2, 0.2, TIP), ("move", 0.8, 0.2, HELD))
    page.evaluate(end)
    if late:
        assert kept(page) == [[[0.2, 0.2], [0.8, 0.2]]]
    pointers(page, "pen", ("move", 0.8, 0.8, HELD))
    page.evaluate(end)  # once more
    pointers(page, "pen", ("move", 0.2, 0.8, HELD), ("up", 0.2, 0.8, GONE))
    assert kept(page) == [[[0.2, 0.2], [0.8, 0.2], [0.8, 0.8], [0.2, 0.8]]]
    Board(page).press("#undo")  # it is one stroke
    assert ink(page) == 0 and page.locator("#undo").is_disabled()


def test_an_eraser_that_is_broken_off_goes_on_as_one_step(page):
    board = Board(page)
    board.draw(*LINES)
    board.press("#eraser")
    pointers(
        page,
        "pen",
        ("down", 0.1, 0.5, TIP),
        ("move", 0.3, 0.5, HELD),
        ("cancel", 0, 0),
        ("move", 0.5, 0.5, HELD),
    )
    pointers(page, "pen", ("up", 0.5, 0.5, GONE))
    assert len(kept(page)) == 2
    board.press("#undo")
    assert len(kept(page)) == 4


def test_what_is_broken_off_does_not_go_on_when_it_was_lifted_or_another_has_begun(page):
    pointers(page, "mouse", ("down", 0.2, 0.2, TIP), ("move", 0.4, 0.2, HELD), ("cancel", 0, 0))
    pointers(page, "mouse", ("move", 0.6, 0.6, GONE), ("move", 0.8, 0.8, HELD))
    assert kept(page) == [[[0.2, 0.2], [0.4, 0.2]]]
    pointers(page, "mouse", ("down", 0.2, 0.5, TIP), ("move", 0.4, 0.5, HELD), ("cancel", 0, 0))
    pointers(
        page, "pen", ("down", 0.2, 0.9, TIP), ("move", 0.4, 0.9, HELD), ("up", 0.4, 0.9, GONE), id=2
    )
    pointers(page, "mouse", ("move", 0.9, 0.9, HELD))
    assert len(kept(page)) == 3 and page.locator("#redo").is_disabled()
    Board(page).press("#clear")
    pointers(page, "mouse", ("move", 0.1, 0.1, HELD))
    assert ink(page) == 0


@pytest.mark.parametrize(
    "broken", [(), (("cancel", 0, 0),), (("cancel", 0, 0), ("move", 0.5, 0.75))]
)
@pytest.mark.parametrize("near", ["move", "down"])
def test_a_hand_that_was_there_before_the_pen_leaves_nothing(page, near, broken):
    board = Board(page)
    board.draw(LINES[0])
    down = [("down", 0.4, 0.1, TIP)]
    before = [(near, 0.4, 0.1, GONE)] if near == "move" else down
    done = [
        *events("touch", ("down", 0.5, 0.7), ("move", 0.5, 0.72), *broken, id=7),
        *events("pen", *before, id=9),
        *events("touch", ("move", 0.5, 0.9), ("up", 0.5, 0.9), id=7),
        *events("touch", ("down", 0.7, 0.9), ("move", 0.9, 0.9), ("up", 0.9, 0.9), id=8),  # again
        *events("pen", *(down if near == "move" else []), id=9),
        *events("pen", ("move", 0.4, 0.9, HELD), ("up", 0.4, 0.9, GONE), id=9),
    ]
    page.evaluate(POINTERS, done)  # at once: a second later the hand would be another
    assert kept(page) == [LINES[0], LINES[1]]
    board.press("#undo")
    assert kept(page) == [LINES[0]]
    board.press("#undo")
    assert ink(page) == 0 and page.locator("#undo").is_disabled()


def test_a_finger_draws_again_when_the_pen_has_gone(page):
    pen = events("pen", ("down", 0.2, 0.1, TIP), ("move", 0.2, 0.9, HELD), ("up", 0.2, 0.9, GONE))
    touch = events("touch", ("down", 0.4, 0.1), ("move", 0.4, 0.9), ("up", 0.4, 0.9), id=2)
    page.evaluate(POINTERS, pen + touch)  # at once
    assert len(kept(page)) == 1
    page.wait_for_timeout(1050)
    pointers(page, "touch", ("down", 0.4, 0.1), ("move", 0.4, 0.9), ("up", 0.4, 0.9), id=3)
    assert len(kept(page)) == 2


def test_a_pens_first_events_may_feel_no_pressure(page):
    rows = [
        ("down", 0.2, 0),
        ("move", 0.4, 0.5),
        ("move", 0.6, 0),
        ("move", 0.8, 0.9),
        ("up", 0.8, 0),
    ]
    page.evaluate(POINTERS, [(name, 1, "pen", True, x, 0.5, p) for name, x, p in rows])
    Board(page).settled()
    page.evaluate(SOON)
    (stroke,) = page.evaluate(STROKES)
    assert [point[2] for point in stroke] == [0.5, 0.5, 0.9]


def test_two_fingers_do_not_draw_and_a_finger_that_is_taken_away_has_drawn(open_page):
    page = open_page(has_touch=True)
    box, device = page.locator("#canvas").bounding_box(), page.context.new_cdp_session(page)

    def touches(kind, *places):
        points = [
            {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"], "id": id}
            for id, x, y in places
        ]
        device.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points})

    touches("Start", (1, 0.3, 0.5))
    touches("Start", (1, 0.3, 0.5), (2, 0.7, 0.5))
    touches("Move", (1, 0.1, 0.5), (2, 0.9, 0.5))
    touches("End")
    assert ink(page) == 0 and page.locator("#undo").is_disabled()
    touches("Start", (3, 0.2, 0.2))
    touches("Move", (3, 0.8, 0.2))
    touches("Cancel")
    assert kept(page) == [[[0.2, 0.2], [0.8, 0.2]]]
    page.reload()
    page.wait_for_selector(".card[data-id]")
    assert kept(page) == [[[0.2, 0.2], [0.8, 0.2]]]


def test_a_stroke_under_way_survives_a_reload(page):
    pointers(page, "mouse", ("down", 0.2, 0.2, TIP), ("move", 0.8, 0.2, HELD))
    page.reload()
    page.wait_for_selector(".card[data-id]")
    assert kept(page) == [[[0.2, 0.2], [0.8, 0.2]]]
    pointers(page, "mouse", ("down", 0.2, 0.6, TIP), ("move", 0.8, 0.6, HELD))
    page.reload()
    page.wait_for_selector(".card[data-id]")
    assert kept(page) == [[[0.2, 0.2], [0.8, 0.2]], [[0.2, 0.6], [0.8, 0.6]]]


@pytest.mark.parametrize("key", ["ArrowDown", "Space", "Enter"])
def test_keys_leave_the_stroke_of_a_pointer_alone(page, key):
    page.focus("#canvas")
    pointers(page, "mouse", ("down", 0.2, 0.2, TIP), ("move", 0.4, 0.2, HELD))
    page.keyboard.press(key)
    pointers(page, "mouse", ("move", 0.8, 0.2, HELD), ("up", 0.8, 0.2, GONE))
    assert kept(page) == [[[0.2, 0.2], [0.8, 0.2]]]
    assert page.evaluate("() => scrollY") == 0


def test_escape_ends_the_stroke_of_a_pointer(page):
    page.focus("#canvas")
    pointers(page, "mouse", ("down", 0.2, 0.2, TIP), ("move", 0.4, 0.2, HELD))
    page.keyboard.press("Escape")
    pointers(page, "mouse", ("move", 0.8, 0.2, HELD), ("up", 0.8, 0.2, GONE))
    assert kept(page) == [[[0.2, 0.2], [0.4, 0.2]]]
