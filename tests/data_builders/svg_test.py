"""SVG -> strokes against matrices, circles and another renderer."""

import io
import os
import pathlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import distance_transform_edt

from data_builders import svg
from data_builders.faults import BadFile
from data_builders.svg import strokes_from_svg
from dsf_jax.images.points import CANVAS, points_from_image, points_from_strokes

DATA = pathlib.Path(
    os.environ.get("DSF_JAX_DEV_DATA", pathlib.Path(__file__).parents[3] / "shared")
)
REAL = sorted((DATA / "data" / "tuberlin_svg").glob("*/*.svg"))

DOCTYPE = (
    '<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" '
    '"http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">'
)


def document(body, *, size='viewBox="0 0 800 800"', head=""):
    namespace = 'xmlns="http://www.w3.org/2000/svg"'
    text = f'{head}<svg {namespace} {size}><g fill="none" stroke="black">{body}</g></svg>'
    return text.encode()


def strokes_of(body, **options):
    return strokes_from_svg(document(body, **options), "a.svg")[0]


def canvas(points):
    lattice = np.zeros((CANVAS, CANVAS), bool)
    lattice[points[:, 1], points[:, 0]] = True
    return lattice


def rendered(data, size=1111):
    resvg_py = pytest.importorskip("resvg_py")
    png = resvg_py.svg_to_bytes(
        svg_string=data.decode(), width=size, height=size, background="white"
    )
    return np.asarray(Image.open(io.BytesIO(png)).convert("L"))


def far_from(one, other):
    """Distance of each cell of `one` to the nearest one of `other`."""
    return distance_transform_edt(~canvas(other))[one[:, 1], one[:, 0]]


def test_transforms_of_groups_are_chained():
    body = (
        '<g transform="translate(87.52,135.4065) scale(1.6233) translate(0,-60)">'
        '<g transform="rotate(30)"><path d="M167 268 L10 20 L5 5"/></g></g>'
    )
    turn = np.radians(30)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    vertices = np.array([[167, 268], [10, 20], [5, 5]]) @ rotation.T
    expected = (vertices - [0, 60]) * 1.6233 - [-87.52, -135.4065]
    (stroke,) = strokes_of(body, head=DOCTYPE)
    np.testing.assert_allclose(stroke, expected, atol=1e-4)


COORDINATES = st.lists(st.floats(-50, 850, allow_subnormal=False), min_size=8, max_size=8)


@given(COORDINATES)
@settings(max_examples=50)
def test_samples_of_a_curve_lie_on_it_less_than_a_cell_apart(numbers):
    control = np.round(np.array(numbers), 3).reshape(4, 2)
    path = " ".join(f"{x:.3f} {y:.3f}" for x, y in control)
    start, rest = path.split(" ")[:2], path.split(" ")[2:]
    (stroke,) = strokes_of(f'<path d="M{" ".join(start)} C{" ".join(rest)}"/>')
    assert np.abs(np.diff(stroke, axis=0)).max(initial=0) * CANVAS / 800 < 1
    np.testing.assert_allclose(stroke[[0, -1]], control[[0, 3]], atol=1e-3)
    points, level = control, [0.3, 0.7]  # de Casteljau's construction at t = .7
    while len(points) > 1:
        points = level[0] * points[:-1] + level[1] * points[1:]
    assert np.abs(stroke - points).max(axis=1).min() <= 800 / CANVAS


@pytest.mark.parametrize(
    "shape",
    [
        '<circle cx="400" cy="300" r="200"/>',
        '<ellipse cx="200" cy="150" rx="100" ry="50" transform="scale(2,2) translate(0,75) '
        'scale(1,2) translate(0,-75)  translate(0,-37.5)"/>',
        '<path d="M200 300 A200 200 0 0 1 600 300 a200 200 0 0 1 -400 0 Z"/>',
        '<path d="M400 100 C510.457 100 600 189.543 600 300 S510.457 500 400 500 '
        'S200 410.457 200 300 S289.543 100 400 100"/>',
    ],
)
def test_circles_of_all_kinds_are_rings(shape):
    strokes, box = strokes_from_svg(document(shape), "a.svg")
    points = points_from_strokes(strokes, box)[:, :2] + 0.5
    centre, radius = np.array([400, 300]) * CANVAS / 800, 200 * CANVAS / 800
    assert np.abs(np.hypot(*(points - centre).T) - radius).max() < 0.8
    turns = np.sort(np.arctan2(*(points - centre).T))
    assert np.diff(turns).max() < 3 / radius


TURN = "0.765,0.644,-0.644,0.765,5,-7"


