"""The beginnings of drawings, by pencil and on prepared strokes."""

import json

import numpy as np
import pytest

from data_builders.prepare import prepare
from data_builders.quickdraw.quickdraw_dataset_builder import Builder, Options
from dsf_jax.data.drawings import FILLED
from dsf_jax.data.mixtures import mix
from dsf_jax.data.partial_drawings import drawn_until, partial_drawings, strokes_of
from dsf_jax.data.records import open_records
from dsf_jax.images.points import CANVAS
from tests.data.zoo import prepare_zoo

# 10 to the right, a dot, 6 down and 4 back.
STROKES = [
    np.array([[0.0, 0], [4, 0], [10, 0]]),
    np.array([[5.0, 5]]),
    np.array([[0.0, 0], [0, 6], [0, 2]]),
]


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0.1, [[[0, 0], [2, 0]]]),
        (0.25, [[[0, 0], [4, 0], [5, 0]]]),
        (0.5, [[[0, 0], [4, 0], [10, 0]], [[5, 5]]]),
        (0.75, [[[0, 0], [4, 0], [10, 0]], [[5, 5]], [[0, 0], [0, 5]]]),
        (0.9, [[[0, 0], [4, 0], [10, 0]], [[5, 5]], [[0, 0], [0, 6], [0, 4]]]),
        (1.0, [x.tolist() for x in STROKES]),
    ],
)
def test_a_share_of_the_length_is_drawn(share, expected):
    assert [stroke.tolist() for stroke in drawn_until(STROKES, share)] == expected


def test_dots_have_no_length_and_are_all_there_from_the_beginning():
    dots = [np.array([[1.0, 2]]), np.array([[3.0, 4]])]
    assert len(drawn_until(dots, 0.25)) == 2
    assert len(drawn_until(dots[:1], 0.25)) == 1


def test_a_table_is_cut_into_strokes():
    table = np.array([[1, 2, 0], [3, 4, 0], [5, 6, 2], [7, 8, 3]], np.int16)
    strokes = [stroke.tolist() for stroke in strokes_of(table)]
    assert strokes == [[[1.5, 2.5], [3.5, 4.5]], [[5.5, 6.5]], [[7.5, 8.5]]]


@pytest.fixture(scope="module")
def drawings(tmp_path_factory):
    """Three drawings: a long line and a short one across."""
    folder = tmp_path_factory.mktemp("quickdraw")
    lines = [
        json.dumps({"key_id": str(i), "word": "cross", "drawing": [[[0, 200 + i], [9, 9]], [[50, 50], [0, 90]]]})
        for i in range(3)
    ]  # fmt: skip
    (folder / "cross.ndjson").write_text("\n".join(lines))
    options = Options(test_share=0.0)
    prepare(Builder(data_dir=folder / "out", source=folder, processes=1, options=options))
    return mix([open_records(folder / "out", "quickdraw/sketch", "train")]).drawings


def extent(points):
    return np.ptp(points[:, :2].astype(int), axis=0) + 1


def test_beginnings_are_framed_as_the_page_frames_them(drawings):
    half, whole = partial_drawings(drawings, (0.5, 1.0))
    assert len(half) == len(whole) == 3 and half.labels.tolist() == [0, 0, 0]
    for part in (half, whole):
        example = part[1]
        assert example["label"] == 0
        assert extent(example["points"])[0] == pytest.approx(FILLED * CANVAS, abs=4)
    assert extent(half[0]["points"])[1] <= 2  # a part of the long line alone
    assert extent(whole[0]["points"])[1] > 200


def test_drawings_without_strokes_are_refused(tmp_path, drawings):
    prepare_zoo(tmp_path)
    zoo = mix([open_records(tmp_path, "zoo/sketch", "train")]).drawings
    with pytest.raises(ValueError, match="no field 'strokes'"):
        partial_drawings(zoo, (0.5,))

    class Pixels:
        def __getitem__(self, index):
            return {"drawing": np.zeros((9, 9), np.uint8)}

    with pytest.raises(ValueError, match="takes interpolated pixels"):
        partial_drawings(Pixels(), (0.5,))

    class Scanned:
        def __getitem__(self, index):
            return drawings[index]

        def values(self, field):
            return [("tu_berlin/sketch", np.zeros((0, 3), np.int16))] * 2

    with pytest.raises(ValueError, match="2 of 2 drawings have no strokes, of tu_berlin/sketch"):
        partial_drawings(Scanned(), (0.5,))
