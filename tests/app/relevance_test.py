"""Relevance feedback, against a hand-worked case."""

import numpy as np

from dsf_jax.app.relevance import rocchio


def test_rocchio_by_hand():
    q = np.array([3.0, 4.0], np.float32)
    none = np.zeros((0, 2), np.float32)
    np.testing.assert_array_equal(rocchio(q, none, none), q)
    liked, disliked = np.array([[4.0, 0.0], [0.0, 0.0]]), np.array([[0.0, 10.0]])
    # (3, 4) + .75 (2, 0) - .15 (0, 10) = (4.5, 2.5), of length 5.148, brought to 5
    np.testing.assert_allclose(rocchio(q, liked, disliked), [4.3711, 2.4284], rtol=1e-4)
    np.testing.assert_array_equal(rocchio(q * 0, none, none), [0, 0])