@pytest.mark.parametrize(
    "shape",
    [
        '<circle cx="50" cy="60" r="20"/>',
        '<ellipse cx="50" cy="60" rx="20" ry="20"/>',
        '<path d="M30 60 A20 20 0 0 1 70 60 a20 20 0 0 1 -40 0 Z"/>',
    ],
)
@pytest.mark.parametrize(
    "matrices",
    [
        ("1,0,0.6,1,0,0",),
        ("2,0,0,1,3,4", TURN),
        (TURN, "2,0,0,1,3,4"),
        ("-1,0.2,0,3,200,0", TURN, "1,0,0.6,1,0,0"),
    ],
)
def test_circles_stay_ellipses_under_any_transform(shape, matrices):
    chained = np.eye(3)
    for text in reversed(matrices):
        shape = f'<g transform="matrix({text})">{shape}</g>'
    for a, b, c, d, e, f in (map(float, text.split(",")) for text in matrices):
        chained = chained @ [[a, c, e], [b, d, f], [0, 0, 1]]
    (stroke,) = strokes_of(shape)
    x, y, _ = np.linalg.solve(chained, np.insert(stroke, 2, 1, axis=1).T)
    np.testing.assert_allclose(np.hypot(x - 50, y - 60), 20, rtol=1e-4)
    assert np.ptp(x) == pytest.approx(40, rel=1e-3) and np.ptp(y) == pytest.approx(40, rel=1e-3)


def test_strokes_keep_their_order_and_begin_at_moves():
    body = (
        '<path id="1" d="M10 10 h30 v-5 l1 1 m5 5 H99"/><polyline points="1,2 3,4 5,6"/>'
        '<rect x="1" y="2" width="3" height="4"/><path d="M7 7"/><path d="M7 7 L7 7"/>'
        '<path d="M0 0 L9 0 L9 9 Z L5 5"/>'
    )
    expected = [
        [(10, 10), (40, 10), (40, 5), (41, 6)],
        [(46, 11), (99, 11)],
        [(1, 2), (3, 4), (5, 6)],
        [(1, 2), (4, 2), (4, 6), (1, 6), (1, 2)],
        [(7, 7), (7, 7)],  # a dot; the move alone before it draws nothing
        [(0, 0), (9, 0), (9, 9), (0, 0), (5, 5)],
    ]
    strokes = strokes_of(body)
    assert len(strokes) == len(expected)
    for stroke, vertices in zip(strokes, expected, strict=True):
        np.testing.assert_allclose(stroke, vertices, atol=1e-9)


def test_a_quadratic_curve_is_the_parabola():
    (stroke,) = strokes_of('<path d="M0 0 Q100 200 200 0"/>')
    x, y = stroke.T
    np.testing.assert_allclose(y, 2 * x - x**2 / 100, atol=1e-6)


@pytest.mark.parametrize(
    ("smooth", "plain"),
    [
        ("M0 0Q0 90 90 90S180 0 180 90", "M0 0Q0 90 90 90C90 90 180 0 180 90"),
        ("M0 0C0 50 40 90 90 90T180 60T200 0", "M0 0C0 50 40 90 90 90Q90 90 180 60Q270 30 200 0"),
        ("M0 0q0 90 90 90t90 0t90 0", "M0 0Q0 90 90 90Q180 90 180 90Q180 90 270 90"),
        ("M0 0C0 50 40 90 90 90s50 -90 90 0", "M0 0C0 50 40 90 90 90C140 90 140 0 180 90"),
        ("M0 0A50 50 0 0 1 90 90S180 0 180 90", "M0 0A50 50 0 0 1 90 90C90 90 180 0 180 90"),
        ("M0 0L90 90T180 60", "M0 0L90 90L180 60"),
    ],
)
def test_a_smooth_curve_goes_on_as_one_of_its_own_degree(smooth, plain):
    (drawn,), (expected,) = (strokes_of(f'<path d="{path}"/>') for path in (smooth, plain))
    if len(expected) != len(drawn):  # a straight curve has samples, a line its ends
        drawn = drawn[[0, 1, -1]]
    np.testing.assert_allclose(drawn, expected, atol=1e-9)


