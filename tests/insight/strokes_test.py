"""The fraction of a sketch's strokes that a resized one still shows, by hand."""

import numpy as np
import pytest

from dsf_jax.insight.strokes import kept_strokes, resized


@pytest.mark.slow
def test_kept_strokes_by_hand():
    """Two lines, of which the small picture holds one, or a part of one."""
    sketch = np.full((681, 681), 255, np.uint8)
    sketch[100, 50:650] = sketch[500, 50:650] = 0
    small = np.full((227, 227), 255, np.uint8)
    assert kept_strokes(sketch, small) == 0
    small[100 // 3] = 0
    assert kept_strokes(sketch, small) == 0.5
    small[500 // 3, : 350 // 3] = 127  # dark enough
    assert kept_strokes(sketch, small) == pytest.approx(0.75, abs=0.01)
    small[500 // 3, : 350 // 3] = 128
    assert kept_strokes(sketch, small) == 0.5
    made = resized(sketch)
    assert (
        kept_strokes(sketch, made["thinned"]) == kept_strokes(sketch, made["edge-preserving"]) == 1
    )
    assert kept_strokes(sketch, made["cubic > .3"]) < 0.5
