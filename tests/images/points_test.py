import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageDraw
from scipy.ndimage import distance_transform_edt, label

from dsf_jax.images import points as P

from .drawn import circle_to, gaps, inked, segment_to


def pieces(mask):
    return label(mask, np.ones((3, 3)))[1]


def on_lattice(points):
    lattice = np.zeros((P.CANVAS, P.CANVAS), bool)
    lattice[points[:, 1], points[:, 0]] = True
    return lattice


def blobs(rng, height, width):
    """Random thick strokes, some touching the border."""
    ink = np.zeros((height, width), bool)
    for _ in range(4):
        start, end = rng.uniform(0, [height, width], (2, 2))
        for t in np.linspace(0, 1, 4 * (height + width)):
            y, x = (start + t * (end - start)).astype(int)
            ink[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] = True
    return ink


@pytest.mark.parametrize("thinned", [False, True])
@pytest.mark.parametrize(
    "shape", [(1111, 1111), (150, 150), (681, 681), (300, 200), (97, 800), (1, 1)]
)
def test_pieces_of_a_drawing_stay_whole_and_apart(shape, thinned):
    ink = blobs(np.random.default_rng(1), *shape)
    points = P.points_from_ink(ink, thinned=thinned)
    assert pieces(on_lattice(points)) == pieces(ink)


@pytest.mark.slow
@given(hnp.arrays(bool, st.tuples(st.integers(1, 24), st.integers(1, 24))), st.booleans())
@settings(max_examples=60)
def test_points_are_unique_sorted_and_within_the_canvas(ink, thinned):
    points = P.points_from_ink(ink, thinned=thinned)
    assert points.dtype == np.uint16 and points.shape[1:] == (2,)
    assert points.max(initial=0) < P.CANVAS
    flat = points[:, 1].astype(int) * P.CANVAS + points[:, 0]
    assert np.all(np.diff(flat) > 0)
    assert (len(points) == 0) == (not ink.any())
    # Coarse drawings: connectivity of any pixel pattern survives the lattice.
    if not thinned:
        assert pieces(on_lattice(points)) == pieces(ink)


def test_a_pixel_lands_where_its_centre_is():
    ink = np.zeros((1111, 1111), bool)
    ink[700, 40] = True
    expected = [[int(40.5 / 1111 * P.CANVAS), int(700.5 / 1111 * P.CANVAS)]]
    np.testing.assert_array_equal(P.points_from_ink(ink, thinned=False), expected)
    np.testing.assert_array_equal(P.points_from_ink(ink, thinned=True), expected)


@pytest.mark.parametrize("thinned", [False, True])
def test_a_drawing_that_is_not_square_lies_in_the_middle(thinned):
    ink = np.zeros((100, 300), bool)
    ink[45:55, 10:290] = True
    points = P.points_from_ink(ink, thinned=thinned).astype(float)
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    np.testing.assert_allclose(middle, (P.CANVAS - 1) / 2, atol=3)
    assert points[:, 1].min() > P.CANVAS * 0.45 and points[:, 1].max() < P.CANVAS * 0.55


def test_unthinned_keeps_the_area_and_thinned_one_centre_line():
    ink = np.zeros((227, 227), bool)
    ink[100:110, 20:200] = True
    area = P.points_from_ink(ink, thinned=False)
    assert len(area) == 9 * ink.sum()  # a pixel of 227 is 3 x 3 cells
    line = P.points_from_ink(ink, thinned=True)
    lattice = on_lattice(line)
    assert lattice.sum(axis=0).max() == 1
    assert abs(line[:, 1].mean() - 105 * 3) < 3


def test_points_do_not_depend_on_the_sources_resolution():
    """A circle drawn at four sizes gives lists whose every point lies close to it."""
    for side in (150, 300, 681, 1111):
        y, x = (np.mgrid[:side, :side] + 0.5) / side - 0.5
        ink = np.abs(np.hypot(x, y) - 0.35) < max(0.006, 1.1 / side)
        points = (P.points_from_ink(ink, thinned=True) + 0.5) / P.CANVAS - 0.5
        radius = np.hypot(*points.T)
        assert np.abs(radius - 0.35).max() < 1.3 / min(side, P.CANVAS)
        assert 2 * np.pi * 0.35 * P.CANVAS * 0.85 < len(points) < 2 * np.pi * 0.35 * P.CANVAS * 1.2


