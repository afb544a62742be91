"""Middles of ink, against their definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsf_jax.images.thinning import recentred


def middle(strength, row, column, reach):
    """The centre of gravity of what lies within reach of a cell."""
    near = np.zeros_like(strength)
    window = tuple(slice(max(at - reach, 0), at + reach + 1) for at in (row, column))
    near[window] = strength[window]
    return [float((axis * near).sum() / near.sum()) for axis in np.indices(strength.shape)]


@pytest.mark.parametrize("shape", [(9, 14), (14, 9)])
@given(seed=st.integers(0, 1000), reach=st.integers(1, 20))
def test_a_cell_of_a_line_moves_to_the_middle_of_the_ink_around_it(shape, seed, reach):
    rng = np.random.default_rng(seed)
    strength = rng.integers(1, 256, shape).astype(np.uint8)
    row, first = int(rng.integers(shape[0])), int(rng.integers(shape[1] - 2))
    line = np.zeros(shape, bool)
    line[row, first : first + 3] = True  # its ends stay
    at = (row, first + 1)
    moved = np.array(middle(strength, *at, reach))
    place = moved if np.abs(moved - at).max() <= 2 else np.array(at)
    ends = [np.array([row, column]) for column in (first, first + 2)]
    cells = {
        tuple(np.round(place + (end - place) * (i / 5)).astype(int))
        for end in ends
        for i in range(5)
    }
    cells |= {tuple(end) for end in ends}
    assert set(zip(*np.nonzero(recentred(line, strength, reach)), strict=True)) == cells


def test_a_line_beside_the_middle_of_a_stroke_is_put_there():
    strength = np.zeros((20, 30), np.uint8)
    strength[8:13, 2:28] = 200
    line = np.zeros(strength.shape, bool)
    line[9, 2:28] = True
    rows, columns = np.nonzero(recentred(line, strength, 4)[:, 5:-5])
    assert set(rows) == {10} and set(columns) == set(range(20))
