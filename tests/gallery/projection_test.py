"""Principal components against scikit-learn's."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from dsf_jax.gallery.projection import Projection, learn_projection, overlap, recall


def features(n, d, seed=0):
    rng = np.random.default_rng(seed)
    spread = 0.8 ** np.arange(d) * rng.standard_normal((n, d))
    turned, _ = np.linalg.qr(rng.standard_normal((d, d)))
    return (spread @ turned + rng.standard_normal(d)).astype(np.float32)


@pytest.mark.parametrize(("n", "d"), [(40, 12), (12, 40)])
def test_equals_scikit_learn_up_to_signs(n, d):
    x, others = features(n, d), features(7, d, seed=1)
    learned = learn_projection(x, 5)
    wanted = PCA(5, svd_solver="full").fit(x.astype(np.float64)).transform(others)
    found = learned(others)
    signs = np.sign((found * wanted).sum(axis=0))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found * signs, wanted, rtol=2e-3, atol=2e-4)


def test_distances_are_those_within_the_kept_directions():
    x = features(30, 8)
    flat = x.copy()
    flat[:, 5:] = x[0, 5:]  # vary in five directions alone
    y = learn_projection(flat, 5)(flat)
    full = np.linalg.norm(flat[:, None] - flat, axis=-1)
    np.testing.assert_allclose(np.linalg.norm(y[:, None] - y, axis=-1), full, atol=1e-4)


def test_copies_of_two_pictures_span_one_direction_and_stay_finite():
    x = np.repeat(features(2, 9), 10, axis=0)
    learned = learn_projection(x, 4)
    y = learned(x)
    assert np.isfinite(y).all()
    np.testing.assert_allclose(y[:, 1:], 0, atol=1e-4)


@pytest.mark.parametrize(("n", "d", "p"), [(5, 9, 5), (9, 5, 5), (0, 9, 1), (9, 9, 0)])
def test_too_few_to_learn_from(n, d, p):
    with pytest.raises(ValueError, match=rf"dimensions={p} .* {n} pictures of {d} features .*;"):
        learn_projection(np.zeros((n, d), np.float32), p)


def test_it_is_the_same_after_a_file():
    learned = learn_projection(features(20, 6), 3)
    again = Projection.from_bytes(learned.to_bytes())
    x = features(4, 6, seed=2)
    np.testing.assert_array_equal(again(x), learned(x))


def test_recall():
    wanted = np.array([[1, 2, 3, 4], [5, 6, 7, 8]])
    assert overlap(wanted, np.array([[4, 3, 2, 1], [5, 0, 0, 9]])) == 5 / 8
    x, queries = features(50, 6), features(9, 6, seed=3)
    assert recall(queries, x, queries[:, ::-1], x[:, ::-1]) == 1
    assert recall(queries, x, queries, x[::-1]) < 0.6
