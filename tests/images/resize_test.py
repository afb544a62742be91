import functools

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import label

from dsf_jax.images import points as P
from dsf_jax.images import views
from dsf_jax.images.resize import (
    LARGEST_SIZE,
    POINTS_AT_ONCE,
    SIZE,
    draw_points,
    edge_preserving_resize,
    interpolating_resize,
)

from . import drawn
from .points_test import blobs, pieces

ANGLES = [*views.ANGLES.tolist(), 7.3, 90.0, -123.0]


def ink_at(points, angle=0.0, flip=False, scale=1.0, *, pen=0.0, **options):
    padded = P.pad_points([points])[0]
    return np.asarray(edge_preserving_resize(padded, angle, flip, scale, pen=pen, **options)) == 0


def numpy_resize(points, angle, flip, size):
    """The method's sentence in NumPy, float64: flip, rotate and scale the coordinates, write
    them into a map."""
    x, y = ((points[:, :2].astype(float) + 0.5) / P.CANVAS - 0.5).T
    x = -x if flip else x
    turn = np.exp(-1j * np.deg2rad(angle))  # y points down: counter-clockwise as seen
    z = (x + 1j * y) * turn
    column, row = (
        np.floor((z.real + 0.5) * size).astype(int),
        np.floor((z.imag + 0.5) * size).astype(int),
    )
    keep = (column >= 0) & (column < size) & (row >= 0) & (row < size)
    ink = np.zeros((size, size), bool)
    ink[row[keep], column[keep]] = True
    return ink


def numpy_pen(points, angle, pen, size):
    """What a pen draws: every pixel by its distance to every point, [size, size] darkness."""
    place = points[:, :2].astype(float) + 0.5 - P.CANVAS / 2
    turn = np.deg2rad(angle)
    turned = place @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    x, y = (turned * size / P.CANVAS + size / 2).T[:, :, None, None]
    row, column = np.mgrid[:size, :size] + 0.5
    profile = np.clip(pen / 2 + 0.5 - np.hypot(column - x, row - y), 0, 1)
    return np.max(profile * points[:, 2, None, None].astype(float), axis=0)


def circle(side=1111, radius=0.35):
    y, x = (np.mgrid[:side, :side] + 0.5) / side - 0.5
    return np.abs(np.hypot(x, y) - radius) < 0.003


def some_points(seed=0, n=700):
    return drawn.random_points(np.random.default_rng(seed), n)


@pytest.mark.parametrize("angle", ANGLES)
@pytest.mark.parametrize("flip", [False, True])
def test_equals_the_coordinate_loop(angle, flip):
    points = some_points()
    ours, theirs = ink_at(points, angle, flip), numpy_resize(points, angle, flip, SIZE)
    assert (ours != theirs).sum() <= 4  # points on a pixel's border, float32 against float64
    assert theirs.sum() > 400


@settings(max_examples=15)
@given(
    st.integers(0, 5), st.sampled_from(ANGLES), st.sampled_from([0.3, 1.0, 2.0, 2.5, 3.0, 3.5, 4.0]),
)  # fmt: skip
def test_a_pen_darkens_each_pixel_by_its_distance(seed, angle, pen):
    points, size = some_points(seed, 60), 61
    points = np.concatenate([points[:, :2], points[:, :1] % 255 + 1], axis=1).astype(np.uint16)
    drawn = 255 - np.asarray(edge_preserving_resize(points, angle, size=size, pen=pen)).astype(int)
    # A point on a pixel's border may be beside it in float32, where a pen's profile is steep.
    np.testing.assert_allclose(drawn, numpy_pen(points, angle, pen, size), atol=1.01)


@pytest.mark.parametrize("angle", ANGLES)
@pytest.mark.parametrize("thinned", [False, True])
def test_a_circle_stays_one_closed_ring_at_every_angle(angle, thinned):
    ring = ink_at(P.points_from_ink(circle(), thinned=thinned), angle)
    row, column = np.argwhere(ring).T
    radius = np.hypot(row + 0.5 - SIZE / 2, column + 0.5 - SIZE / 2)
    assert np.all(np.abs(radius - 0.35 * SIZE) < 2.0)
    assert pieces(ring) == 1
    assert label(~ring)[1] == 2  # 4-connected paper: inside and outside do not meet


@pytest.mark.parametrize("angle", [0.0, 11.25, -33.75])
def test_flip_twice_is_the_identity(angle):
    points = some_points()
    once = ink_at(points, 0.0, True)
    np.testing.assert_array_equal(once, ink_at(points)[:, ::-1])
    mirrored = points.copy()
    mirrored[:, 0] = P.CANVAS - 1 - points[:, 0]
    np.testing.assert_array_equal(ink_at(mirrored, angle, True), ink_at(points, angle, False))


def test_quarter_turns_are_exact():
    points = some_points()
    for turns in (1, 2, 3):
        turned = ink_at(points, 90.0 * turns)
        assert (turned != np.rot90(ink_at(points), turns)).sum() <= 2


def test_positive_angles_turn_counter_clockwise_as_seen():
    ink = np.zeros((681, 681), bool)
    ink[340, 400:600] = True  # a ray to the right
    row, column = np.argwhere(ink_at(P.points_from_ink(ink, thinned=False), 45.0)).T
    assert row.max() <= SIZE // 2 and column.min() >= SIZE // 2 - 1  # now up and to the right


