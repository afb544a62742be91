"""Strokes cut off at a box: what is left lies in it, on the stroke, and is all of it that does."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from dsf_jax.images.clipping import clipped_stroke

LOW, HIGH = np.array([0.0, 10.0]), np.array([100.0, 60.0])
# Edges and corners of the box are met exactly.
NUMBERS = st.one_of(st.sampled_from([0.0, 10.0, 60.0, 100.0]), st.floats(-50, 150, width=32))


def sampled(stroke):
    """Points of a stroke [n, d], a tenth of a unit apart."""
    parts = [stroke[:1]]
    for start, end in itertools.pairwise(stroke):
        along = np.linspace(0, 1, 2 + int(10 * np.hypot(*(end - start)[:2])))[:, None]
        parts.append(start + along * (end - start))
    return np.concatenate(parts)


@pytest.mark.slow
@given(st.lists(st.tuples(NUMBERS, NUMBERS, st.floats(0, 1, width=32)), max_size=6), st.booleans())
@settings(max_examples=60, deadline=None)
def test_the_pieces_are_the_part_inside(rows, pressed):
    stroke = np.array(rows, np.float64).reshape(-1, 3)[:, : 3 if pressed else 2]
    pieces = clipped_stroke(stroke, LOW, HIGH)
    assert all(piece.shape[1] == stroke.shape[1] and len(piece) for piece in pieces)
    assert all((piece[:, :2] >= LOW).all() and (piece[:, :2] <= HIGH).all() for piece in pieces)
    for piece in pieces:  # no pressure beyond the stroke's own either
        assert (piece >= stroke.min(axis=0)).all() and (piece <= stroke.max(axis=0)).all()
    way = sampled(stroke)
    inside = way[((way[:, :2] >= LOW) & (way[:, :2] <= HIGH)).all(axis=1)]
    if not pieces:
        assert not len(inside)
        return
    kept = np.concatenate([sampled(piece) for piece in pieces])
    assert cKDTree(way).query(kept)[0].max() < 0.2 + 0.6 * pressed  # a short line may change much
    assert cKDTree(kept).query(inside)[0].max(initial=0) < 0.2 + 0.6 * pressed


@pytest.mark.parametrize(
    ("stroke", "pieces"),
    [
        ([], []),
        ([[5, 5]], []),
        ([[5, 10]], [[[5, 10]]]),
        ([[5, 20], [6, 30], [7, 20]], [[[5, 20], [6, 30], [7, 20]]]),
        ([[5, 20], [5, 0], [9, 0], [9, 20], [9, 30]], [[[5, 20], [5, 10]], [[9, 10], [9, 20], [9, 30]]]),
        ([[-5, 20], [105, 20]], [[[0, 20], [100, 20]]]),
        ([[-5, 0], [-5, 90], [105, 90]], []),
        ([[5, 0], [5, 10], [5, 0]], [[[5, 10], [5, 10], [5, 10]]]),  # touches the edge
    ],
)  # fmt: skip
def test_a_stroke_is_lifted_where_it_leaves(stroke, pieces):
    found = clipped_stroke(np.array(stroke, np.float64).reshape(-1, 2), LOW, HIGH)
    assert [piece.tolist() for piece in found] == pieces
