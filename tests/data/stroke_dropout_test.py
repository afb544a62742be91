"""Strokes left out at random: as many as asked for, never all, the rest where it was; a function of
(seed, step, number)."""

import numpy as np
import pytest

from dsf_jax.data.mixtures import Examples, Mixture
from dsf_jax.data.stroke_dropout import StrokeDropout, some_strokes
from dsf_jax.data.training_batches import training_batches
from dsf_jax.images.points import CANVAS, points_from_strokes


class Records(list):
    """Records of drawings, with a `strokes` field or without."""

    name, domain = "lines", "sketch"

    def has(self, field):
        return field in self[0]

    def read(self, *fields):
        return self


def lines(counts):
    """Drawings of horizontal strokes, 40 cells apart; a count of 0 has no strokes but points."""
    records = Records()
    for count in counts:
        strokes = [np.array([[100, 40 * i + 40], [500, 40 * i + 40]]) for i in range(count)]
        table = [[*vertex, i] for i, stroke in enumerate(strokes) for vertex in stroke]
        box = (0, 0, CANVAS, CANVAS)
        points = points_from_strokes([s + 0.5 for s in strokes or [np.array([[5, 5]])]], box)
        records.append({"points": points, "strokes": np.int16(table).reshape(-1, 3), "label": 0})
    return records


def examples(*sources):
    rows = [np.arange(len(records)) for records in sources]
    return Examples(sources, rows, [np.zeros(len(r), int) for r in rows])


def rows_of(points):
    return set(np.unique(points[:, 1]).tolist())


def test_what_is_left_lies_where_it_was():
    some = StrokeDropout(examples(lines([6])), share=0.5, seed=0)
    whole = lines([6])[0]["points"]
    seen = set()
    for step in range(20):
        points = some.read(0, step, 3)["points"]
        kept = rows_of(points)
        assert kept and kept <= rows_of(whole)
        np.testing.assert_array_equal(points, whole[np.isin(whole[:, 1], list(kept))])
        np.testing.assert_array_equal(points, some.read(0, step, 3)["points"])
        seen.add(tuple(sorted(kept)))
    assert len(seen) > 10
    other = StrokeDropout(examples(lines([6])), share=0.5, seed=1)
    assert any(
        rows_of(other.read(0, i, 3)["points"]) != rows_of(some.read(0, i, 3)["points"])
        for i in range(9)
    )
    assert any(
        rows_of(some.read(0, i, 4)["points"]) != rows_of(some.read(0, i, 3)["points"])
        for i in range(9)
    )


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_as_many_are_left_out_as_asked_for_and_never_all(share):
    rng = np.random.default_rng(0)
    strokes = [np.array([[i, i]]) for i in range(8)]
    kept = [len(some_strokes(strokes, share, rng)) for _ in range(2000)]
    assert min(kept) >= 1
    never_none = share**8  # a drawing of which nothing would be left keeps one
    assert np.mean(kept) == pytest.approx(8 * (1 - share) + never_none, abs=0.1)


def test_drawings_without_strokes_and_of_one_stay_whole():
    without = lines([2])
    del without[0]["strokes"]
    some = StrokeDropout(examples(lines([3, 1, 0]), without), share=0.9, seed=0)
    assert some.read(0, 0, 0)["points"].shape < lines([3])[0]["points"].shape
    for row, record in ((1, lines([1])[0]), (2, lines([0])[0]), (3, without[0])):
        np.testing.assert_array_equal(some.read(row, 0, 0)["points"], record["points"])


def drawing(*strokes):
    """A drawing of vertices anywhere in their cells, of which the record keeps the cells."""
    records = Records()
    table = [[*np.floor(vertex), i] for i, stroke in enumerate(strokes) for vertex in stroke]
    points = points_from_strokes(strokes, (0, 0, CANVAS, CANVAS))
    records.append({"points": points, "strokes": np.int16(table), "label": 0})
    return records