def test_polarity_and_threshold():
    image = np.full((50, 50), 255, np.uint8)
    image[10, :] = 200  # darkness .22
    image[20, :] = 100
    assert P.ink_of(image).sum() == 50
    assert P.ink_of(image, threshold=0.2).sum() == 100
    np.testing.assert_array_equal(P.ink_of(255 - image, polarity="white_on_black"), P.ink_of(image))
    colour = np.repeat(image[..., None], 3, axis=2)
    np.testing.assert_array_equal(P.ink_of(colour), P.ink_of(image))


@pytest.mark.parametrize("length", [None, 600])
def test_padding_keeps_every_point(length):
    lists = [np.full((n, 3), n, np.uint16) for n in (0, 3, 513)]
    padded = P.pad_points(lists, length)
    assert padded.shape == (3, length or 1024, 3)
    for row, points in zip(padded, lists, strict=True):
        np.testing.assert_array_equal(row[: len(points)], points)
        assert np.all(row[len(points) :, :2] == P.PADDING)


def test_places_only_are_padded_to_full_darkness():
    (padded,) = P.pad_points([np.full((3, 2), 7, np.uint16)], 5)
    np.testing.assert_array_equal(padded[:3], [[7, 7, P.DARKEST]] * 3)
    assert np.all(padded[3:, :2] == P.PADDING)


