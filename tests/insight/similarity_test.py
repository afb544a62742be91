"""Similarities against NumPy, filters whose colour and orientation are known, and the maps shown."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from dsf_jax.insight import similarity
from dsf_jax.insight.similarity import (
    PairSimilarity,
    bootstrap_interval,
    filter_change,
    filter_images,
    filter_statistics,
    other_class,
    pair_similarities,
    pixel_filters,
    shared_maps,
    similarity_changes,
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


# --- Similarity of pairs ---


@pytest.mark.parametrize("centred", [False, True])
def test_similarities_equal_numpy_whatever_the_batch(centred):
    classes = list("aabbcccd")
    sketches, photos = images(8, 0, grey=True), images(8, 1, grey=False)
    found = [
        pair_similarities(
            MODEL,
            PARAMS,
            sketches,
            photos,
            classes,
            layers=("conv1",),
            centred=centred,
            batch_size=n,
        )["conv1"]
        for n in (3, 8)
    ]
    a, b = pixels(sketches), pixels(photos)
    if centred:
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


def test_changes_are_pair_by_pair():
    rng = np.random.default_rng(0)
    base = rng.random(40)
    before = {"relu1": PairSimilarity(base, base - 0.1)}
    after = {"relu1": PairSimilarity(base + 0.2, base - 0.15)}
    (change,) = similarity_changes(before, after, np.repeat(np.arange(10), 4))
    assert change.layer == "relu1"
    assert change.gap_before == pytest.approx((0.1, 0.1, 0.1))
    # Pair by pair every gap grew by the same .25: the interval has no width, that of `same` has.
    assert change.gap_change == pytest.approx((0.25, 0.25, 0.25))
    assert change.same_after.mean == pytest.approx(base.mean() + 0.2)
    assert change.same_after.high - change.same_after.low > 0.05
    with pytest.raises(ValueError, match="layers relu1 before and relu2 after: expected the same"):
        similarity_changes(before, {"relu2": after["relu1"]}, range(40))


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
        pair_similarities(MODEL, PARAMS, sketches, photos[:3], list("aabb"))
    with pytest.raises(ValueError, match=r"layers \['relu9'\] are unknown; choose of conv1, fc8"):
        pair_similarities(MODEL, PARAMS, sketches, photos, list("aabb"), layers=("relu9",))
    with pytest.raises(ValueError, match=r"values are \[2\] and groups \[3\]"):
        bootstrap_interval(np.zeros(2), [0, 0, 1])


# --- Maps ---


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
        shared_maps(MODEL, PARAMS, sketch, photo, layers=("relu1",))


# --- Filters ---


def gabor(angle, *, wavelength=5.0, colour=(1.0, 1.0, 1.0), size=11, phase=0.0):
    """[size, size, 3] stripes that run at `angle` degrees, counted counterclockwise with up for up."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    turned = np.radians(angle)
    # The distance from the line through the middle at that angle; y counts down.
    across = x * np.sin(turned) + y * np.cos(turned)
    wave = np.cos(2 * np.pi * across / wavelength + phase) * np.exp(-(x**2 + y**2) / 18)
    return wave[..., None] * np.array(colour)


def blob(colour, size=11):
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    return np.exp(-(x**2 + y**2) / 8)[..., None] * np.array(colour)


@pytest.mark.parametrize("angle", [0, 10, 30, 45, 90, 120, 179])
def test_a_grey_gabor_has_its_angle_and_no_colour(angle):
    filters = np.stack([gabor(angle, phase=phase) for phase in (0.0, 1.0, np.pi / 2)])
    found = filter_statistics(filters)
    np.testing.assert_allclose(found.colour, 0, atol=1e-12)
    assert (np.abs((found.angle - angle + 90) % 180 - 90) < 2).all()
    assert (found.orientation > 0.5).all()


def test_a_stripe_at_30_degrees_rises_to_the_right():
    # By hand: the picture's brightest pixels of the middle stripe lie on a rising line.
    picture = gabor(30)[..., 0]
    assert picture[4, 7] > 0.5  # one up, two to the right of the middle
    assert picture[6, 7] < picture[4, 7] / 2


