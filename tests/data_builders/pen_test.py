"""Strokes -> the fields of a record."""

import io

import numpy as np
import pytest
from PIL import Image

from data_builders.faults import BadFile
from data_builders.pen import PICTURE_SIZE, no_strokes, picture_of, stroke_record
from dsf_jax.images.points import CANVAS

BOX = (0.0, 0.0, float(CANVAS), float(CANVAS))  # units are cells


def test_the_table_keeps_order_and_drops_what_stays_in_a_cell():
    strokes = [
        np.array([[600.5, 9.9], [600.9, 9.1], [3.0, 4.0], [600.2, 9.0]]),
        np.zeros((0, 2)),
        np.array([[-2.5, 700.0]]),
        np.array([[600.5, 9.9]]),
    ]
    made = stroke_record(strokes, BOX, "a")
    expected = [[600, 9, 0], [3, 4, 0], [600, 9, 0], [-3, 700, 2], [600, 9, 3]]
    np.testing.assert_array_equal(made["strokes"], expected)
    assert made["strokes"].dtype == no_strokes().dtype == np.int16


def test_the_picture_is_the_pen_where_the_points_are():
    corner = np.array([[0, 0], [CANVAS - 1, CANVAS - 1], [301, 302]], np.uint16)
    picture = picture_of(corner)
    assert picture.shape == (PICTURE_SIZE, PICTURE_SIZE)
    # Three cells by three around each point, of which the border cuts some off.
    dark = 1 - picture.astype(float) / 255
    assert dark[0, 0] == pytest.approx(4 / 9, abs=0.01) == dark[-1, -1]
    assert dark.sum() * 9 == pytest.approx(4 + 4 + 9, abs=0.1)
    assert dark[100, 100] > dark[100, 99] == 0  # x 300..302 and y 301..303 lie right and below
    assert dark[101, 100] > 0


def test_the_image_is_that_picture():
    made = stroke_record([np.array([[10.0, 10.0], [400.0, 500.0]])], BOX, "a")
    decoded = np.asarray(Image.open(io.BytesIO(made["image"])))
    np.testing.assert_array_equal(decoded, picture_of(made["points"]))


def test_more_strokes_than_can_be_numbered_are_a_fault():
    strokes = [np.array([[i % 600 + 0.5, i // 600 + 0.5]]) for i in range(32_769)]
    with pytest.raises(BadFile, match=r"a\.svg: more than 32768 strokes; "):
        stroke_record(strokes, BOX, "a.svg")


@pytest.mark.parametrize(
    ("far", "box"), [(1e30, BOX), (np.inf, BOX), (1.0, (0.0, 0.0, np.inf, np.inf))]
)
def test_a_drawing_out_of_all_proportion_is_named(far, box):
    with pytest.raises(BadFile, match=r"^a\.svg: .*; \w+"):
        stroke_record([np.array([[far, 1.0], [2.0, 3.0]])], box, "a.svg")


def test_nothing_in_the_box_is_a_fault():
    with pytest.raises(BadFile, match=r"a\.svg: nothing drawn"):
        stroke_record([np.array([[-9.0, -9.0]])], BOX, "a.svg")
