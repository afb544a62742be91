import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import label

from dsf_jax.images import points as P


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


@given(hnp.arrays(bool, st.tuples(st.integers(1, 24), st.integers(1, 24))), st.booleans())
@settings(max_examples=60, deadline=None)
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
    lists = [np.full((n, 2), n, np.uint16) for n in (0, 3, 513)]
    padded = P.pad_points(lists, length)
    assert padded.shape == (3, length or 1024, 2)
    for row, points in zip(padded, lists, strict=True):
        np.testing.assert_array_equal(row[: len(points)], points)
        assert np.all(row[len(points) :] == P.PADDING)


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
        (lambda: P.ink_of(np.zeros((4, 4))), r"must be uint8 .* got float64 \[4, 4\]"),
        (lambda: P.ink_of(np.zeros((4, 4), np.uint8), polarity="red"), "polarity='red' is unknown"),
        (lambda: P.ink_of(np.zeros((4, 4), np.uint8), threshold=1.0), "threshold=1.0"),
        (lambda: P.points_from_ink(np.zeros((4, 4), np.uint8)), "ink must be bool"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
