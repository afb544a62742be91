"""Similarities against NumPy, and the maps shown."""

import jax.numpy as jnp
import numpy as np
import pytest

from dsf_jax.insight import similarity
from dsf_jax.insight.similarity import (
    other_class,
    pair_similarities,
    shared_maps,
)
from dsf_jax.models.model import Model, ModelConfig
from tests.insight import networks  # noqa: F401

MODEL = Model(
    {"gain": jnp.ones(1)}, ModelConfig("pooled", ("a", "b", "c"), size=4, fresh_layers=())
)
MEAN_BGR = np.array([104.00699, 116.66877, 122.67891])


def images(count, seed, *, grey):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 4, 4) if grey else (count, 4, 4, 3)).astype(np.uint8)


def pixels(batch):
    """What the layer conv1 of `Pooled` holds, float64."""
    colour = batch if batch.ndim == 4 else np.repeat(batch[..., None], 3, axis=-1)
    return (colour[..., ::-1] - MEAN_BGR).reshape(len(batch), -1)


def cosine(a, b):
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def test_similarities_equal_numpy_whatever_the_batch():
    classes = list("aabbcccd")
    sketches, photos = images(8, 0, grey=True), images(8, 1, grey=False)
    found = [
        pair_similarities(MODEL, sketches, photos, classes, layers=("conv1",), batch_size=n)[
            "conv1"
        ]
        for n in (3, 8)
    ]
    a, b = pixels(sketches), pixels(photos)
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    partners = other_class(classes)
    for pair in found:
        np.testing.assert_allclose(pair.same, cosine(a, b), atol=1e-5)
        np.testing.assert_allclose(pair.different, cosine(a, b[partners]), atol=1e-5)


def test_an_image_is_wholly_similar_to_itself():
    same = np.repeat(images(4, 2, grey=True)[..., None], 3, axis=-1)
    found = pair_similarities(MODEL, same[..., 0], same, range(4), layers=("relu1", "fc8"))
    assert list(found) == ["relu1", "fc8"]
    np.testing.assert_allclose(found["relu1"].same, 1, atol=1e-5)
    assert (found["relu1"].different < 0.95).all()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("classes", ["aabb", "abcd", "aaabbbcd", "abacadae"])
def test_partners_are_of_another_class_and_used_once(classes, seed):
    labels = np.array(list(classes))
    partners = other_class(labels, seed=seed)
    assert sorted(partners) == list(range(len(labels)))
    assert (labels[partners] != labels).all()
    np.testing.assert_array_equal(partners, other_class(labels, seed=seed))


def test_partners_differ_with_the_seed():
    assert len({tuple(other_class(list("abcdefgh"), seed=s)) for s in range(5)}) > 1


def test_pairs_that_cannot_be_compared_are_refused():
    sketches, photos = images(4, 0, grey=True), images(4, 1, grey=False)
    with pytest.raises(ValueError, match="a class holds 3 of 4 pairs, expected at most half"):
        pair_similarities(MODEL, sketches, photos, list("aaab"), layers=("conv1",))
    with pytest.raises(ValueError, match="4 sketches, 3 photos and 4 classes"):
        pair_similarities(MODEL, sketches, photos[:3], list("aabb"), layers=("conv1",))
    with pytest.raises(ValueError, match=r"layer='relu9' is unknown; choose one of conv1, fc8"):
        pair_similarities(MODEL, sketches, photos, list("aabb"), layers=("relu9",))


def test_shared_maps_are_those_that_both_images_drive():
    # BGR channels of relu1; the sketch drives blue and red, the photo green and red.
    sketch, photo = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 3), np.uint8)
    sketch[0, :, 2], sketch[0, 0, 0], sketch[1, 1, 0] = 255, 255, 200
    photo[1, :, 1], photo[2, 3, 0] = 255, 255
    found = shared_maps(MODEL, sketch, photo, layers=("relu1",), count=2)
    assert list(found) == ["relu1"]
    maps = found["relu1"]
    # Channel 3, the negative of blue, is strong in both; red, 2, comes next: the others are one's alone.
    np.testing.assert_array_equal(maps.channels, [3, 2])
    expected = np.zeros((4, 4))
    expected[0, 0], expected[1, 1] = 255, round(255 * (200 - 122.67891) / (255 - 122.67891))
    np.testing.assert_array_equal(maps.sketch[1], expected)
    assert maps.photo.shape == (2, 4, 4)
    assert maps.photo.dtype == np.uint8
    assert maps.photo[1].max() == maps.photo[1][2, 3] == 255
    with pytest.raises(ValueError, match=r"layer='fc8' is \[3\], expected \[h, w, c\]"):
        shared_maps(MODEL, sketch, photo, layers=("fc8",), count=2)
    with pytest.raises(ValueError, match=r"layer='relu1' is \[4, 4, 4\], .*count=16"):
        shared_maps(MODEL, sketch, photo, layers=("relu1",), count=16)


def test_one_compilation_for_all_batches():
    sketches, photos = images(7, 0, grey=True), images(7, 1, grey=False)
    similarity._cosines.clear_cache()  # type: ignore[attr-defined]
    pair_similarities(MODEL, sketches, photos, list("aabbcde"), layers=("conv1",), batch_size=2)
    assert similarity._cosines._cache_size() == 1  # type: ignore[attr-defined]
