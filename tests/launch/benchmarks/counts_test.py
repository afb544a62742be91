"""What rows are counted and limited by, against hand-worked cases."""

import jax
import numpy as np
import pytest

from launch.benchmarks import lite, network, vit
from launch.benchmarks.limits import COPY, MATRIX, Limits

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shapes():
    return jax.eval_shape(network.start_model.__wrapped__)


def test_flops_are_those_counted_by_hand(shapes):
    """Multiplications and additions: output cells, features, kernel, channels of a group."""
    layers = network.forward_flops(shapes, 2)
    assert layers == {
        "conv1": 2 * 2 * 55 * 55 * 96 * 11 * 11 * 3,
        "conv2": 2 * 2 * 27 * 27 * 256 * 5 * 5 * 48,
        "conv3": 2 * 2 * 13 * 13 * 384 * 3 * 3 * 256,
        "conv4": 2 * 2 * 13 * 13 * 384 * 3 * 3 * 192,
        "conv5": 2 * 2 * 13 * 13 * 256 * 3 * 3 * 192,
        "fc6": 2 * 2 * 9216 * 4096,
        "fc7": 2 * 2 * 4096 * 4096,
        "fc8": 2 * 2 * 4096 * 250,
    }
    assert network.step_flops(shapes, layers) == 3 * sum(layers.values()) - layers["conv1"]


def test_flops_of_a_block_are_those_counted_by_hand():
    """Of EfficientNet-Lite0, and its .39 billion products of two numbers in all."""
    layers = lite.lite0_flops(jax.eval_shape(lite.start_model.__wrapped__), 2)
    assert layers["stem"] == 2 * 2 * 112 * 112 * 32 * 3 * 3 * 3
    assert layers["block2_expand"] == 2 * 2 * 112 * 112 * 16 * 96
    assert layers["block2_depthwise"] == 2 * 2 * 56 * 56 * 96 * 3 * 3
    assert layers["block2_project"] == 2 * 2 * 56 * 56 * 96 * 24
    assert layers["classifier"] == 2 * 2 * 1280 * 250
    assert sum(layers.values()) / 4 == pytest.approx(0.39e9, rel=0.03)


def test_flops_of_a_transformer_are_those_counted_by_hand():
    """One block of 24 channels, 196 patches of 16 x 16, a hidden layer of 24, 250 classes."""
    layers = vit.vit_flops(vit.large_network(small=True), 2)
    assert layers["patches"] == 2 * 2 * 196 * 16 * 16 * 3 * 24
    assert layers["block1_query"] == layers["block1_up"] == 2 * 2 * 196 * 24 * 24
    assert layers["block1"] == 2 * (2 * 2 * 196 * 196 * 24)
    assert layers["pool_key"] == 196 * layers["pool_query"] == 2 * 2 * 196 * 24 * 24
    assert layers["pool"] == 2 * (2 * 2 * 196 * 24) and layers["head"] == 2 * 2 * 24 * 250
    blocks = sum(value for name, value in layers.items() if name.startswith("block"))
    assert blocks == 6 * layers["block1_query"] + layers["block1"]


def test_parameters_are_those_counted_by_hand(shapes):
    sizes = (96 * 364, 256 * 1201, 384 * 2305, 384 * 1729, 256 * 1729, 4096 * 9217, 4096 * 4097)
    assert network.parameter_bytes(shapes) == 4 * (sum(sizes) + 250 * 4097)


def test_the_limit_is_the_later_of_products_and_copies():
    """100 operations take 2 s at best, 10 bytes 4 s."""
    best = Limits({}, 100.0, 10.0)
    rounds = {MATRIX: [3.0, 2.0], COPY: [4.0, 5.0]}
    assert best.seconds(1000.0, 1.0, rounds) == 20.0
    assert best.seconds(1000.0, 100.0, rounds) == 40.0


@pytest.mark.parametrize("size", [1, 2])
def test_batch_holds_what_a_step_reads(size):
    batch = network.drawn_and_photographed(size)
    numbers = np.concatenate([one["example"] for _, one in sorted(batch.items())])
    np.testing.assert_array_equal(numbers, np.arange(size))
    images, labels = network.first_inputs(network.start_model(), batch)
    assert images.shape == (size, 227, 227, 3) and labels.shape == (size,)