def test_coloured_filters_by_hand():
    filters = np.stack(
        [
            blob((1, 1, 1)),
            blob((1, 0, 0)),  # |grey part|^2 = 1/3
            blob((1, -1, 0)),  # off the grey axis
            blob((1, 1, 0)),  # 2^2 / 3 of 2
            gabor(60, colour=(1, 0, -1)),
        ]
    )
    found = filter_statistics(filters)
    np.testing.assert_allclose(found.colour, [0, 2 / 3, 1, 1 / 3, 1], atol=1e-12)
    np.testing.assert_allclose(found.energy, (filters**2).sum((1, 2, 3)))
    assert found.angle[4] == pytest.approx(60, abs=2)


def test_a_round_filter_has_no_orientation():
    noise = np.random.default_rng(0).standard_normal((200, 11, 11, 3))
    found = filter_statistics(np.concatenate([blob((1, 1, 1))[None], noise]))
    assert found.orientation[0] == pytest.approx(1 / 6, abs=0.03)
    assert 1 / 6 < found.orientation[1:].mean() < 0.3 < gabor_share()


def gabor_share():
    return float(filter_statistics(gabor(75)[None]).orientation[0])


def test_flat_and_empty_filters_have_shares_of_zero():
    found = filter_statistics(np.stack([np.zeros((11, 11, 3)), np.zeros((11, 11, 3)) + 2]))
    np.testing.assert_array_equal(found.colour, 0)
    np.testing.assert_array_equal(found.angle, 0)
    np.testing.assert_allclose(found.orientation, 0)


def test_filters_in_pixel_units():
    kernel = np.random.default_rng(1).standard_normal((3, 3, 3, 2)).astype(np.float32)
    caffe = pixel_filters(kernel, variant="caffe")
    np.testing.assert_array_equal(caffe[1, :, :, 0], kernel[:, :, 2, 1])  # BGR: red is last
    # torchvision's: the answer to pixels p is that of the kernel to p / (255 std).
    torch = pixel_filters(kernel, variant="torchvision")
    picture = np.random.default_rng(2).integers(0, 256, (3, 3, 3)).astype(np.float64)
    normalised = picture / 255 / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(
        (torch[0] * picture).sum(), (kernel[..., 0] * normalised).sum(), rtol=1e-6
    )
    with pytest.raises(ValueError, match=r"kernel is \[3, 3, 2, 2\], expected conv1's"):
        pixel_filters(kernel[:, :, :2], variant="caffe")
    with pytest.raises(ValueError, match="variant='vgg' is unknown"):
        pixel_filters(kernel, variant="vgg")


def test_pictures_of_filters_keep_zero_grey():
    kernel = np.zeros((3, 3, 3, 3), np.float32)
    kernel[0, 0, 0, 0], kernel[1, 1, 2, 0] = 0.5, -0.25  # blue and red in Caffe's order
    kernel[..., 1] = -3.0
    shown = filter_images(kernel, variant="caffe")
    assert shown.shape == (3, 3, 3, 3)
    np.testing.assert_array_equal(shown[0, 0, 0], [128, 128, 255])
    np.testing.assert_array_equal(shown[0, 1, 1], [64, 128, 128])
    assert (shown[1] == 1).all()
    assert (shown[2] == 128).all()


def test_changes_of_filters():
    before = np.stack([gabor(a, colour=(1, 0, 0)) for a in range(0, 180, 9)])
    after = np.repeat(before.mean(axis=-1, keepdims=True), 3, axis=-1)  # the grey part alone
    change = filter_change(before, after)
    assert change.colour_before.mean == pytest.approx(2 / 3)
    assert change.colour_after == pytest.approx((0, 0, 0), abs=1e-12)
    assert change.colour_change == pytest.approx((-2 / 3,) * 3)
    assert change.orientation_change == pytest.approx((0, 0, 0), abs=1e-9)
    assert change.moved == pytest.approx(np.sqrt(2 / 3))  # what is off the grey axis is lost
    with pytest.raises(
        ValueError, match=r"filters are \[20, 11, 11, 3\] before and \[1, 11, 11, 3\]"
    ):
        filter_change(before, after[:1])


def test_one_compilation_for_all_batches():
    sketches, photos = images(7, 0, grey=True), images(7, 1, grey=False)
    similarity._cosines.clear_cache()
    pair_similarities(
        MODEL, PARAMS, sketches, photos, list("aabbcde"), layers=("conv1",), batch_size=2
    )
    assert similarity._cosines._cache_size() == 1
