"""Every kind of feature against NumPy, and batches against one example at a time."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsf_jax.data.batches import collate, content
from dsf_jax.images.resize import edge_preserving_resize
from dsf_jax.images.views import turned_drawing
from dsf_jax.models.alexnet import CAFFE
from dsf_jax.models.backbones import BACKBONES
from dsf_jax.models.kernels import l2_normalise
from dsf_jax.models.model import Model, ModelConfig, init_model
from dsf_jax.retrieval.features import (
    _embed_images,
    embed,
    embed_layers,
    extract,
    feature_blocks,
    feature_sizes,
)
from tests.images.drawn import random_points

SIZE = 35


class TwoLayers(nn.Module):
    """Has AlexNet's names of two layers."""

    num_classes: int
    dropout_rate: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs, dropout_keys=None, start="input"):
        x = nn.relu(nn.Conv(4, (7, 7), 4)(inputs / 100)).reshape(len(inputs), -1)
        six = nn.relu(nn.Dense(12)(x))
        return six, {"relu6": six, "relu7": nn.relu(nn.Dense(8)(six)), "fc6": -six}


NAMED = dataclasses.replace(CAFFE, name="six_and_seven", build=TwoLayers)
SHAPES = {"Conv_0": (7, 7, 3, 4), "Dense_0": (9 * 9 * 4, 12), "Dense_1": (12, 8)}


def parameters(rng):
    """Random ones of `TwoLayers`, made without JAX: every worker imports this file."""
    return {
        layer: {
            "kernel": rng.standard_normal(shape, np.float32)
            / np.float32(np.prod(shape[:-1]) ** 0.5),
            "bias": rng.standard_normal(shape[-1], np.float32) / np.float32(10),
        }
        for layer, shape in SHAPES.items()
    }


MODEL = Model(parameters(np.random.default_rng(0)), ModelConfig("six_and_seven", ("a",), SIZE, ()))
ALEXNET = ModelConfig("caffe", tuple("abcde"), 227, ())


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(BACKBONES, "six_and_seven", NAMED)


def features_from(activations, layer):
    return Model({}, ALEXNET).features(activations, layer)


def activations(seed=0, b=5):
    """As AlexNet gives them, with layers beside those wanted; layer 7 is 1000 times as large."""
    rng = np.random.default_rng(seed)
    values = {
        "pool4": rng.random((b, 3, 3, 2)),
        "pool5": rng.random((b, 2, 3, 2)),
        "fc6": rng.standard_normal((b, 6)),
        "fc7": 1000 * rng.standard_normal((b, 4)),
        "relu6": rng.random((b, 6)),
        "relu7": 1000 * rng.random((b, 4)),
        "fc8": rng.random((b, 5)),
    }
    return {name: x.astype(np.float32) for name, x in values.items()}


def unit(x):
    x = np.asarray(x, np.float64)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        ("L6", lambda a: unit(a["relu6"])),
        ("L7", lambda a: unit(a["relu7"])),
        ("L6+L7", lambda a: unit(np.concatenate([unit(a["relu6"]), unit(a["relu7"])], axis=1))),
        ("pool5", lambda a: unit(a["pool5"].reshape(5, 12))),
        ("L6 before ReLU", lambda a: unit(a["fc6"])),
        ("L7 before ReLU", lambda a: unit(a["fc7"])),
        (
            "L6+L7 before ReLU",
            lambda a: unit(np.concatenate([unit(a["fc6"]), unit(a["fc7"])], axis=1)),
        ),
        ("L6+L7 joined raw", lambda a: unit(np.concatenate([a["relu6"], a["relu7"]], axis=1))),
    ],
)
@pytest.mark.parametrize("compiled", [False, True])
def test_features_equal_numpy(layer, expected, compiled):
    given = activations()
    function = jax.jit(features_from, static_argnums=1) if compiled else features_from
    features = np.asarray(function(given, layer))
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, expected(given), rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1.0, rtol=1e-6)


def test_the_papers_three_are_named_apart():
    assert CAFFE.compared_features == ("L6", "L7", "L6+L7")
    assert set(CAFFE.compared_features) < set(CAFFE.features)
    assert CAFFE.default_feature == "L6+L7"


def test_both_halves_weigh_the_same_however_large_their_activations_are():
    features = np.asarray(features_from(activations(), "L6+L7"))
    for half in (features[:, :6], features[:, 6:]):
        np.testing.assert_allclose(np.linalg.norm(half, axis=1), np.sqrt(0.5), rtol=1e-5)


