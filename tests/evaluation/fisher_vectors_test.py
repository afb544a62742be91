"""Fisher vectors against their formula, and what a vocabulary is fitted to."""

import sys

import numpy as np
import pytest

from dsf_jax.evaluation import fisher_vectors
from dsf_jax.evaluation.extractors import FisherSift
from dsf_jax.evaluation.fisher_vectors import (
    COMPONENTS,
    DIMENSIONS,
    FISHER,
    LENGTH,
    fisher_blocks,
    fisher_vector_of,
    fit_vocabulary,
)
from dsf_jax.images.descriptors import SIDE, dense_sift, grey_picture


def photos(count, first=0):
    return [
        {"photo": np.random.default_rng(first + i).integers(0, 256, (256, 256, 3), np.uint8), "label": 0}
        for i in range(count)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def vocabulary():
    return fit_vocabulary([photos(4), []])


def by_formula(patches, vocabulary):
    """Sanchez et al. 2013, equations 16 to 18 and section 2.3, patch by patch."""
    x = np.concatenate(
        [(patches[:, :128] - vocabulary.mean) @ vocabulary.axes, 0.5 * patches[:, 128:]], axis=1
    )
    w, mu, var = (
        getattr(vocabulary.mixture, name) for name in ("weights_", "means_", "covariances_")
    )
    density = -0.5 * (((x[:, None] - mu) ** 2 / var) + np.log(2 * np.pi * var)).sum(
        axis=2
    ) + np.log(w)
    share = np.exp(density - density.max(axis=1, keepdims=True))
    share /= share.sum(axis=1, keepdims=True)
    scaled = (x[:, None] - mu) / np.sqrt(var)
    weight = (share - w).mean(axis=0) / np.sqrt(w)
    mean = (share[..., None] * scaled).mean(axis=0) / np.sqrt(w)[:, None]
    deviation = (share[..., None] * (scaled**2 - 1)).mean(axis=0) / np.sqrt(2 * w)[:, None]
    # The last part's sign does not matter as long as all vectors have the same.
    vector = np.concatenate([weight, mean.ravel(), -deviation.ravel()])
    vector = np.sign(vector) * np.sqrt(np.abs(vector))
    return vector / np.linalg.norm(vector)


def test_it_equals_the_formula(vocabulary):
    picture = grey_picture(photos(1, first=9)[0]["photo"])
    got = fisher_vector_of(picture, vocabulary)
    assert (
        got.shape == (LENGTH,) == (COMPONENTS * (2 * DIMENSIONS + 5),) and got.dtype == np.float32
    )
    np.testing.assert_allclose(got, by_formula(dense_sift(picture), vocabulary), atol=1e-5)


def test_white_paper_has_no_direction(vocabulary):
    assert not fisher_vector_of(np.full((SIDE, SIDE), 255, np.uint8), vocabulary).any()


def test_the_same_pictures_give_the_same_vocabulary(vocabulary):
    again = fit_vocabulary([photos(4), []])
    np.testing.assert_array_equal(again.axes, vocabulary.axes)
    np.testing.assert_array_equal(again.mixture.means_, vocabulary.mixture.means_)
    other = fit_vocabulary([photos(4, first=5), []])
    assert np.abs(other.mean - vocabulary.mean).max() > 0


def test_examples_are_described_in_order(vocabulary):
    examples = photos(3, first=20)
    (block,) = fisher_blocks(examples, vocabulary, label="photos")
    expected = [fisher_vector_of(grey_picture(one["photo"]), vocabulary) for one in examples]
    np.testing.assert_array_equal(block.outputs[FISHER], expected)


def test_what_it_needs_is_said(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match=r"the pictures show 30 patches, SIFT . Fisher needs 64"):
        fit_vocabulary([photos(1), []])
    with pytest.raises(ValueError, match="has no vocabulary; call fitted_to first"):
        FisherSift().features(photos(1), ("",), "photos", tmp_path)
    monkeypatch.setitem(sys.modules, "sklearn.mixture", None)
    with pytest.raises(ImportError, match="run `pip install scikit-learn`"):
        fisher_vectors.check_installed()