def test_a_drawing_with_strokes_left_out_has_no_more_points_than_the_whole_one():
    steps = np.random.default_rng(0).normal(0, 40, (9, 30, 2))
    for scribble in np.cumsum(steps, axis=1) % 600 + 20:
        record = drawing(scribble, np.array([[650.5, 650.5]]))
        some = StrokeDropout(examples(record), share=0.5, seed=0)
        lengths = [len(some.read(0, step, 0)["points"]) for step in range(20)]
        assert min(lengths) == 1 and max(lengths) <= len(record[0]["points"])


def test_of_strokes_beyond_the_canvas_alone_nothing_would_be_seen():
    record = drawing(np.array([[5.5, 5.5], [90.5, 90.5]]), np.array([[-9.5, 5.5], [-5.5, 9.5]]))
    some = StrokeDropout(examples(record), share=0.9, seed=0)
    for step in range(20):
        np.testing.assert_array_equal(some.read(0, step, 0)["points"], record[0]["points"])


def test_training_batches_leave_them_out():
    mixture = Mixture(("a",), examples(lines([9, 9])), Examples([], [], []), ())
    whole = training_batches(mixture, batch_size=2, seed=0)
    some = training_batches(mixture, batch_size=2, seed=0, strokes_left_out=0.5)
    assert some[0]["drawings"]["points"].shape == whole[0]["drawings"]["points"].shape
    assert np.any(some[0]["drawings"]["points"] != whole[0]["drawings"]["points"])
    for name in ("points", "label", "example"):
        np.testing.assert_array_equal(some[1]["drawings"][name], some[1]["drawings"][name])


def record_of(*strokes):
    """A drawing in canvas units as builders write it."""
    box = (0, 0, CANVAS, CANVAS)
    points = points_from_strokes(strokes, box)
    table = [[*cell, i] for i, stroke in enumerate(strokes) for cell in np.floor(stroke).tolist()]
    rows = np.int16(table)
    kept = np.concatenate([[True], np.any(np.diff(rows, axis=0) != 0, axis=1)])
    return {"points": points, "strokes": rows[kept], "label": 0}


def test_a_curve_has_the_points_that_it_had_without_another_stroke():
    """Where it fell to the left, the corners of its steps were filled: it was bolder, of more points."""
    turn = np.linspace(0, 2 * np.pi, 3000)
    circle = np.stack([340.3 + 200 * np.cos(turn), 340.7 + 150 * np.sin(turn)], axis=1)
    records = Records([record_of(circle, np.array([[20.5, 20.5]]))])
    some = StrokeDropout(examples(records), share=0.5, seed=0)
    seen = [some.read(0, step, 0)["points"].tolist() for step in range(20)]
    circle, dot = (record_of(one)["points"].tolist() for one in (circle, np.array([[20.5, 20.5]])))
    assert circle in seen and dot in seen


def test_lists_fit_though_strokes_have_more_points_than_the_record():
    drawing = record_of(np.array([[0.5, 9.5], [600.5, 9.5]]), np.array([[20.5, 20.5]]))
    drawing["points"] = drawing["points"][:512]  # as many as a list of this length may have
    mixture = Mixture(("a",), examples(Records([drawing])), Examples([], [], []), ())
    batches = training_batches(mixture, batch_size=1, seed=0, strokes_left_out=0.5)
    assert {batches[step]["drawings"]["points"].shape for step in range(9)} == {(1, 512, 3)}


def test_what_has_no_strokes_is_refused():
    with pytest.raises(
        ValueError, match="needs drawings of several strokes, and none of 2 has any"
    ):
        StrokeDropout(examples(lines([1, 0])), share=0.5, seed=0)
    drawn = examples(lines([3])).resized_by(lambda image: image)
    drawn._records = [[{"image": np.zeros((3, 3, 1), np.uint8), "label": 0}]]
    with pytest.raises(ValueError, match=r"travel as points.*strokes_left_out=0$"):
        StrokeDropout(drawn, share=0.5, seed=0)
