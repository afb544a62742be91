"""Descriptors of examples, and the linear classifier against scikit-learn's."""

import numpy as np
import pytest
from sklearn.linear_model import RidgeCV

from dsf_jax.evaluation.baselines import (
    STRENGTHS,
    describe_blocks,
    described_size,
    fit_linear,
)
from dsf_jax.images.descriptors import SIDE, SIDE_PEN, describe, grey_picture
from dsf_jax.images.points import CANVAS, pad_points
from dsf_jax.images.resize import edge_preserving_resize


def clouds(n, d, k, seed=0, spread=1.0):
    """Points round k centres, and their labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, k, n)
    centres = np.random.default_rng(99).normal(size=(k, d))
    return (centres[labels] + spread * rng.normal(size=(n, d))).astype(np.float32), labels


@pytest.mark.parametrize(("n", "d"), [(60, 7), (40, 90), (30, 30)])
def test_the_classifier_is_ridge_regression_chosen_by_leave_one_out(n, d):
    features, labels = clouds(n, d, 4)
    ours = fit_linear(features, labels, classes=4)
    theirs = RidgeCV(alphas=STRENGTHS).fit(features.astype(np.float64), np.eye(4)[labels])
    assert ours.strength == theirs.alpha_
    np.testing.assert_allclose(ours.weights, theirs.coef_.T, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(ours.bias, theirs.intercept_, rtol=1e-6, atol=1e-9)


def test_the_penalty_depends_on_the_data():
    chosen = {
        fit_linear(*clouds(50, 20, 3, spread=s), classes=3).strength for s in (0.01, 1.0, 30.0)
    }
    assert len(chosen) > 1


def test_unseen_points_are_classified():
    classifier = fit_linear(*clouds(200, 10, 3, spread=0.5), classes=3)
    features, labels = clouds(100, 10, 3, seed=1, spread=0.5)
    assert (classifier.classes(features) == labels).mean() > 0.95


def test_a_class_without_examples_is_never_chosen():
    features, labels = clouds(80, 5, 2)
    assert set(fit_linear(features, labels, classes=3).classes(features)) == {0, 1}


def test_dimensions_that_say_nothing_do_no_harm():
    features, labels = clouds(40, 6, 3)
    wide = np.concatenate([features, np.zeros((40, 3)), features[:, :1]], axis=1)
    classes = fit_linear(wide, labels, classes=3).classes(wide)
    # A column given twice is penalised half as much: another fit, but a sound one.
    assert np.isfinite(fit_linear(wide, labels, classes=3).weights).all()
    assert (classes == fit_linear(features, labels, classes=3).classes(features)).mean() > 0.9


def test_shapes_that_do_not_fit():
    features, labels = clouds(10, 4, 2)
    with pytest.raises(ValueError, match=r"\(10, 4\) and labels \(9,\).*give each example a label"):
        fit_linear(features, labels[:9], classes=2)


def drawing(seed):
    rng = np.random.default_rng(seed)
    cells = np.unique(rng.integers(0, CANVAS, (300, 2)).astype(np.uint16), axis=0)
    return {"points": cells, "label": 0}


def photo(seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (256, 256, 3)).astype(np.uint8)
    return {"photo": pixels, "label": 0}


def describe_all(examples, descriptor, *, label, numbers=None):
    """All blocks, joined."""
    blocks = describe_blocks(examples, descriptor, label=label, numbers=numbers)
    return np.concatenate([block.outputs[descriptor] for block in blocks])


@pytest.mark.parametrize("count", [1, 3, 66])
def test_examples_are_described_in_order(count):
    got = describe_all([drawing(i) for i in range(count)], "raw pixels", label="sketches")
    assert got.shape == (count, 1024)
    for i in (0, count - 1):
        view = edge_preserving_resize(
            pad_points([drawing(i)["points"]])[0], size=SIDE, pen=SIDE_PEN
        )
        np.testing.assert_array_equal(got[i], describe(np.asarray(view), "raw pixels", drawn=True))


def test_photos_are_described_in_grey():
    got = describe_all([photo(i) for i in range(2)], "HOG", label="photos")
    for i in range(2):
        picture = grey_picture(photo(i)["photo"])
        np.testing.assert_array_equal(got[i], describe(picture, "HOG", drawn=False))


def test_blocks_go_on_where_they_are_asked_to():
    drawings = [drawing(i) for i in range(66)]
    whole = describe_all(drawings, "raw pixels", label="sketches")
    assert whole.shape[1] == described_size("raw pixels")
    rest = describe_all(drawings, "raw pixels", label="sketches", numbers=[1])
    np.testing.assert_array_equal(rest, whole[64:])


def test_nothing_to_describe():
    with pytest.raises(ValueError, match="no examples to describe; choose"):
        describe_all([], "HOG", label="sketches")
    with pytest.raises(ValueError, match="'SURF' is unknown; choose one of HOG"):
        describe_all([photo(0)], "SURF", label="photos")