def test_zero_vectors_stay_zero():
    given = activations()
    given["relu6"][0] = 0
    given["relu6"][1] = given["relu7"][1] = 0
    for layer in CAFFE.compared_features:
        features = np.asarray(features_from(given, layer))
        assert np.isfinite(features).all()
        assert not features[1].any()
        np.testing.assert_allclose(np.linalg.norm(features[2:], axis=1), 1.0, rtol=1e-6)
    assert not np.asarray(features_from(given, "L6"))[0].any()
    # Where one half is dark, the other is the whole feature.
    joined = np.asarray(features_from(given, "L6+L7"))[0]
    np.testing.assert_allclose(joined, np.r_[np.zeros(6), unit(given["relu7"][0])], rtol=1e-5)


@pytest.mark.slow
@hypothesis.given(seed=st.integers(0, 99), scale=st.floats(1e-12, 1e12), d=st.integers(1, 50))
@hypothesis.settings(max_examples=20, derandomize=True)
def test_length_is_one_and_direction_kept_at_any_scale(seed, scale, d):
    x = (scale * (0.1 + np.random.default_rng(seed).random((2, 3, d)))).astype(np.float32)
    np.testing.assert_allclose(l2_normalise(x), unit(x), rtol=2e-5)


def test_half_precision_activations_give_float32_features():
    given = {name: jnp.asarray(x, jnp.bfloat16) for name, x in activations().items()}
    features = features_from(given, "L6+L7")
    assert features.dtype == jnp.float32
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1.0, rtol=1e-6)


def test_alexnets_features_are_4096_and_8192_long():
    model = jax.eval_shape(lambda: init_model(ALEXNET, 0))
    batch = {"points": jax.ShapeDtypeStruct((2, 512, 2), jnp.uint16)}
    layers = tuple(CAFFE.features)
    shapes = jax.eval_shape(lambda m, b: embed_layers(m, b, layers), model, batch)
    assert jax.eval_shape(embed, model, batch).shape == (2, 8192), "the default feature"
    sizes = {
        "L6": 4096, "L7": 4096, "L6+L7": 8192, "pool5": 6 * 6 * 256, "L6 before ReLU": 4096,
        "L7 before ReLU": 4096, "L6+L7 before ReLU": 8192, "L6+L7 joined raw": 8192,
    }  # fmt: skip
    assert {name: x.shape for name, x in shapes.items()} == {n: (2, d) for n, d in sizes.items()}
    assert feature_sizes(model, layers) == sizes


class Reading(Sequence):
    """Examples of which every reading is noted."""

    def __init__(self, examples):
        self.examples, self.read = examples, []

    def __len__(self):
        return len(self.examples)

    def __getitem__(self, index):
        self.read.append(index)
        return self.examples[index]


def drawings(n):
    """Lists on both sides of a padded length, so that batches come in two shapes."""
    rng = np.random.default_rng(1)
    return [{"points": random_points(rng, 100 + 500 * (i == 4)), "label": i} for i in range(n)]


def photos(n):
    rng = np.random.default_rng(2)
    blocks = rng.integers(0, 256, (n, 8, 8, 3)).astype(np.uint8)
    return [{"photo": x.repeat(32, 0).repeat(32, 1), "label": 0} for x in blocks]


def resized(n):
    pixels = np.random.default_rng(3).integers(0, 256, (n, SIZE, SIZE)).astype(np.uint8)
    return [{"drawing": x, "label": 0} for x in pixels]


def one_by_one(examples, layers):
    singly = [embed_layers(MODEL, content(collate([e])), layers) for e in examples]
    return {layer: np.concatenate([np.asarray(x[layer]) for x in singly]) for layer in layers}


@pytest.mark.slow
@pytest.mark.parametrize("make", [drawings, photos, resized])
@pytest.mark.parametrize("batch_size", [1, 3, 7, 64])
def test_batches_equal_one_by_one_in_order(make, batch_size):
    layers = ("L7", "L6+L7")
    examples = Reading(make(7))
    found = extract(MODEL, examples, layers=layers, batch_size=batch_size, label="test")
    assert examples.read == list(range(7))
    expected = one_by_one(make(7), layers)
    assert list(found) == list(layers)
    for layer, width in zip(layers, (8, 20), strict=True):
        assert found[layer].shape == (7, width) and found[layer].dtype == np.float32
        assert isinstance(found[layer], np.ndarray)
        np.testing.assert_allclose(found[layer], expected[layer], atol=1e-6)
        # All seven differ, so that a changed order could not pass.
        apart = np.abs(expected[layer][:, None] - expected[layer][None]).max(axis=2)
        assert (apart + np.eye(7) > 1e-3).all()


