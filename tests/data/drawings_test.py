"""One drawing on any paper, in any light, with any pen, is read alike; what cannot be read is refused."""

import numpy as np
import pytest
import scipy.spatial
from PIL import Image, ImageDraw

from dsf_jax.data.drawings import FILLED, framed_points, query_from_pixels
from dsf_jax.images.points import CANVAS

SIZE = WIDTH, HEIGHT = 800, 600
BLUE, GREY = (170, 190, 230), (190, 190, 190)


def sheet(
    *, paper=(255,) * 3, ink=(20,) * 3, width=5, rulings=None, step=40, squared=False, tilt=0.0
):
    """A lollipop with a line through it, on plain or ruled paper."""
    image = Image.new("RGB", SIZE, paper)
    pen, slope = ImageDraw.Draw(image), np.tan(np.deg2rad(tilt))
    for at in range(-200, WIDTH + 200, step) if rulings else ():
        pen.line((0, at, WIDTH, at + slope * WIDTH), fill=rulings, width=2)
        if squared:
            pen.line((at, 0, at - slope * HEIGHT, HEIGHT), fill=rulings, width=2)
    pen.ellipse((250, 120, 560, 430), outline=ink, width=width)
    for line in ((200, 470, 620, 470), (300, 250, 520, 330), (400, 430, 400, 520)):
        pen.line(line, fill=ink, width=width)
    return np.asarray(image).astype(np.float32)


def lit(picture, light):
    return picture * np.broadcast_to(light, (HEIGHT, WIDTH))[..., None]


def falling(picture, darkest):
    return lit(picture, np.linspace(1, darkest, WIDTH))


def shaded(picture, *, left=300, right=420, soft=0, light=0.55):
    band = np.where((np.arange(WIDTH) >= left) & (np.arange(WIDTH) < right), light, 1.0)
    if soft:
        band = np.convolve(np.pad(band, soft, "edge"), np.ones(soft) / soft, "same")[soft:-soft]
    return lit(picture, band)


def slanting(picture):
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return lit(picture, np.where(x + y > 700, 0.5, 1.0))


def grainy(picture, deviation=3):
    return picture + np.random.default_rng(0).normal(0, deviation, picture.shape)


def coloured_pens():
    picture = sheet()
    ink = picture[..., 0] < 100
    across = np.arange(WIDTH)[None, :]
    picture[ink & (across < 350)] = (255, 220, 0)
    picture[ink & (across >= 350) & (across < 450)] = (220, 40, 40)
    picture[ink & (across > 500)] = (40, 180, 60)
    return picture


PENCIL = {"paper": (240,) * 3, "ink": (120,) * 3, "width": 3}
PAPERS = {
    "plain": sheet,
    "grey": lambda: sheet(paper=(170,) * 3),
    "dark grey": lambda: sheet(paper=(90,) * 3, ink=(10,) * 3),
    "yellow paper": lambda: sheet(paper=(250, 230, 140)),
    "pencil": lambda: grainy(sheet(**PENCIL)),
    "pencil, falling light": lambda: grainy(falling(sheet(**PENCIL), 0.4)),
    "nearly no light": lambda: falling(sheet(), 0.25),
    "lamp light": lambda: falling(sheet(paper=(250, 220, 170), ink=(60, 50, 40)), 0.5),
    "band of shadow": lambda: grainy(shaded(sheet(**PENCIL))),
    "soft band of shadow": lambda: grainy(shaded(sheet(**PENCIL), soft=60)),
    "narrow band of shadow": lambda: shaded(sheet(), left=390, right=440),
    "half in shadow": lambda: shaded(sheet(), left=400, right=WIDTH, light=0.45),
    "slanting shadow": lambda: grainy(slanting(sheet(**PENCIL))),
    "white on black": lambda: sheet(paper=(0,) * 3, ink=(255,) * 3),
    "grey on black": lambda: sheet(paper=(20,) * 3, ink=(120,) * 3),
    "chalk": lambda: grainy(sheet(paper=(40, 80, 60), ink=(220, 225, 220))),
    "yellow pen": lambda: sheet(ink=(255, 255, 0)),
    "pale yellow pen": lambda: sheet(ink=(255, 240, 120)),
    "cyan pen": lambda: sheet(ink=(0, 255, 255)),
    "pink pen": lambda: sheet(ink=(255, 180, 200)),
    "coloured pens": lambda: coloured_pens(),
    "lined": lambda: sheet(rulings=BLUE),
    "lined, tilted": lambda: sheet(rulings=BLUE, tilt=3),
    "lined, pencil": lambda: grainy(sheet(**PENCIL, rulings=(200, 210, 235))),
    "squared": lambda: sheet(rulings=BLUE, squared=True, step=30),
    "squared, grey": lambda: sheet(rulings=GREY, squared=True, step=20),
    "squared, tilted, falling light": lambda: grainy(
        falling(sheet(rulings=BLUE, squared=True, step=30, tilt=2), 0.6)
    ),
}


