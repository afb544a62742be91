"""Windows and their padding, against XLA's own."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsf_jax.models.windows import padded, patches, same_padding, same_size, strided


@given(length=st.integers(1, 300), side=st.integers(1, 7), stride=st.integers(1, 4))
def test_padding_is_that_of_xla(length, side, stride):
    (theirs,) = jax.lax.padtype_to_pads((length,), (side,), (stride,), "SAME")
    assert same_padding(length, side, stride) == tuple(theirs)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("height", "width", "side", "stride"),
    [(8, 11, 3, 1), (8, 11, 3, 2), (7, 3, 5, 2), (7, 3, 5, 3)],
)
def test_patches_are_what_each_window_of_the_padded_maps_holds(height, width, side, stride):
    x = np.random.default_rng(0).standard_normal((2, height, width, 4), np.float32)
    margins = [same_padding(n, side, stride) for n in (height, width)]
    framed = np.pad(x, [(0, 0), *margins, (0, 0)])
    np.testing.assert_array_equal(padded(x, side, stride), framed)
    windows = np.lib.stride_tricks.sliding_window_view(framed, (side, side), axis=(1, 2))
    # [b, h', w', c, row, column], of which every stride-th is one of ours.
    expected = windows[:, ::stride, ::stride].transpose(0, 1, 2, 4, 5, 3)
    got = np.asarray(patches(x, side, stride))
    assert got.shape[1:3] == same_size((height, width), stride)
    np.testing.assert_array_equal(got, expected.reshape(got.shape))


def test_cuts_begin_at_their_corner():
    x = np.arange(2 * 6 * 7 * 1, dtype=np.float32).reshape(2, 6, 7, 1)
    np.testing.assert_array_equal(strided(x, (1, 2), (2, 3), 2), x[:, 1:4:2, 2:7:2])
