"""EfficientNet-Lite against an independent float64 forward in NumPy; and, where they are installed, with
the published weights against PyTorch's.
"""

import functools
import importlib.util
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsf_jax.models.backbone import INPUT
from dsf_jax.models.backbones import BACKBONES
from dsf_jax.models.efficientnet_lite import blocks_of
from dsf_jax.models.embedding import CLASS_VECTORS, EMBEDDING
from dsf_jax.models.model import Model, ModelConfig, with_embedding
from dsf_jax.models.weight_files.efficientnet_lite import packaged_weights_path
from dsf_jax.models.weight_files.reading import read_weights
from dsf_jax.models.weights_port import port_weights
from tests.models import numpy_efficientnet_lite as original
from tests.models.alexnet_test import relative_error
from tests.models.weight_files.encoders import state_dict, written

pytestmark = pytest.mark.slow

NAMES = list(original.NETWORKS)
LITE0 = "efficientnet-lite0"
CLASSES = 7
TOLERANCE = 1e-4
ODD = (45, 58)  # 23 x 29, 12 x 15, 6 x 8, 3 x 4, 2 x 2 maps: padding of all kinds


@functools.cache
def shapes_of(name, classes=CLASSES):
    """A model of shapes alone."""
    backbone = BACKBONES[name]
    config = ModelConfig(name, tuple(map(str, range(classes))), backbone.size, backbone.layers)
    module = backbone.build(classes)
    picture = jax.ShapeDtypeStruct((1, backbone.size, backbone.size, 3), jnp.float32)
    return Model(jax.eval_shape(module.init, jax.random.key(0), picture)["params"], config)


@functools.cache
def model_of_state(name, folder):
    """A model with the random numbers of a state dict, through a file of it."""
    path = written(folder, "net.pth", state_dict(original.random_state(name, CLASSES)))
    model, _ = port_weights(read_weights(path), shapes_of(name))
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("states")


def pictures(height, width, count=1):
    """[b, h, w, 3] uint8 noise, each channel in a range of its own."""
    noise = np.random.default_rng(3).integers(0, 256, (count, height, width, 3))
    return (noise * [1.0, 0.8, 0.6]).astype(np.uint8)


@pytest.mark.parametrize("name", NAMES)
def test_the_published_shapes(name):
    """Sizes, and the number of parameters as published: of each norm, its factor is folded away."""
    model, (_, _, size, count) = shapes_of(name, 1000), original.NETWORKS[name]
    leaves = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(model.params))
    factors = sum(
        layer["bias"].shape[0] for key, layer in model.params.items() if key != "classifier"
    )
    assert (model.size, leaves + factors) == (size, count)
    assert set(model.params) == set(model.backbone.layers)
    assert [tuple(block) for block in blocks_of(name)] == [
        (inputs, outputs, kernel, stride, expansion)
        for kernel, stride, expansion, inputs, outputs in original.blocks(name)
    ]


def test_what_the_library_knows_of_them_are_their_activations():
    for name in NAMES:
        model = shapes_of(name)
        shapes = model.activation_shapes()
        backbone = model.backbone
        parts = [part for feature in backbone.features.values() for part in feature.activations]
        assert {*backbone.maps, *backbone.measured, *backbone.inverted, *parts} <= set(shapes)
        assert all(len(shapes[map_]) == 3 for map_ in backbone.maps)
        assert set(backbone.tv_weights) <= set(shapes)
        for choice in backbone.trainable.values():
            assert choice.start == INPUT or choice.start in shapes
            assert backbone.layers[-len(choice.layers) :] == choice.layers


@pytest.mark.parametrize("name", NAMES)
def test_every_activation_is_that_of_the_original(name, folder):
    model, images = model_of_state(name, folder), pictures(*ODD)
    ours = jax.jit(lambda model, x: model(x)[1])(model, images)
    theirs = original.activations(name, original.random_state(name, CLASSES), images)
    assert set(ours) == set(model.activation_shapes()) == set(theirs)
    for key, value in theirs.items():
        assert relative_error(np.asarray(ours[key]), value) < TOLERANCE, key