def pixels(picture):
    return np.clip(picture, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def plain():
    return query_from_pixels(pixels(PAPERS["plain"]())).points[:, :2].astype(float)


@pytest.mark.slow
@pytest.mark.parametrize("paper", PAPERS)
def test_one_drawing_is_read_alike_on_any_paper(paper, plain):
    query = query_from_pixels(pixels(PAPERS[paper]()))
    assert query.photo is None
    points = query.points[:, :2].astype(float)
    for some, others in ((points, plain), (plain, points)):
        away = scipy.spatial.cKDTree(some).query(others)[0]
        assert np.percentile(away, 99) < 10  # cells, of 681
    assert query.drawing.shape[0] == query.drawing.shape[1]
    ink = query.drawing < 128
    assert 0.002 < ink.mean() < 0.1 and query.drawing.max() == 255


@pytest.mark.slow
@pytest.mark.parametrize("paper", ["lined", "squared"])
def test_how_ruled_paper_was_read_is_said(paper):
    assert query_from_pixels(pixels(PAPERS[paper]())).notes == (
        "ruled paper, whose lines are left out",
    )
    assert query_from_pixels(pixels(PAPERS["plain"]())).notes == ()


@pytest.mark.parametrize("side", [200, 600, 1000])
@pytest.mark.parametrize("turned", [False, True])
def test_a_drawn_ladder_is_no_ruled_paper(side, turned):
    picture = Image.new("RGB", (side, side), "white")
    pen, width, far = ImageDraw.Draw(picture), max(2, side // 150), round(0.9 * side)
    for at in range(side // 10, far + 1, side // 10):
        pen.line((side // 10, at, far, at), fill="black", width=width)
    for at in (side // 10, far):
        pen.line((at, side // 50, at, side - side // 50), fill="black", width=width)
    pixels = np.asarray(picture)
    query = query_from_pixels(pixels.transpose(1, 0, 2) if turned else pixels)
    assert query.points is not None and not query.notes
    dark = np.zeros((CANVAS, CANVAS), bool)
    dark[query.points[:, 1], query.points[:, 0]] = True
    rungs = (dark.T if turned else dark)[:, CANVAS // 2]
    assert np.count_nonzero(np.diff(rungs.astype(int)) > 0) == 9


@pytest.mark.parametrize("squared", [False, True])
def test_rulings_as_dark_as_the_strokes_are_refused(squared):
    picture = sheet(rulings=(30, 30, 40), squared=squared)
    with pytest.raises(ValueError, match=r"the paper is ruled, .*; draw on plain paper"):
        query_from_pixels(pixels(picture), "drawing")


@pytest.mark.parametrize(
    "picture",
    [
        *(sheet(paper=(level,) * 3, ink=(level,) * 3) for level in (0, 128, 255)),
        shaded(sheet(paper=(240,) * 3, ink=(240,) * 3), left=200, right=500),
        grainy(sheet(paper=(240,) * 3, ink=(240,) * 3), 6),
    ],
)
def test_a_sheet_is_never_taken_for_ink(picture):
    with pytest.raises(ValueError, match=r"shows no strokes: .*; use a darker pen"):
        query_from_pixels(pixels(picture), "drawing")


def test_a_photo_is_told_from_a_drawing():
    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize((320, 240))
    query = query_from_pixels(np.asarray(photo))
    assert query.points is None and query.photo.shape == (256, 256, 3)
    assert query.notes == ("taken for a photo: it has areas or colours, not lines",)
    assert query_from_pixels(np.asarray(photo), "photo").notes == ()


def test_where_on_the_paper_it_lies_makes_no_difference(plain):
    picture = pixels(np.roll(PAPERS["plain"](), (-100, 150), axis=(0, 1)))
    assert np.array_equal(query_from_pixels(picture).points[:, :2], plain)


PAGE = (0.0, 0.0, 100.0, 80.0)


@pytest.mark.parametrize(
    ("strokes", "on_page"),
    [
        ([[[50, 50], [150, 50]]], [[[50, 50], [100, 50]]]),
        ([[[20, 40], [20, -40], [60, -40], [60, 40]]], [[[20, 40], [20, 0]], [[60, 0], [60, 40]]]),
        ([[[-900, 10], [900, 70]]], [[[0, 40], [100, 130 / 3]]]),
        ([[[10, 10], [99, 30]], [[102, 10], [104, 70]]], [[[10, 10], [99, 30]]]),
        ([[[50, 40, 1.0], [150, 40, 0.0]]], [[[50, 40, 1.0], [100, 40, 0.5]]]),
    ],
)
def test_only_what_lies_on_the_page_is_drawn(strokes, on_page):
    drawn, expected = (
        framed_points([np.array(stroke, float) for stroke in some], PAGE).astype(int)
        for some in (strokes, on_page)
    )
    away = scipy.spatial.cKDTree(expected).query(drawn)[0]
    back = scipy.spatial.cKDTree(drawn).query(expected)[0]
    assert max(away.max(), back.max()) < 2  # cells, and steps of darkness
    extent = np.ptp(drawn[:, :2], axis=0) + 1
    assert extent.max() == pytest.approx(FILLED * CANVAS, abs=3)
    middle = (drawn[:, :2].max(axis=0) + drawn[:, :2].min(axis=0) + 1) / 2
    np.testing.assert_allclose(middle, CANVAS / 2, atol=2)
