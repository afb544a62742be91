"""Of grey pictures the network sees one channel, and gives what it gives for three that say the same."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsf_jax.models.alexnet import CAFFE
from dsf_jax.models.backbones import BACKBONES
from dsf_jax.models.embedding import embedded
from dsf_jax.models.model import Model, ModelConfig, init_model
from tests.models import numpy_alexnet as original

CLASSES = 3
LAYER = "conv1"


@pytest.fixture(scope="module")
def first_layer():
    """Start values of conv1, with a bias that is not 0."""
    rng = np.random.default_rng(0)
    kernel = rng.normal(0.0, 0.01, (11, 11, 3, 96)).astype(np.float32)
    return {LAYER: {"kernel": kernel, "bias": rng.normal(size=96).astype(np.float32)}}


@pytest.fixture(scope="module")
def sketches():
    """Grey pictures that are paper for the most part."""
    grey = np.random.default_rng(1).integers(0, 256, (2, 47, 59), np.uint8)
    grey[:, ::2] = 255
    return grey


def conv1(params, inputs):
    """What the network's first convolution gives."""
    network = CAFFE.build(CLASSES, dropout_rate=0.0)
    zeros = {
        name: {key: jnp.zeros(one.shape, one.dtype) for key, one in layer.items()}
        for name, layer in jax.eval_shape(network.init, jax.random.key(0), inputs)["params"].items()
    }
    return network.apply({"params": zeros | params}, inputs)[1][LAYER]


def both(backbone, params, images):
    """conv1 of grey pictures by one channel and by three."""
    grey = conv1(backbone.seeing_grey(params), backbone.inputs([images]))
    return np.asarray(grey), np.asarray(conv1(params, backbone.preprocess(images)))


def error(ours, right):
    return np.abs(np.float64(ours) - right).max() / np.abs(right).max()


def exact(params, images):
    """The same in float64, of all three channels."""
    inputs = original.preprocess(images, variant="caffe")
    spec = original.CONVOLUTIONS["caffe"][LAYER]
    return original.convolve(inputs, params[LAYER]["kernel"], params[LAYER]["bias"], spec)


def test_one_channel_gives_what_three_do(first_layer, sketches):
    ours, three = both(CAFFE, first_layer, jnp.asarray(sketches))
    right = exact(first_layer, sketches)
    assert ours.shape == right.shape == (2, 10, 13, 96)
    assert error(ours, right) < 1e-6
    assert error(three, right) < 1e-6


def test_deviations_and_scales_are_folded_too(first_layer, sketches):
    pixels = BACKBONES["torchvision"].pixels
    backbone = dataclasses.replace(CAFFE, pixels=pixels)
    ours, three = both(backbone, first_layer, jnp.asarray(sketches))
    assert error(ours, three) < 1e-5


def test_gradients_reach_all_three_channels(first_layer, sketches):
    def loss(params, grey):
        if grey:
            out = conv1(CAFFE.seeing_grey(params), CAFFE.inputs([jnp.asarray(sketches)]))
        else:
            out = conv1(params, CAFFE.preprocess(jnp.asarray(sketches)))
        return jnp.sum(jnp.tanh(out / 100.0))

    ours, right = (jax.grad(loss)(first_layer, grey)[LAYER] for grey in (True, False))
    for name in ("kernel", "bias"):
        assert ours[name].shape == right[name].shape
        assert error(ours[name], np.float64(right[name])) < 1e-4


def test_whole_numbers_are_exact_in_half_precision(sketches):
    inputs = CAFFE.inputs([jnp.asarray(sketches)])
    assert inputs.shape == (2, 47, 59, 1)
    np.testing.assert_array_equal(np.float32(inputs.astype(jnp.bfloat16)), inputs)
    assert np.unique(sketches - np.asarray(inputs)[..., 0]).tolist() == [114.0]


def test_photos_are_seen_in_colour_and_drawings_beside_them(sketches):
    photos = jnp.asarray(np.stack([sketches] * 3, axis=-1))
    drawings = jnp.asarray(sketches)
    alone = CAFFE.inputs([photos])
    assert alone.shape == (2, 47, 59, 3)
    np.testing.assert_array_equal(CAFFE.inputs([drawings, photos]), jnp.concatenate([alone] * 2))
    assert CAFFE.inputs([drawings, drawings]).shape == (4, 47, 59, 1)


@pytest.mark.parametrize("name", [n for n, one in BACKBONES.items() if one.grey_layer])
def test_networks_that_fold_a_layer_are_the_same_for_grey(name):
    model = init_model(ModelConfig(name, ("x", "y"), 67, ()), 0)  # pool5 is 1 x 1: few parameters
    images = np.random.default_rng(2).integers(0, 256, (2, model.size, model.size), np.uint8)
    grey, activations = jax.jit(Model.__call__)(model, jnp.asarray(images))
    colour, right = jax.jit(Model.__call__)(model, jnp.asarray(np.stack([images] * 3, axis=-1)))
    assert error(grey, colour) < 1e-5
    for activation, values in activations.items():
        assert error(values, right[activation]) < 1e-5, activation


def test_it_is_the_network_that_says_so():
    """A record made from another's, with a network of its own, has nothing of that to take over."""
    assert CAFFE.grey_layer == LAYER
    assert BACKBONES["torchvision"].grey_layer is None  # its conv1 has padding
    own = dataclasses.replace(CAFFE, build=BACKBONES["sketch_a_net"].build)
    assert own.grey_layer is None
    assert own.inputs([jnp.zeros((1, 8, 8), jnp.uint8)]).shape == (1, 8, 8, 3)


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_others_see_three_channels_of_a_drawing(name):
    backbone = BACKBONES[name]
    channels = backbone.inputs([jnp.zeros((1, 8, 8), jnp.uint8)]).shape[-1]
    assert channels == (1 if backbone.grey_layer else 3)
    assert embedded(backbone, 7).grey_layer == backbone.grey_layer


def test_fractions_are_refused():
    with pytest.raises(ValueError, match=r"uint8 in 0\.\.255, got float32"):
        CAFFE.inputs([jnp.zeros((1, 8, 8))])
