"""What is sent, as the network sees it: strokes anywhere on the surface, scans in bad light, photos."""

import io

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies
from PIL import Image

from dsf_jax.app import query
from dsf_jax.app.query import query_from_picture, query_from_strokes
from dsf_jax.images.points import CANVAS, points_from_strokes
from tests.app.made import BARS, BOX, SQUARE, drawn, jpeg, png, sheet

FILLED = 0.78


def extent(points):
    return points.max(axis=0).astype(int) - points.min(axis=0) + 1


def moved(strokes, scale, x, y):
    return [[[scale * a + x, scale * b + y] for a, b in stroke] for stroke in strokes]


@pytest.mark.parametrize("place", [(1, 0, 0), (0.5, 0, 0), (0.5, 45, 40), (0.45, 60, 5)])
def test_a_drawing_fills_the_canvas_wherever_it_was_drawn(place):
    points = query_from_strokes(moved(SQUARE, *place), BOX).points[:, :2]
    assert np.abs(extent(points) - FILLED * CANVAS).max() <= 4
    middle = (points.max(axis=0).astype(int) + points.min(axis=0)) / 2
    assert np.abs(middle - CANVAS / 2).max() <= 2


def test_a_dot_stays_small_and_lies_in_the_middle():
    points = query_from_strokes([[[90, 10]]], BOX).points[:, :2]
    assert len(points) == 1 and np.abs(points[0] - CANVAS / 2).max() <= 2
    short = query_from_strokes([[[90, 10], [95, 10]]], BOX).points[:, :2]  # a fifth of the smallest
    assert extent(short)[0] == pytest.approx(FILLED * CANVAS / 5, abs=3)


def test_what_lies_outside_of_the_surface_does_not_count():
    beyond = [*SQUARE, [[500, 500], [900, 500]]]
    assert np.array_equal(
        query_from_strokes(beyond, BOX).points, query_from_strokes(SQUARE, BOX).points
    )
    with pytest.raises(ValueError, match="nothing is drawn inside of the box; draw"):
        query_from_strokes([[[500, 500], [900, 500]]], BOX)
    with pytest.raises(ValueError, match="nothing is drawn inside of the box; draw"):
        query_from_strokes([[]], BOX)


def test_limits_name_both_numbers(monkeypatch):
    monkeypatch.setattr(query, "MAX_POINTS", 7)
    with pytest.raises(ValueError, match="has 8 points, at most 7 are taken; "):
        query_from_strokes(BARS, BOX)
    monkeypatch.setattr(query, "MAX_STROKES", 3)
    with pytest.raises(ValueError, match="has 4 strokes, at most 3 are taken; "):
        query_from_strokes(BARS, BOX)


numbers = strategies.one_of(
    strategies.floats(0, 100), strategies.floats(width=64), strategies.integers(-(10**30), 10**30)
)


@hypothesis.settings(max_examples=80)
@hypothesis.given(
    strategies.lists(strategies.lists(strategies.tuples(numbers, numbers), max_size=5), max_size=4),
    strategies.one_of(strategies.just(BOX), strategies.tuples(*[numbers] * 4)),
)
@hypothesis.example(strokes=[[(0.0, 0.0), (0.0, 2.225073858507203e-309)]], box=[0, 0, 100, 100])
def test_any_strokes_are_points_on_the_canvas_or_a_value_error(strokes, box):
    try:
        points = query_from_strokes(strokes, box).points
    except ValueError as error:
        assert "; " in str(error) and "\n" not in str(error)
    else:
        assert len(points) and points.max() < CANVAS


def test_the_hardest_stroke_is_the_darkest_and_a_light_one_is_seen():
    light, hard = [(10, 20, 0.05), (90, 20, 0.05)], [(10, 80, 0.5), (90, 80, 0.5)]
    places, dark = np.split(query_from_strokes([light, hard], BOX).points, [2], axis=1)
    upper = places[:, 1] < CANVAS // 2
    assert (dark[~upper] == 255).all() and (dark[upper] > 100).all() and (dark[upper] < 130).all()
    alone = query_from_strokes([light], BOX).points
    assert (alone[:, 2] == 255).all()  # a hand that presses lightly throughout
    plain = query_from_strokes([[(10, 20), (90, 20)]], BOX).points
    np.testing.assert_array_equal(alone, plain)
    unfelt = query_from_strokes([[(10, 20, 0), (90, 20, 0)]], BOX).points
    np.testing.assert_array_equal(unfelt, plain)


@pytest.mark.parametrize("pressure", [-0.1, 1.5, float("nan")])
def test_a_pressure_that_is_none(pressure):
    with pytest.raises(ValueError, match=r"point 1 of stroke 0 has the pressure .*expected 0 to 1"):
        query_from_strokes([[(10, 20, 0.5), (90, 20, pressure)]], BOX)


@pytest.mark.slow
def test_a_scan_and_strokes_of_one_drawing_are_alike():
    picture, _ = sheet(light=0.4, noise=2)
    shown, kind = query_from_picture(jpeg(picture))
    house = [[[200, 380], [200, 220], [320, 110], [440, 220], [440, 380], [200, 380]]]
    side = 270 / FILLED
    wanted = points_from_strokes(
        [np.array(house[0], float)], (320 - side / 2, 245 - side / 2, side, side)
    )
    assert kind == "drawing"
    away = np.abs(shown.points[:, None, :2].astype(int) - wanted[None, :, :2]).max(axis=-1)
    assert np.percentile(away.min(axis=1), 99) < 10  # cells, of 681
    assert np.percentile(away.min(axis=0), 99) < 10


def test_a_person_may_say_what_it_is():
    picture = sheet()[0]
    shown, kind = query_from_picture(png(picture), "photo")
    assert kind == "photo" and shown.points is None and shown.photo.shape == (256, 256, 3)
    shown, kind = query_from_picture(png(drawn("hollow ring", 1)), "drawing")
    assert kind == "drawing" and shown.photo is None and len(shown.points) > 100


def bomb():
    buffer = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "the file is not a picture; "),
        (b"<html onload='alert(1)'></html>", "the file is not a picture; "),
        (b"<svg onload='alert(1)'/>", "shows no strokes|pip install"),  # nothing of it is run
        (png(drawn("bars", 0))[:300], "the file cannot be read"),
        (bomb(), "more than 100000000 pixels; "),
    ],
)
def test_what_is_no_picture_is_refused(data, words):
    with pytest.raises(ValueError, match=words):
        query_from_picture(data)