def views_by_hand(example, choice):
    """Upright and mirrored at nine angles, one after the other; of a photo, nine patches."""
    turns = [(-45 + 11.25 * i, flip) for i in range(9) for flip in (False, True)]
    if "photo" in example:
        corners = [(top, left) for top in (0, 110, 221) for left in (0, 110, 221)]
        patches = [example["photo"][y : y + SIZE, x : x + SIZE] for y, x in corners]
        made = [view for patch in patches for view in (patch, patch[:, ::-1])]
    elif "points" in example:
        made = [edge_preserving_resize(example["points"], *turn, size=SIZE) for turn in turns]
    else:
        made = [turned_drawing(example["drawing"], *turn, size=SIZE) for turn in turns]
    upright = np.asarray(made[8])
    chosen = made if choice == "all" else [upright, upright[:, ::-1]]
    return np.stack([np.asarray(view) for view in chosen])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "choice", "b"),
    [
        (drawings, "all", 1),
        (photos, "mirrored", 3),
        *(
            pytest.param(make, *sizes, marks=pytest.mark.slow)
            for make in (drawings, photos, resized)
            for sizes in (("mirrored", 1), ("mirrored", 4), ("all", 2), ("all", 19))
        ),
    ],
)
def test_the_feature_of_several_views_is_the_mean_of_theirs(make, choice, b):
    """Of fewer examples than views and of more."""
    # Compiled otherwise, some interpolated pixel is rounded to the next grey.
    close = 1e-4 if make is resized else 1e-6
    layers, examples = ("L6+L7", "L7"), make(b)
    (block,) = feature_blocks(MODEL, examples, layers=layers, batch_size=b, views=choice)
    for i in (0, b - 1):
        _, seen = MODEL(views_by_hand(examples[i], choice))
        six, seven = unit(seen["relu6"]), unit(seen["relu7"])
        for layer, each in (("L7", seven), ("L6+L7", unit(np.concatenate([six, seven], axis=1)))):
            assert block.outputs[layer].dtype == np.float32
            np.testing.assert_allclose(block.outputs[layer][i], unit(each.mean(axis=0)), atol=close)


def test_one_view_is_the_default_to_the_bit():
    batch = content(collate(drawings(3)))
    plain = embed(MODEL, batch, layer="L7")
    np.testing.assert_array_equal(plain, embed(MODEL, batch, layer="L7", views="one"))
    images = MODEL.plain_view(batch)
    np.testing.assert_array_equal(plain, _embed_images(MODEL, images, ("L7",))["L7"])
    compiled = jax.jit(embed, static_argnames=("layer", "views"))
    mirrored = embed(MODEL, batch, layer="L7", views="mirrored")
    again = compiled(MODEL, batch, layer="L7", views="mirrored")
    np.testing.assert_allclose(again, mirrored, atol=1e-6)
    assert np.abs(mirrored - plain).max() > 1e-3


def test_an_unknown_choice_of_views_is_named_before_anything_is_read():
    examples, words = (
        Reading(drawings(2)),
        "views='two' is unknown; choose one of one, mirrored, all",
    )
    with pytest.raises(ValueError, match=words):
        next(feature_blocks(MODEL, examples, layers=("L7",), views="two"))
    assert examples.read == []
    with pytest.raises(ValueError, match=words):
        embed(MODEL, content(collate(drawings(2))), layer="L7", views="two")


def test_blocks_are_parts_of_the_whole():
    examples = Reading(drawings(7))
    whole = list(feature_blocks(MODEL, examples, layers=("L6+L7",), batch_size=3))
    assert [(b.number, b.first, b.labels.tolist()) for b in whole] == [
        (0, 0, [0, 1, 2]),
        (1, 3, [3, 4, 5]),
        (2, 6, [6]),
    ]
    examples.read.clear()
    some = feature_blocks(MODEL, examples, layers=("L6+L7",), batch_size=3, numbers=[2, 1])
    for block, number in zip(some, (2, 1), strict=True):
        assert block.number == number and block.first == whole[number].first
        np.testing.assert_array_equal(block.outputs["L6+L7"], whole[number].outputs["L6+L7"])
    assert examples.read == [6, 3, 4, 5]


def test_an_unknown_layer_is_named_before_anything_is_read():
    examples = Reading(drawings(2))
    with pytest.raises(
        ValueError, match=r"layer='fc6' is unknown; choose one of L6, L7, L6\+L7, p"
    ):
        extract(MODEL, examples, layers=("L6", "fc6"))
    assert examples.read == []
    with pytest.raises(ValueError, match="layer='L8' is unknown"):
        features_from(activations(), "L8")
    for layers in ((), ("L6", "L7", "L6")):
        with pytest.raises(ValueError, match="must name one or more, each once; correct it"):
            CAFFE.check_features(layers)
