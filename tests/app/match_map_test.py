"""Where two pictures agree, against a hand-worked case."""

import numpy as np

from dsf_jax.app.match_map import match_strengths


def test_agreement_by_hand():
    first, second, paper = (np.zeros((1, 3, 3), np.float32) for _ in range(3))
    first[0, 0], first[0, 1] = (2, 0, 0), (0, 3, 1)  # the last place answers nothing
    second[0, 0], second[0, 2] = (5, 0, 0), (0, 0, 4)
    # Inner products: 10 of the first places, 4 of the second's last and the first's middle, 0 else.
    strengths = match_strengths(first, second, paper)
    np.testing.assert_allclose(strengths[0], [[1, 0.4, 0]])
    np.testing.assert_allclose(strengths[1], [[1, 0, 0.4]])
    paper[0, 0] = (9, 0, 0)  # what paper answers there says nothing
    np.testing.assert_allclose(match_strengths(first, second, paper), [[[0, 1, 0]], [[0, 0, 1]]])
    assert not np.any(match_strengths(paper, second, paper))