@pytest.mark.parametrize(
    ("size", "box", "end"),
    [
        ('viewBox="10 20 100 50"', (0, 0, 100, 50), (20, 10)),
        ('viewBox="10 20 100 50" width="200" height="100"', (0, 0, 200, 100), (40, 20)),
        ('width="60px" height="80"', (0, 0, 60, 80), (30, 30)),
        ('viewBox="10 20 100 50" width="100%" height="100%"', (0, 0, 100, 50), (20, 10)),
        # A side that is not said follows from the other one and the viewBox.
        ('viewBox="10 20 100 50" width="200px"', (0, 0, 200, 100), (40, 20)),
        ('viewBox="10 20 100 50" height="200"', (0, 0, 400, 200), (80, 40)),
        ('viewBox="10 20 100 50" width="100%" height="25"', (0, 0, 50, 25), (10, 5)),
        ('viewBox="10 20 100 50" style="width:1in"', (0, 0, 96, 48), (19.2, 9.6)),
    ],
)
def test_the_box_is_what_a_viewer_shows(size, box, end):
    strokes, found = strokes_from_svg(document('<path d="M0 0L30 30"/>', size=size), "a.svg")
    np.testing.assert_allclose(found, box)
    np.testing.assert_allclose(strokes[0][-1], end)


def test_what_is_not_inked_is_left_out():
    body = (
        '<rect width="800" height="800" fill="white" stroke="none"/><g display="none">'
        '<path d="M1 1L9 9"/></g><path style="stroke:none;fill:#000" d="M1 1L9 9"/>'
        '<defs><path d="M1 1L8 8"/></defs><title>a</title><desc>b</desc>'
        '<metadata><text xmlns="http://other">x</text></metadata><path d="M2 2L3 3"/>'
    )
    (stroke,) = strokes_of(body)
    np.testing.assert_allclose(stroke, [[2, 2], [3, 3]])


@pytest.mark.parametrize(
    "attribute",
    [
        'visibility="hidden"',
        'visibility="collapse"',
        'stroke="transparent"',
        'stroke="rgba(0,0,0,0)"',
        'stroke="rgba(0,0,0,0)" stroke-opacity="0.5"',
        'stroke-opacity="0"',
        'stroke-opacity="0%"',
        'opacity="0"',
        'opacity="0.0"',
        'stroke-width="0"',
        'stroke-width="0px"',
        'style="opacity:0 !important"',
        'style="visibility:hidden"',
    ],
)
def test_what_cannot_be_seen_is_no_ink(attribute):
    seen, hidden = '<path d="M2 2L3 3"/>', '<path d="M1 1L9 9" {}/>'
    for body in (hidden.format(attribute), f"<g {attribute}><g>{hidden.format('')}</g></g>"):
        (stroke,) = strokes_of(body + seen)
        np.testing.assert_allclose(stroke, [[2, 2], [3, 3]])
    with pytest.raises(BadFile, match="nothing drawn"):
        strokes_of(hidden.format(attribute))


def test_what_its_group_hides_may_be_seen_again_or_not():
    path = '<path d="M1 1L9 9" opacity="1" visibility="visible" stroke-opacity="1"/>'
    for seen in (
        'visibility="hidden"',
        'stroke-opacity="0"',
        'opacity="0.01"',
        'stroke-width="inherit"',
        'stroke-width="1px"',
        'stroke="rgb(9,9,9)"',
    ):
        assert len(strokes_of(f"<g {seen}>{path}</g>")) == 1
    with pytest.raises(BadFile, match="nothing drawn"):
        strokes_of(f'<g opacity="0">{path}</g>')
    with pytest.raises(BadFile, match="nothing drawn"):
        strokes_of(path, size='viewBox="0 0 800 800" opacity="0"')


def test_another_renderer_sees_the_same_drawing():
    body = (
        '<g transform="translate(87.5,135) scale(1.6) translate(0,-60)" stroke-width="1.2" '
        'stroke-linecap="round"><path d="M10 100 C10 100 60 300 200 90 C250 10 300 400 390 120"/>'
        '<path d="M100 200 Q 200 400 300 200 T 380 300"/><path d="M20 300 A60 30 20 1 0 120 330"/>'
        '<path d="M50 60 L50 60"/></g>'
    )
    _compare(document(body), limit=2.3)


@pytest.mark.skipif(not REAL, reason="no TU-Berlin SVGs in DSF_JAX_DEV_DATA")
def test_another_renderer_sees_the_same_real_sketches():
    for path in REAL[::4]:
        _compare(path.read_bytes(), limit=2.3, crowded=True)


def _compare(data, *, limit, crowded=False):
    strokes, box = strokes_from_svg(data, "a.svg")
    sampled = points_from_strokes(strokes, box)
    seen = points_from_image(rendered(data))
    assert far_from(seen, sampled).max() <= limit
    # Thinning melts scribbles together: some samples lie inside of what it sees as one line.
    assert np.percentile(far_from(sampled, seen), 98 if crowded else 100) <= limit