@given(st.integers(0, 100_000))
def test_padded_lengths_are_few_and_long_enough(n):
    assert n <= P.padded_length(n) <= max(512, 2 * n)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: P.pad_points([np.zeros((9, 2), np.uint16)], 8),
            "9 points does not fit into length=8",
        ),
        (lambda: P.points_from_ink(np.zeros((4, 4), np.uint8)), "ink must be bool"),
        (
            lambda: P.points_from_strokes([np.array([[1, 1, 0.5], [2, 2, 5.0]])], (0, 0, 9, 9)),
            "point 1 of stroke 0 has the pressure 5.0, expected 0 to 1",
        ),
        (lambda: P.ink_of(np.zeros((4, 4))), r"must be uint8 .* got float64 \[4, 4\]"),
        (lambda: P.ink_of(np.zeros((4, 4), np.uint8), polarity="red"), "polarity='red' is unknown"),
        (lambda: P.ink_of(np.zeros((4, 4), np.uint8), threshold=1.0), "threshold=1.0"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def checked_places(distance, path, side, width):
    """Draws a line, finds its points, and returns how far they are from it, in pixels of 227."""
    points = P.points_from_image(inked(distance, side, width))
    x, y = ((points[:, :2] + 0.5) / P.CANVAS).T
    assert pieces(on_lattice(points)) == 1, "a gap"
    half = width / 2 * 227
    # An end may lose what thinning takes of it, half the line's width.
    assert gaps(points, path).max() * 227 < half + 227 / side + 0.5
    return distance(x, y) * 227


@pytest.mark.slow
@pytest.mark.parametrize("side", [100, 127, 150, 200, 256, 400, 680, 681, 900, 1111, 1500])
def test_points_lie_on_the_line_that_was_drawn(side):
    rng = np.random.default_rng(side)
    for width in {1 / side, 2 / side, max(0.012, 1 / side)}:
        angle = rng.uniform(0, np.pi)
        middle, half = rng.uniform(0.45, 0.55, 2), 0.35 * np.array([np.cos(angle), np.sin(angle)])
        for line in (
            segment_to(middle - half, middle + half),
            circle_to(middle, 0.3),
            circle_to(middle, 0.12, sweep=rng.uniform(2, 5)),
        ):
            distance, path = line
            off = checked_places(distance, path, side, width)
            assert off.mean() < 0.25
            assert off.max() < width / 2 * 227 + 227 / side + 0.5


@pytest.mark.slow
@pytest.mark.parametrize("side", [100, 150, 400, 1111])
@pytest.mark.parametrize("angle", [0, 3, 17, 30, 45, 60, 88, 90, 135, 151])
def test_lines_of_any_angle_are_straight(side, angle):
    turn = np.deg2rad(angle)
    half = 0.35 * np.array([np.cos(turn), np.sin(turn)])
    for width in (1.0 / side, 2.5 / side):
        distance, path = segment_to(0.503 - half, 0.503 + half)
        assert checked_places(distance, path, side, width).mean() < 0.25


def extent(points):
    """Where points begin and end, and where they would if drawn by a pen two pixels wide."""
    return points[:, :2].min(axis=0) - 2.5, points[:, :2].max(axis=0) + 3.5


@pytest.mark.slow
@pytest.mark.parametrize("side", [100, 150, 400, 681, 1111])
@pytest.mark.parametrize("across", [0.04, 0.08, 0.3])
@pytest.mark.parametrize("round", [False, True])
def test_filled_shapes_keep_their_extent(side, across, round):
    def distance(x, y):
        x, y = np.abs(x - 0.45), np.abs(y - 0.55)
        return np.hypot(x, y) if round else np.maximum(x, y)

    image = inked(distance, side, across)
    points = P.points_from_image(image)
    low, high = extent(points)
    wanted = np.array([0.45, 0.55]) * P.CANVAS
    np.testing.assert_allclose(low, wanted - across / 2 * P.CANVAS, atol=P.CANVAS / side + 2.5)
    np.testing.assert_allclose(high, wanted + across / 2 * P.CANVAS, atol=P.CANVAS / side + 2.5)
    assert pieces(on_lattice(points)) == 1
    # Filled: no cell of the shape is further than a pixel and a half of 227 from a point.
    inside = np.argwhere(inked(distance, P.CANVAS, across) < 128)[:, ::-1]
    assert gaps(points, (inside + 0.5) / P.CANVAS).max() * P.CANVAS < 4.5 + P.CANVAS / side


@pytest.mark.parametrize("side", [100, 150, 400, 700, 1111])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_dots_are_kept_where_they_are(side, size):
    image = np.full((side, side), 255, np.uint8)
    places = [(10, 10), (10, 30), (40, 12), (40, 40), (0, 60), (60, side - size), (80, 80)]
    for row, column in places:
        image[row : row + size, column : column + size] = 0
    points = P.points_from_image(image)
    assert pieces(on_lattice(points)) == len(places)
    centres = (np.array(places)[:, ::-1] + size / 2) / side
    assert gaps(points, centres).max() < max(1.5 / side, 1.5 / P.CANVAS)


@pytest.mark.parametrize("side", [100, 150, 400, 700, 1111])
@pytest.mark.parametrize("width", [1, 2, 3])
def test_strokes_at_the_border_keep_their_extent(side, width):
    image = np.full((side, side), 255, np.uint8)
    image[:width], image[-width:], image[:, :width], image[:, -width:] = 0, 0, 0, 0
    points = P.points_from_image(image)
    along = np.linspace(0, 1, 500)
    for fixed in (width / 2 / side, 1 - width / 2 / side):
        for path in (
            np.stack([along, 0 * along + fixed], 1),
            np.stack([0 * along + fixed, along], 1),
        ):
            assert gaps(points, path).max() * side < width + 1
    assert pieces(on_lattice(points)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("side", [60, 150, 340, 500, 680, 700])
@pytest.mark.parametrize("grey", [191, 180, 150, 130, 100])
def test_a_faint_line_through_corners_stays_whole(side, grey):
    """Half way between two pixels half of their strength is left: lines fell apart, or vanished."""
    image = np.full((side, side), 255, np.uint8)
    places = np.arange(side // 5, side - side // 5)
    image[places, places] = grey
    points = P.points_from_image(image)
    assert pieces(on_lattice(points)) == 1
    x, y, darkness = points.astype(int).T
    assert np.abs(x - y).max() <= 0.25 * P.CANVAS / side + 1
    ends = (places[[0, -1]] + 0.5) * P.CANVAS / side
    assert np.abs([x.min(), x.max()] - ends).max() < 2.5 + P.CANVAS / side
    assert darkness.max() <= 255 - grey  # nothing is drawn more firmly than it was


@pytest.mark.slow
@given(st.integers(0, 2**32 - 1), st.integers(20, 200))
@settings(max_examples=40)
def test_a_line_of_any_strengths_is_one_piece(seed, side):
    rng = np.random.default_rng(seed)
    columns = np.arange(side // 5, side - side // 5)
    rows = side // 2 + np.cumsum(rng.integers(-1, 2, len(columns)))
    image = np.full((side, side), 255, np.uint8)
    image[rows % side, columns] = rng.integers(0, 192, len(columns))
    points = P.points_from_image(image)
    assert pieces(on_lattice(points)) == pieces(image < 255)
    path = (np.stack([columns, rows % side], axis=1) + 0.5) / side
    assert gaps(points, path).max() * side < 2.0


@pytest.mark.slow
@pytest.mark.parametrize("side", [100, 150, 400, 681, 700, 1111])
@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("mirrored", [False, True])
def test_slanted_lines_of_few_pixels_keep_their_length(side, width, mirrored):
    """scikit-image, issues 6321, 7704 and 8180: thinning eats those two pixels wide."""
    ink = np.zeros((side, side), bool)
    step = np.arange(side // 8, side - side // 8)
    for right in range(width):
        ink[step, step + right] = True
    points = P.points_from_ink(ink[:, ::-1] if mirrored else ink)
    assert np.ptp(points, axis=0).min() >= (len(step) - width - 1) * P.CANVAS / side
    assert pieces(on_lattice(points)) == 1


def test_a_two_pixel_line_keeps_its_joint_with_a_wide_one():
    ink = np.zeros((700, 700), bool)
    step = np.arange(100, 600)
    ink[step, step] = ink[step, step + 1] = True
    ink[590:606, 400:690] = True
    ink[100:112, 90:112] = True
    for turned in (ink, ink[:, ::-1], ink[::-1], ink.T):
        points = P.points_from_ink(np.ascontiguousarray(turned))
        assert pieces(on_lattice(points)) == 1
        assert np.ptp(points, axis=0).min() > 480 * P.CANVAS / 700


@pytest.mark.parametrize("side", [150, 681, 1111])
def test_points_are_as_dark_as_the_drawing_around_them(side):
    image = np.full((side, side), 255, np.uint8)
    rows = {side // 4: 0, side // 2: 100, 3 * side // 4: 170}
    for row, grey in rows.items():
        image[row - 1 : row + 2, side // 5 : -side // 5] = grey
    points = P.points_from_image(image)
    for row, grey in rows.items():
        near = np.abs(points[:, 1] / P.CANVAS - row / side) < 0.02
        assert near.sum() > 100
        np.testing.assert_allclose(points[near, 2], 255 - grey, atol=12)
    np.testing.assert_array_equal(
        points, P.points_from_image(255 - image, polarity="white_on_black")
    )


def test_pressure_is_darkness():
    stroke = np.array([[0.1, 0.5, 0.2], [0.9, 0.5, 1.0]])
    points = P.points_from_strokes([stroke], UNIT)
    np.testing.assert_allclose(points[:, 2], 255 * (0.1 + points[:, 0] / P.CANVAS), atol=2)
    np.testing.assert_array_equal(
        points[:, :2], P.points_from_strokes([stroke[:, :2]], UNIT)[:, :2]
    )
    # Where strokes cross, the harder one is seen, and what touched the paper at all is a point.
    faint = stroke * (1, 1, 0)
    both = P.points_from_strokes([stroke, faint], UNIT)
    np.testing.assert_array_equal(both, points)
    assert np.all(P.points_from_strokes([faint], UNIT)[:, 2] == 1)
    # A stroke that leaves the box keeps its pressures.
    longer = np.array([[-0.7, 0.5, 0.2], [1.7, 0.5, 1.0]])
    cut = P.points_from_strokes([longer], UNIT)
    assert abs(int(cut[340, 2]) - 153) <= 1


UNIT = (0.0, 0.0, 1.0, 1.0)
STROKES = st.lists(
    hnp.arrays(
        np.float64,
        st.tuples(st.integers(1, 6), st.just(2)),
        elements=st.floats(-0.5, 1.5, allow_subnormal=False),
    ),
    min_size=1,
    max_size=3,
)
INSIDE = STROKES.map(lambda strokes: [(stroke + 0.5) / 2 for stroke in strokes])


def samples(stroke, step=2e-4):
    """Points along a polyline, much closer than cells."""
    if len(stroke) == 1:
        return stroke
    parts = []
    for start, end in itertools.pairwise(stroke):
        n = int(np.hypot(*(end - start)) / step) + 2
        parts.append(start + np.linspace(0, 1, n)[:, None] * (end - start))
    return np.concatenate(parts)


@given(INSIDE)
@settings(max_examples=30)
def test_a_stroke_is_one_chain_of_cells_along_its_line(strokes):
    for stroke in strokes:
        points = P.points_from_strokes([stroke], UNIT)
        assert pieces(on_lattice(points)) == 1
        # Every cell is met by the line, and the line is never further than a touching cell.
        along = samples(stroke) * P.CANVAS
        centres = points[:, :2] + 0.5
        for centre in centres[:: max(1, len(centres) // 50)]:
            assert np.abs(along - centre).max(axis=1).min() < 0.5 + 0.2
        met = np.clip(along, 0, P.CANVAS - 1).astype(int)
        assert distance_transform_edt(~on_lattice(points))[met[:, 1], met[:, 0]].max() <= 1


@given(STROKES)
@settings(max_examples=30)
def test_points_of_strokes_are_unique_sorted_and_the_union_of_each(strokes):
    points = P.points_from_strokes(strokes, UNIT)
    assert points.dtype == np.uint16 and points.shape[1:] == (3,)
    assert points.max(initial=0) < P.CANVAS and np.all(points[:, 2] == P.DARKEST)
    assert np.all(np.diff(points[:, 1].astype(int) * P.CANVAS + points[:, 0]) > 0)
    union = sum(on_lattice(P.points_from_strokes([stroke], UNIT)) for stroke in strokes) > 0
    np.testing.assert_array_equal(on_lattice(points), union)


@pytest.mark.slow
@given(STROKES)
@settings(max_examples=30)
def test_strokes_outside_the_box_are_not_seen_and_leave_no_trace_on_its_border(strokes):
    inner = on_lattice(P.points_from_strokes(strokes, UNIT))
    for stroke in strokes:
        along = samples(stroke)
        seen = along[((along >= 0) & (along <= 1)).all(axis=1)] * P.CANVAS
        cells = np.clip(seen, 0, P.CANVAS - 1).astype(int)
        assert distance_transform_edt(~inner)[cells[:, 1], cells[:, 0]].max(initial=0) <= 1.5
    everything = np.concatenate([samples(stroke) for stroke in strokes]) * P.CANVAS
    for centre in (np.argwhere(inner)[:, ::-1] + 0.5)[::37]:
        assert np.abs(everything - centre).max(axis=1).min() < 0.7


@given(
    INSIDE,
    st.floats(-1e3, 1e3),
    st.floats(-1e3, 1e3),
    st.sampled_from([2.0**e for e in range(-6, 10)]),
)
@settings(max_examples=30)
def test_the_units_of_the_box_do_not_matter(strokes, left, top, scale):
    box = (left, top, scale, scale)
    moved = [stroke * scale + (left, top) for stroke in strokes]
    one = on_lattice(P.points_from_strokes(strokes, UNIT))
    other = on_lattice(P.points_from_strokes(moved, box))
    # Rounding may push a point that lies on a cell's border across it, no further.
    for a, b in ((one, other), (other, one)):
        assert distance_transform_edt(~a)[b].max(initial=0) <= 1.5


def test_a_dot_is_one_cell_and_no_stroke_is_none():
    dot = np.array([[0.25, 0.75]])
    expected = [[int(0.25 * P.CANVAS), int(0.75 * P.CANVAS)]]
    for strokes in ([dot], [np.repeat(dot, 5, axis=0)], [dot, np.zeros((0, 2))]):
        points = P.points_from_strokes(strokes, UNIT)
        np.testing.assert_array_equal(points, [[*expected[0], P.DARKEST]])
    for strokes in ([], [np.zeros((0, 2))], [dot + 2]):
        assert P.points_from_strokes(strokes, UNIT).shape == (0, 3)


def test_edges_of_the_box_belong_to_it():
    corners = np.array([[0, 0], [7, 0], [7, 7], [0, 7], [0, 0]])
    lattice = on_lattice(P.points_from_strokes([corners], (0, 0, 7, 7)))
    expected = np.zeros_like(lattice)
    expected[[0, -1]] = expected[:, [0, -1]] = True
    np.testing.assert_array_equal(lattice, expected)


@pytest.mark.parametrize("box", [(10, -5, 300, 100), (10, -5, 100, 300)])
def test_a_box_that_is_not_square_keeps_its_proportions_in_the_middle(box):
    left, top, width, height = box
    turn = np.linspace(0, 2 * np.pi, 100)[:, None]
    circle = np.hstack([np.cos(turn), np.sin(turn)]) * 50 + (left + width / 2, top + height / 2)
    points = P.points_from_strokes([circle], box)[:, :2] + 0.5 - P.CANVAS / 2
    assert np.abs(np.hypot(*points.T) - 50 / 300 * P.CANVAS).max() < 1
    # What lies beyond the shorter side is as invisible as in a picture of that size.
    across = np.array([[-999, -999], [999, 999]]) + np.array([left + width / 2, top + height / 2])
    extent = np.ptp(P.points_from_strokes([across], box)[:, :2], axis=0)
    np.testing.assert_allclose(extent, P.CANVAS / 3, atol=1)


def test_a_circle_is_a_ring():
    turn = np.linspace(0, 2 * np.pi, 720)[:, None]
    circle = np.hstack([np.cos(turn), np.sin(turn)]) * 0.35 + 0.5
    lattice = on_lattice(P.points_from_strokes([circle], UNIT))
    y, x = np.mgrid[: P.CANVAS, : P.CANVAS] + 0.5 - P.CANVAS / 2
    distance = np.abs(np.hypot(x, y) - 0.35 * P.CANVAS)
    assert distance[lattice].max() < np.sqrt(0.5) + 0.01
    assert pieces(lattice) == 1 and label(~lattice)[1] == 2
    assert 0.88 < lattice.sum() / (2 * np.pi * 0.35 * P.CANVAS) < 1.02


def test_strokes_give_the_points_of_their_thinned_picture():
    """The picture's path and the strokes' path agree to two cells."""
    rng = np.random.default_rng(3)
    t = np.linspace(0, 1, 60)[:, None]
    wave = np.hstack([0.1 + 0.8 * t, 0.3 + 0.15 * np.sin(9 * t)])
    strokes = [wave, np.array([[0.2, 0.6], [0.8, 0.9], [0.3, 0.9]]), rng.uniform(0.1, 0.2, (1, 2))]
    picture = Image.new("L", (1111, 1111), 255)
    for stroke in strokes:
        vertices = [tuple(map(float, vertex)) for vertex in stroke * 1111]
        if len(vertices) == 1:
            ImageDraw.Draw(picture).point(vertices)
        ImageDraw.Draw(picture).line(vertices, fill=0, width=3, joint="curve")
    drawn = on_lattice(P.points_from_image(np.asarray(picture)))
    written = on_lattice(P.points_from_strokes(strokes, UNIT))
    for one, other in ((drawn, written), (written, drawn)):
        assert distance_transform_edt(~other)[one].max() <= 2.9  # two cells, diagonally


@pytest.mark.slow
def test_a_long_scribble_goes_in_blocks():
    scribble = np.random.default_rng(0).uniform(0, 1, (2 * P._SEGMENTS_AT_ONCE, 2))
    whole = on_lattice(P.points_from_strokes([scribble], UNIT))
    halves = (scribble[: P._SEGMENTS_AT_ONCE + 1], scribble[P._SEGMENTS_AT_ONCE :])
    np.testing.assert_array_equal(whole, on_lattice(P.points_from_strokes(halves, UNIT)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e308, -1e7])
def test_a_coordinate_without_a_place_is_named(bad):
    strokes = [np.zeros((1, 2)), np.array([[1.0, 2.0], [3.0, bad]])]
    with pytest.raises(ValueError, match=r"point 1 of stroke 1 is \(3.0, .*repair or leave out"):
        P.points_from_strokes(strokes, (0, 0, 2, 1))


@pytest.mark.parametrize("box", [(0, 0, 0, 1), (0, 0, 1, -1), (0, np.nan, 1, 1), (0, 0, np.inf, 1)])
def test_a_box_without_area_is_an_error(box):
    with pytest.raises(ValueError, match=r"box=.* above 0, all finite"):
        P.points_from_strokes([], box)


@pytest.mark.parametrize(
    ("stroke", "what"),
    [
        (np.zeros((3, 4)), r"float64 \[3, 4\]"),
        (np.zeros(4), r"float64 \[4\]"),
        (np.array([["a", "b"]]), r"<U1 \[1, 2\]"),
    ],
)
def test_what_is_no_stroke_is_named(stroke, what):
    with pytest.raises(
        ValueError, match=rf"stroke 0 must be numbers \[n, 2\] or \[n, 3\], got {what}"
    ):
        P.points_from_strokes([stroke], UNIT)