@pytest.mark.slow
@pytest.mark.parametrize("side", [1111, 150])
@pytest.mark.parametrize("thinned", [False, True])
def test_no_stroke_is_broken(side, thinned):
    for seed in range(5):
        ink = blobs(np.random.default_rng(seed), side, side)
        if pieces(ink) != 1:
            continue
        points = P.points_from_ink(ink, thinned=thinned)
        for angle in ANGLES:
            # A smaller scale keeps every corner on the map, so that only a tear could make pieces.
            assert pieces(ink_at(points, angle, scale=0.7)) == 1
        assert pieces(ink_at(points)) == 1
        assert pieces(ink_at(points, 30.0, scale=0.7, size=LARGEST_SIZE)) == 1


@pytest.mark.slow
@given(st.floats(-180, 180), st.floats(0.2, 1.0), st.integers(16, LARGEST_SIZE))
@settings(max_examples=25)
def test_a_line_never_tears(angle, scale, size):
    ink = np.zeros((150, 150), bool)
    ink[np.arange(30, 120), np.arange(30, 120)] = True  # joined at corners only, the weakest bond
    assert pieces(ink_at(P.points_from_ink(ink, thinned=True), angle, scale=scale, size=size)) == 1


def test_a_one_pixel_line_survives_shrinking():
    ink = np.zeros((1111, 1111), bool)
    ink[100:1000, 555] = True
    for size in (227, 64, 24):
        assert ink_at(P.points_from_ink(ink, thinned=False), size=size).any(axis=1).sum() >= int(
            0.8 * size
        )


@pytest.mark.slow
@pytest.mark.parametrize("columns", [2, 3])
def test_many_points_are_drawn_as_their_parts_are(columns):
    rng = np.random.default_rng(0)
    points = rng.integers(0, P.CANVAS, (2 * POINTS_AT_ONCE + 5, columns)).astype(np.uint16)
    points[:, 2:] = rng.integers(1, 256, points[:, 2:].shape)
    shift = rng.normal(0, 0.01, (len(points), 2)).astype(np.float32)
    draw = jax.jit(
        functools.partial(draw_points, angle=30, flip=True, pen=2.0, widest=2.0, size=SIZE)
    )
    for moved in (None, shift):
        parts = [
            draw(points[i : i + 5000], shift=None if moved is None else moved[i : i + 5000])
            for i in range(0, len(points), 5000)
        ]
        difference = draw(points, shift=moved).astype(int) - np.min(parts, axis=0).astype(int)
        assert len(np.unique(parts)) > 2
        # Each length is compiled by itself, and may round another way.
        assert np.abs(difference).max() <= 1 and np.mean(difference != 0) < 1e-3


def test_memory_does_not_grow_with_the_points():
    def temporary(length):
        batch = {"points": jax.ShapeDtypeStruct((4, length, 3), np.uint16)}
        return views.plain_view.lower(batch).compile().memory_analysis().temp_size_in_bytes

    assert temporary(16 * POINTS_AT_ONCE) < 4 * temporary(POINTS_AT_ONCE)  # and not 16 times


def test_the_empty_sketch_is_an_empty_map():
    empty = P.points_from_image(np.full((90, 90), 255, np.uint8), thinned=False)
    assert np.all(np.asarray(edge_preserving_resize(P.pad_points([empty])[0], 45.0, True)) == 255)


def test_polarity():
    points = P.pad_points([some_points()])[0]
    np.testing.assert_array_equal(
        edge_preserving_resize(points, polarity="white_on_black"),
        255 - edge_preserving_resize(points),
    )


def test_wrong_input_is_named():
    points = P.pad_points([some_points()])[0]
    with pytest.raises(ValueError, match=f"size=482 must lie between 1 and {LARGEST_SIZE}"):
        edge_preserving_resize(points, size=482)
    with pytest.raises(ValueError, match="polarity='grey' is unknown"):
        edge_preserving_resize(points, polarity="grey")
    with pytest.raises(
        ValueError, match="method='nearest' is unknown; choose one of linear, cubic"
    ):
        interpolating_resize(np.zeros((8, 8), np.uint8), method="nearest")
    with pytest.raises(ValueError, match="the image is 9x8; pad it"):
        interpolating_resize(np.zeros((8, 9), np.uint8))


@pytest.mark.parametrize("method", ["linear", "cubic"])
def test_interpolating_resize_keeps_a_ramp(method):
    ramp = np.tile(np.linspace(0, 255, 400), (400, 1)).astype(np.uint8)
    small = np.asarray(interpolating_resize(ramp, method=method, size=100)).astype(float)
    expected = (np.arange(100) + 0.5) / 100 * 255
    assert np.abs(small[:, 5:-5] - expected[5:-5]).max() < 2


def test_interpolating_resize_turns_like_the_points_do():
    image = np.where(circle(454, 0.2), 0, 255).astype(np.uint8)
    image[200:220, 300:420] = 0
    grey = np.asarray(interpolating_resize(image, 33.75, True, method="linear"))
    ink = ink_at(P.points_from_image(image, thinned=False), 33.75, True)
    assert (ink & (grey < 200)).sum() > 0.95 * ink.sum()


def test_binarising_leaves_two_values_and_grows_with_the_level():
    image = np.where(circle(454, 0.2), 0, 255).astype(np.uint8)
    ink = [
        (np.asarray(interpolating_resize(image, binarise_at=level)) == 0).sum()
        for level in (0.3, 0.5, 0.99)
    ]
    assert ink[0] < ink[1] < ink[2]
    assert set(np.unique(interpolating_resize(image, binarise_at=0.5))) == {0, 255}
