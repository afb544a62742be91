"""Filters whose colour and orientation are known, as numbers and as images."""

import numpy as np
import pytest

from dsf_jax.insight.filters import (
    filter_change,
    filter_images,
    filter_statistics,
    first_filters,
    pixel_filters,
)
from dsf_jax.models.alexnet import CAFFE, TORCHVISION
from dsf_jax.models.model import Model, ModelConfig
from tests.insight import networks  # noqa: F401


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
    caffe = pixel_filters(kernel, CAFFE.pixels)
    np.testing.assert_array_equal(caffe[1, :, :, 0], kernel[:, :, 2, 1])  # BGR: red is last
    # torchvision's: the answer to pixels p is that of the kernel to p / (255 std).
    torch = pixel_filters(kernel, TORCHVISION.pixels)
    picture = np.random.default_rng(2).integers(0, 256, (3, 3, 3)).astype(np.float64)
    normalised = picture / 255 / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(
        (torch[0] * picture).sum(), (kernel[..., 0] * normalised).sum(), rtol=1e-6
    )
    with pytest.raises(ValueError, match=r"kernel is \[3, 3, 2, 2\], expected \[h, w, 3, k\]"):
        pixel_filters(kernel[:, :, :2], CAFFE.pixels)


def test_pictures_of_filters_keep_zero_grey():
    kernel = np.zeros((3, 3, 3, 3), np.float32)
    kernel[0, 0, 0, 0], kernel[1, 1, 2, 0] = 0.5, -0.25  # blue and red in Caffe's order
    kernel[..., 1] = -3.0
    shown = filter_images(pixel_filters(kernel, CAFFE.pixels))
    assert shown.shape == (3, 3, 3, 3)
    np.testing.assert_array_equal(shown[0, 0, 0], [128, 128, 255])
    np.testing.assert_array_equal(shown[0, 1, 1], [64, 128, 128])
    assert (shown[1] == 1).all()
    assert (shown[2] == 128).all()


def test_changes_of_filters():
    before = np.stack([gabor(a, colour=(1, 0, 0)) for a in range(0, 180, 9)])
    after = np.repeat(before.mean(axis=-1, keepdims=True), 3, axis=-1)  # the grey part alone
    change = filter_change(before, after)
    assert change.colour_before.value == pytest.approx(2 / 3)
    assert change.colour_after == pytest.approx((0, 0, 0), abs=1e-12)
    assert change.colour_change == pytest.approx((-2 / 3,) * 3)
    assert change.orientation_change == pytest.approx((0, 0, 0), abs=1e-9)
    assert change.moved == pytest.approx(np.sqrt(2 / 3))  # what is off the grey axis is lost
    with pytest.raises(
        ValueError, match=r"filters are \[20, 11, 11, 3\] before and \[1, 11, 11, 3\]"
    ):
        filter_change(before, after[:1])


def test_the_first_layer_is_the_backbones():
    kernel = np.random.default_rng(1).standard_normal((3, 3, 3, 2)).astype(np.float32)
    config = ModelConfig("one layer, torchvision", ("a",), size=12, fresh_layers=())
    model = Model({"conv1": {"kernel": kernel, "bias": np.zeros(2, np.float32)}}, config)
    expected = pixel_filters(kernel, TORCHVISION.pixels)
    np.testing.assert_array_equal(first_filters(model), expected)