@pytest.mark.parametrize(
    "margins",
    [lambda missing: (missing - missing // 2, missing // 2), lambda missing: (missing, 0)],
    ids=["odd one first", "all first"],
)
def test_other_padding_stands_out(margins, monkeypatch):
    """Such as PyTorch's, which is the same on both sides: no slack of the tolerance lets it through."""
    state, images = original.random_state(LITE0, CLASSES), pictures(32, 45)
    right = original.activations(LITE0, state, images)
    monkeypatch.setattr(original, "margins", margins)
    wrong = original.activations(LITE0, state, images)
    for key in ("stem", "block2", "block16", "pooled", "logits"):
        assert relative_error(wrong[key], right[key]) > 100 * TOLERANCE, key


def test_it_starts_in_the_middle_and_drops_by_example(folder):
    """Each choice of frozen layers gives what the whole network gives; masks follow from keys alone."""
    model, images = model_of_state(LITE0, folder), pictures(33, 33, 2)
    keys = jax.random.split(jax.random.key(0), 2)

    @jax.jit
    def logits(model, keys):
        inputs = model.backbone.preprocess(images)
        plain, activations = model.apply(inputs)
        parts = [
            model.apply(activations[choice.start], start=choice.start)
            for choice in model.backbone.trainable.values()
            if choice.start != INPUT
        ]
        drop = functools.partial(model.apply, start="pooled", dropout_rate=0.5)
        dropped = drop(activations["pooled"], keys)[0], drop(activations["pooled"][1:], keys[1:])[0]
        return plain, parts, dropped

    plain, parts, (dropped, alone) = logits(model, keys)
    assert len(parts) == 2
    for part, activations in parts:
        np.testing.assert_allclose(part, plain, rtol=1e-4, atol=1e-4)
        assert "pooled" in activations
    np.testing.assert_allclose(dropped[1:], alone, rtol=1e-5, atol=1e-5)
    assert not np.allclose(dropped, plain, atol=1e-2)


@pytest.mark.parametrize(("name", "block"), [(LITE0, "block15"), ("efficientnet-lite2", "block20")])
def test_an_embedding_reads_an_earlier_block_and_the_last_maps(name, block, folder):
    """Each as a direction, so that both weigh the same; frozen layers may end at either place."""
    model = with_embedding(model_of_state(name, folder), 5, seed=3)
    images = pictures(*ODD)

    @jax.jit
    def outputs(model):
        whole, activations = model(images)
        starts = [choice.start for choice in model.backbone.trainable.values()]
        parts = [model.apply(activations[x], start=x)[0] for x in starts if x != INPUT]
        return whole, activations, parts

    whole, ours, parts = outputs(model)
    theirs = original.activations(name, original.random_state(name, CLASSES), images)
    means = [theirs[block].mean((1, 2)), theirs["pooled"]]
    pools = np.concatenate([x / np.linalg.norm(x, axis=1, keepdims=True) for x in means], 1)
    assert relative_error(np.asarray(ours["pools"]), pools) < TOLERANCE
    head = {key: np.asarray(x, np.float64) for key, x in model.params["classifier"].items()}
    embedding = pools @ head["kernel"] + head["bias"]
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    assert relative_error(np.asarray(ours[EMBEDDING]), embedding) < TOLERANCE
    assert len(parts) == 2
    for part in parts:
        np.testing.assert_allclose(part, whole, rtol=1e-4, atol=1e-4)
    last = model.backbone.learning("head")
    assert (last.layers, last.start) == (("classifier", CLASS_VECTORS), "pools")


def test_what_does_not_tell_the_earlier_block_is_no_start(folder):
    model = with_embedding(model_of_state(LITE0, folder), 5, seed=3)
    for start in ("block16", "conv_head", "pooled"):
        with pytest.raises(ValueError, match=f"start='{start}' is unknown; choose one of .*pools"):
            model.apply(jnp.zeros((1, 2, 2, 320)), start=start)


def test_unknown_names_and_wrong_inputs_are_refused():
    module = BACKBONES[LITE0].build(CLASSES)
    params = shapes_of(LITE0).params

    def run(module, x, start=INPUT):
        return jax.eval_shape(lambda p: module.apply({"params": p}, x, None, start), params)

    x = jnp.zeros((1, 32, 32, 3))
    with pytest.raises(ValueError, match="start='block99' is unknown; choose one of input, stem"):
        run(module, x, "block99")
    with pytest.raises(ValueError, match="variant='lite9' is unknown; choose one of efficientnet-"):
        run(module.clone(variant="lite9"), x)
    with pytest.raises(ValueError, match="inputs must be floating point, got uint8; preprocess"):
        run(module, x.astype(jnp.uint8))


def torch_network(name, path):
    """The published network in PyTorch, its padding made for any size."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    reason = "pip install --no-deps efficientnet-lite-pytorch==0.1.0"
    package = pytest.importorskip("efficientnet_lite_pytorch", reason=reason)
    parts = importlib.import_module("efficientnet_lite_pytorch.utils")
    network = package.EfficientNet.from_name(name)
    network.load_state_dict(torch.load(path, weights_only=True))
    for part in network.modules():
        if isinstance(part, parts.Conv2dStaticSamePadding):
            part.__class__ = parts.Conv2dDynamicSamePadding
    return torch, network.eval()


def torch_activations(torch, network, inputs):
    """Every block's output, the last maps and the logits, maps as [b, h, w, c]."""
    kept = {}
    for i, block in enumerate(network._blocks, start=1):
        block.register_forward_hook(lambda *x, i=i: kept.__setitem__(f"block{i}", x[-1]))
    network._avg_pooling.register_forward_pre_hook(lambda _, x: kept.__setitem__("conv_head", x[0]))
    with torch.no_grad():
        logits = network(torch.from_numpy(inputs.transpose(0, 3, 1, 2).copy())).numpy()
    maps = {key: value.numpy().transpose(0, 2, 3, 1) for key, value in kept.items()}
    return maps | {"logits": logits}


@pytest.mark.parametrize("name", NAMES)
def test_every_block_is_that_of_pytorch(name):
    """With the published weights, at the published sizes and at odd ones."""
    try:
        path = packaged_weights_path(name)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    torch, network = torch_network(name, path)
    model, _ = port_weights(read_weights(path), shapes_of(name, 1000))
    run = jax.jit(lambda model, x: model(x)[1])
    for size in [(224, 224), (240, 240), (260, 260), (227, 227), (181, 243)]:
        images = pictures(*size)
        inputs = (images.astype(np.float32) - 127) / 128
        ours, theirs = run(model, images), torch_activations(torch, network, inputs)
        assert len(theirs) == len(blocks_of(name)) + 2
        for key, value in theirs.items():
            assert relative_error(np.asarray(ours[key]), value) < TOLERANCE, (size, key)
