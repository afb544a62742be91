"""Sketch-a-Net against its paper's table, and against plain NumPy layer by layer."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsf_jax.models.backbones import backbone_named
from dsf_jax.models.model import ModelConfig, init_model
from tests.models.numpy_alexnet import correlate, pad_plane

SMALL = 111  # pool5 has four cells, and the last windows of conv1 and pool2 do not fit


@functools.cache
def model(size, classes=3):
    names = tuple(f"class {k}" for k in range(classes))
    return init_model(ModelConfig("sketch_a_net", names, size, ()), 0)


@pytest.mark.slow
def test_shapes_are_those_of_the_papers_table():
    shapes = jax.eval_shape(lambda: init_model(
        ModelConfig("sketch_a_net", tuple(map(str, range(250))), 225, ()), 0
    )).params  # fmt: skip
    kernels = {name: layer["kernel"].shape for name, layer in shapes.items()}
    assert kernels == {
        "conv1": (15, 15, 1, 64), "conv2": (5, 5, 64, 128), "conv3": (3, 3, 128, 256),
        "conv4": (3, 3, 256, 256), "conv5": (3, 3, 256, 256),
        "fc6": (7 * 7 * 256, 512), "fc7": (512, 512), "fc8": (512, 250),
    }  # fmt: skip
    sizes = model(225).activation_shapes()
    assert sizes["relu6"] == sizes["relu7"] == (512,) and sizes["fc8"] == (3,)
    maps = {
        "conv1": (71, 64), "pool1": (35, 64), "conv2": (31, 128), "pool2": (15, 128), "conv3": (15, 256),
        "conv4": (15, 256), "conv5": (15, 256), "pool5": (7, 256),
    }  # fmt: skip
    assert {name: sizes[name] for name in maps} == {n: (s, s, c) for n, (s, c) in maps.items()}


def pooled(x):
    """Maximum of 3 x 3 windows at stride 2, one window at a time; windows that do not fit are dropped."""
    height, width = ((n - 3) // 2 + 1 for n in x.shape[1:3])
    rows = [
        [x[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max(axis=(1, 2)) for j in range(width)]
        for i in range(height)
    ]
    return np.array(rows).transpose(2, 0, 1, 3)


def in_numpy(params, grey):
    """The network in float64 on grey pictures [b, h, w] uint8: its activations."""
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    x, found = grey[..., None] / 255 - 1, {}
    for block, (stride, pad) in enumerate(((3, 0), (1, 0), (1, 1), (1, 1), (1, 1)), start=1):
        layer = params[f"conv{block}"]
        x = correlate(pad_plane(x, (pad, pad), (pad, pad), 0.0), layer["kernel"], stride)
        found[f"conv{block}"] = x = x + layer["bias"]
        found[f"relu{block}"] = x = np.maximum(x, 0)
        if block in (1, 2, 5):
            found[f"pool{block}"] = x = pooled(x)
    x = x.reshape(len(x), -1)
    for layer in (6, 7, 8):
        own = params[f"fc{layer}"]
        found[f"fc{layer}"] = x = x @ own["kernel"] + own["bias"]
        if layer < 8:
            found[f"relu{layer}"] = x = np.maximum(x, 0)
    return found


@pytest.fixture(scope="module")
def shown():
    """Its activations of two grey pictures, with biases that are not 0, and the pictures."""
    random = np.random.default_rng(0)
    net = model(SMALL)
    biased = {
        name: {"kernel": own["kernel"], "bias": jnp.asarray(random.normal(0, 0.1, own["bias"].shape), jnp.float32)}
        for name, own in net.params.items()
    }  # fmt: skip
    net = net.replace(params=biased)
    grey = random.integers(0, 256, (2, SMALL, SMALL), np.uint8)
    return net, grey, jax.jit(type(net).__call__)(net, grey)


@pytest.mark.slow
def test_every_layer_equals_plain_numpy(shown):
    net, grey, (logits, activations) = shown
    expected = in_numpy(net.params, grey)
    assert set(activations) == set(expected)
    for name, values in expected.items():
        scale = np.abs(values).max()
        np.testing.assert_allclose(activations[name], values, atol=1e-5 * scale, err_msg=name)
    np.testing.assert_array_equal(logits, activations["fc8"])


@pytest.mark.slow
def test_a_colour_picture_is_seen_in_grey(shown):
    """Luminance of red, green and blue; a grey picture in three channels is itself."""
    net, *_ = shown
    backbone = backbone_named("sketch_a_net")
    colour = np.random.default_rng(1).integers(0, 256, (1, SMALL, SMALL, 3), np.uint8)
    luminance = colour @ np.array([0.299, 0.587, 0.114])
    conv1 = net.params["conv1"]
    expected = correlate(luminance[..., None] / 255 - 1, np.asarray(conv1["kernel"], np.float64), 3)
    seen = jax.jit(lambda x: net.apply(x)[1]["conv1"])(backbone.preprocess(jnp.asarray(colour)))
    np.testing.assert_allclose(seen, expected + np.asarray(conv1["bias"]), atol=1e-4)


@pytest.mark.slow
def test_it_goes_on_from_pool5_and_drops_by_key(shown):
    net, _, (logits, activations) = shown
    again, later = net.apply(activations["pool5"], start="pool5")
    np.testing.assert_allclose(again, logits, atol=1e-5)
    assert list(later) == ["fc6", "relu6", "fc7", "relu7", "fc8"]
    keys = jax.random.split(jax.random.key(0), 2)
    dropped, _ = net.apply(activations["pool5"], keys, dropout_rate=0.5, start="pool5")
    alone, _ = net.apply(activations["pool5"][1:], keys[1:], dropout_rate=0.5, start="pool5")
    np.testing.assert_allclose(dropped[1:], alone, atol=1e-5)
    assert np.abs(dropped - logits).max() > 1e-3
    with pytest.raises(ValueError, match="start='pool4' is unknown; choose one of input, pool5"):
        net.apply(activations["pool5"], start="pool4")


@pytest.mark.slow
def test_it_computes_in_bfloat16(shown):
    net, _, (logits, activations) = shown
    half = net.replace(dtype=jnp.bfloat16)
    found, later = half.apply(activations["pool5"], start="pool5")
    assert found.dtype == jnp.float32 and later["relu7"].dtype == jnp.bfloat16
    np.testing.assert_allclose(found, logits, atol=0.1 * np.abs(logits).max())
    picture = jax.ShapeDtypeStruct((1, SMALL, SMALL, 3), jnp.uint8)
    _, shapes = jax.eval_shape(type(half).__call__, half, picture)
    assert {shapes[name].dtype for name in ("conv1", "conv2", "pool5")} == {jnp.dtype("bfloat16")}
