"""Similarities against NumPy, and the maps shown."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from dsf_jax.insight import similarity
from dsf_jax.insight.similarity import (
    bootstrap_interval,
    other_class,
    pair_similarities,
    shared_maps,
)


class Pooled(nn.Module):
    """Activations that NumPy can follow: the pixels themselves, and two maps of them."""

    variant: str = "caffe"

    @nn.compact
    def __call__(self, inputs):
        gain = self.param("gain", nn.initializers.ones, (1,))
        pixels = inputs * gain.reshape(1, 1, 1, 1)
        maps = jnp.concatenate([nn.relu(pixels), 100 * nn.relu(-pixels[..., :1])], axis=-1)
        flat = pixels.mean((1, 2))
        return flat, {"conv1": pixels, "relu1": maps, "fc8": flat}


MODEL = Pooled()
PARAMS = {"gain": jnp.ones(1)}
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
        pair_similarities(
            MODEL, PARAMS, sketches, photos, classes, layers=("conv1",), batch_size=n
        )["conv1"]
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
    found = pair_similarities(MODEL, PARAMS, same[..., 0], same, range(4), layers=("relu1", "fc8"))
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


def test_the_interval_has_the_width_theory_gives():
    values = np.random.default_rng(3).standard_normal(400) + 5
    interval = bootstrap_interval(values)
    error = values.std() / 20
    assert interval.mean == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert interval.high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)
    wide = bootstrap_interval(values, confidence=0.99)
    assert wide.low < interval.low < interval.high < wide.high


def test_groups_are_drawn_whole():
    # Ten groups of 40 equal values hold no more than ten values do.
    values = np.random.default_rng(4).standard_normal(10)
    repeated = bootstrap_interval(np.repeat(values, 40), np.repeat(np.arange(10), 40))
    assert repeated == pytest.approx(bootstrap_interval(values))
    assert repeated.low < bootstrap_interval(np.repeat(values, 40)).low - 0.1


def test_groups_of_any_size_leave_a_constant_alone():
    interval = bootstrap_interval(np.full(12, 3.0), list("aaaaaaabbccd"))
    assert interval == pytest.approx((3.0, 3.0, 3.0))


def test_pairs_that_cannot_be_compared_are_refused():
    sketches, photos = images(4, 0, grey=True), images(4, 1, grey=False)
    with pytest.raises(ValueError, match="a class holds 3 of 4 pairs, expected at most half"):
        pair_similarities(MODEL, PARAMS, sketches, photos, list("aaab"), layers=("conv1",))
    with pytest.raises(ValueError, match="4 sketches, 3 photos and 4 classes"):
        pair_similarities(MODEL, PARAMS, sketches, photos[:3], list("aabb"), layers=("conv1",))
    with pytest.raises(ValueError, match=r"layers \['relu9'\] are unknown; choose of conv1, fc8"):
        pair_similarities(MODEL, PARAMS, sketches, photos, list("aabb"), layers=("relu9",))
    with pytest.raises(ValueError, match=r"values are \[2\] and groups \[3\]"):
        bootstrap_interval(np.zeros(2), [0, 0, 1])


def test_shared_maps_are_those_that_both_images_drive():
    # BGR channels of relu1; the sketch drives blue and red, the photo green and red.
    sketch, photo = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 3), np.uint8)
    sketch[0, :, 2], sketch[0, 0, 0], sketch[1, 1, 0] = 255, 255, 200
    photo[1, :, 1], photo[2, 3, 0] = 255, 255
    found = shared_maps(MODEL, PARAMS, sketch, photo, layers=("relu1",), count=2)
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
        shared_maps(MODEL, PARAMS, sketch, photo, layers=("fc8",), count=2)
    with pytest.raises(ValueError, match=r"layer='relu1' is \[4, 4, 4\], .*count=16"):
        shared_maps(MODEL, PARAMS, sketch, photo, layers=("relu1",), count=16)


def test_one_compilation_for_all_batches():
    sketches, photos = images(7, 0, grey=True), images(7, 1, grey=False)
    similarity._cosines.clear_cache()
    pair_similarities(
        MODEL, PARAMS, sketches, photos, list("aabbcde"), layers=("conv1",), batch_size=2
    )
    assert similarity._cosines._cache_size() == 1