LAUGHS = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 10))
LINE = '<path d="M0 0L9 9"/>'
HOSTILE = {
    "empty": (b"", "empty file"),
    "not XML": (b"GIF89a", "not a whole SVG"),
    "cut short": (document(LINE)[:120], "not a whole SVG"),
    "not UTF-8": (document("<title>\xe9</title>").decode().encode("latin-1"), "not a whole SVG"),
    "another root": (b"<html/>", "its root is not an SVG's"),
    "laughs": (document("", head=f'<!DOCTYPE svg [<!ENTITY a0 "x">{LAUGHS}]>'), "declares the ent"),
    "external entity": (
        document("&e;", head='<!DOCTYPE svg [<!ENTITY e SYSTEM "file:///etc/passwd">]>'),
        "declares the entity 'e'",
    ),
    "a reference": (document('<use href="http://host/a.svg#b"/>'), "holds <use>"),
    "a picture": (document('<image href="file:///a.png"/>'), "holds <image>"),
    "a script": (document("<script>1</script>"), "holds <script>"),
    "text": (document("<text>hello</text>"), "holds <text>, which is no pen stroke"),
    "many": (document(LINE * (svg.MAX_ELEMENTS + 1)), "more than 20000 elements"),
    "deep": (document("<g>" * 40 + "</g>" * 40), "more than 32 groups deep"),
    "large": (document(LINE) + b" " * svg.MAX_BYTES, "larger than 8388608 bytes"),
    "long": (document('<path d="M0 0' + "C0 0 9e4 9e4 0 0" * 99 + '"/>'), "more than 1000000 samp"),
    "far": (document('<path d="M0 0L9e30 0"/>'), "far out of the drawing"),
    "infinite": (document('<path d="M0 0L1e999 0"/>'), "far out of the drawing"),
    "damaged path": (document('<path d="M0 0 C 1 1"/>'), "a shape or transform"),
    "no path": (document('<path d="hello"/>'), "a shape or transform"),
    "no move": (document('<path d="L5 5"/>'), "a shape or transform"),
    "no size": (document(LINE, size=""), "has no size; give it a viewBox"),
    "no height": (document(LINE, size='width="60"'), "has no size; give it a viewBox"),
    "no width": (document(LINE, size='height="60"'), "has no size; give it a viewBox"),
    "a share of what": (document(LINE, size='width="60" height="50%"'), "has no size"),
    "flat": (document(LINE, size='viewBox="0 0 0 100"'), "size that is not above 0|nothing drawn"),
    "no ink": (document('<path stroke="none" d="M0 0L1 1"/>'), "nothing drawn"),
    "no shape": (document(""), "nothing drawn"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_bad_file_is_refused_in_one_line(name):
    data, reason = HOSTILE[name]
    with pytest.raises(BadFile, match=reason) as caught:
        strokes_from_svg(data, "zip: svg/bad.svg")
    assert str(caught.value).startswith("zip: svg/bad.svg: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("radii", ["0 0", "0 5", "5 0", "0,0"])
@pytest.mark.parametrize("transform", ["", 'transform="translate(5 7)"'])
def test_an_arc_without_a_radius_is_a_line(radii, transform):
    arc = f'<path d="M10 10A{radii} 30 0 1 50 60" {transform}/>'
    line = f'<path d="M10 10L50 60" {transform}/>'
    (drawn,), (expected,) = strokes_of(arc), strokes_of(line)
    np.testing.assert_allclose(drawn, expected)


@pytest.mark.parametrize(
    ("path", "ends"),
    [
        ("M10 10A0 0 0 0 1 50 50A0 3 0 0 1 80 20L90 20", [[10, 10], [50, 50], [80, 20], [90, 20]]),
        ("m10 10a0 0 0 0 1 40 40l10 0", [[10, 10], [50, 50], [60, 50]]),
        ("M10 10A0 0 0 0 1 50 50Z", [[10, 10], [50, 50], [10, 10]]),
        # Between equal points an arc is omitted, whatever its radius.
        ("M10 10A5 5 0 0 1 10 10L20 20", [[10, 10], [20, 20]]),
        ("M10 10L20 20A0 0 0 0 1 20 20L30 20", [[10, 10], [20, 20], [30, 20]]),
        # Curves whose points all coincide move nothing.
        ("M10 10C10 10 10 10 10 10L20 20", [[10, 10], [10, 10], [20, 20]]),
        ("M10 10h0v0L20 20", [[10, 10], [10, 10], [10, 10], [20, 20]]),
    ],
)
def test_degenerate_segments_are_what_svg_says(path, ends):
    (stroke,) = strokes_of(f'<path d="{path}"/>')
    np.testing.assert_allclose(stroke, ends)
