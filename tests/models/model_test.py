"""A model is one object: it goes through jit and grad, and its digest knows names, types and shapes."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsf_jax.export.load import digest_of_parameters
from dsf_jax.images.points import pad_points
from dsf_jax.images.resize import BINARY_PEN, PEN
from dsf_jax.models.alexnet import CAFFE, TORCHVISION
from dsf_jax.models.backbones import BACKBONES, backbone_named
from dsf_jax.models.model import Model, ModelConfig, init_layer, init_model, with_classes
from dsf_jax.models.vit import architecture_of
from tests.backbones import TINY, TINY_CLIP, TOWER
from tests.images.drawn import random_points
from tests.training import tiny

NAMES = ("Äffchen 🐒", 'quote " and \\ slash', "猫")


def model(seed=0, **changes):
    return init_model(tiny.CONFIG._replace(**changes), seed)


def assert_equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.slow
def test_parameters_are_leaves_and_all_else_is_static():
    one, traces = model(), []

    @jax.jit
    def logits_of(model, images):
        traces.append(model.config)
        return model(images)[0]

    images = np.random.default_rng(0).integers(0, 256, (2, tiny.SIZE, tiny.SIZE), np.uint8)
    got = [logits_of(each, images) for each in (one, model(1))]
    assert traces == [tiny.CONFIG], "other parameters of one configuration are not compiled again"
    assert not np.allclose(*got)
    colour = np.repeat(images[..., None], 3, axis=-1)
    np.testing.assert_allclose(logits_of(one, colour), got[0], rtol=1e-5)
    gradient = jax.grad(lambda m: m(images)[0].sum())(one)
    assert gradient.config == one.config and np.abs(gradient.params["fc8"]["bias"]).min() > 0


def limited(monkeypatch, most):
    """A model whose backbone says that so many pictures do best at once, and its sizes of batches."""
    sizes, apply, described = [], Model.apply, ModelConfig.described

    def record(model, inputs, *rest, **options):
        sizes.append(inputs.shape[0])
        return apply(model, inputs, *rest, **options)

    monkeypatch.setattr(Model, "apply", record)
    monkeypatch.setattr(
        ModelConfig,
        "described",
        lambda config: dataclasses.replace(described(config), shown_at_once=most),
    )
    return model(), sizes


@pytest.mark.parametrize(
    ("count", "most", "part"), [(7, 3, 3), (6, 3, 3), (4, 3, 2), (3, 3, 3), (7, None, 7)]
)
def test_answers_in_parts_are_those_of_one_pass(count, most, part, monkeypatch):
    """On CPUs, which tests run on; the pass over all at once is traced for other platforms."""
    images = np.random.default_rng(0).integers(0, 256, (count, tiny.SIZE, tiny.SIZE), np.uint8)
    logits, activations = model()(images)
    one, sizes = limited(monkeypatch, most)
    in_parts, answers = jax.jit(lambda model: model(images))(one)
    assert set(sizes) == {part, count}
    assert answers.keys() == activations.keys()
    for got, wanted in ((in_parts, logits), *((answers[x], activations[x]) for x in activations)):
        assert got.shape == wanted.shape
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("platform", "parted"), [("cpu", True), ("cuda", False), ("tpu", False)])
def test_only_cpus_see_a_batch_in_parts(platform, parted, monkeypatch):
    one, _ = limited(monkeypatch, 3)
    images = np.zeros((7, tiny.SIZE, tiny.SIZE), np.uint8)
    traced = jax.jit(lambda model: model(images)[0]).trace(one)
    assert ("while" in traced.lower(lowering_platforms=(platform,)).as_text()) == parted


def test_pictures_of_several_kinds_follow_each_other(monkeypatch):
    random = np.random.default_rng(0)
    grey = random.integers(0, 256, (3, tiny.SIZE, tiny.SIZE), np.uint8)
    colour = random.integers(0, 256, (2, tiny.SIZE, tiny.SIZE, 3), np.uint8)
    one, _ = limited(monkeypatch, 2)
    logits, _ = one(grey, colour)
    wanted = np.concatenate([one(grey)[0], one(colour)[0]])
    np.testing.assert_allclose(logits, wanted, rtol=1e-5, atol=1e-5)


def test_an_open_number_of_pictures_stays_open(monkeypatch):
    """An export sees all at once, whatever it is called with."""
    one, sizes = limited(monkeypatch, 2)
    (count,) = jax.export.symbolic_shape("b")
    images = jax.ShapeDtypeStruct((count, tiny.SIZE, tiny.SIZE), np.uint8)
    exported = jax.export.export(jax.jit(lambda x: one(x)[0]))(images)
    assert sizes == [count]
    pictures = np.random.default_rng(0).integers(0, 256, (5, tiny.SIZE, tiny.SIZE), np.uint8)
    np.testing.assert_allclose(exported.call(pictures), one(pictures)[0], rtol=1e-5, atol=1e-5)


def test_the_digest_counts_names_types_shapes_and_values():
    start = {"a": {"kernel": np.float32([[1, 2], [3, 4]]), "bias": np.float32([0, 0])}}
    kernel = start["a"]["kernel"]
    others = [
        {"b": start["a"]},
        {"a": start["a"] | {"kernel": kernel.reshape(4)}},
        {"a": start["a"] | {"kernel": kernel.view(np.int32)}},
        {"a": start["a"] | {"kernel": kernel.T.copy()}},
        {"a": {"kernel": kernel, "scale": start["a"]["bias"]}},
    ]
    digests = {Model(params, tiny.CONFIG).digest() for params in (start, *others)}
    assert len(digests) == 6
    (first,) = {Model(params, tiny.CONFIG).digest() for params in (start, dict(start))}
    assert Model(start, tiny.CONFIG).digest_matches(first)
    assert not Model(others[0], tiny.CONFIG).digest_matches(first)


def test_a_configuration_survives_json_and_knows_the_old_name_of_a_backbone():
    config = ModelConfig("tiny", NAMES, 35, ("fc8",), "cubic")
    assert ModelConfig.from_json(config._asdict()) == config
    old = {"variant": "caffe", "class_names": ["a"], "size": 227, "fresh_layers": []}
    earlier = ModelConfig("caffe", ("a",), 227, (), "edge_preserving", pen=BINARY_PEN)
    assert ModelConfig.from_json(old) == earlier  # trained before there was a pen
    untrained = ModelConfig.from_json(old | {"fresh_layers": ["fc8"]})
    assert untrained.pen == PEN


@pytest.mark.slow
def test_the_models_pen_draws_its_views_and_no_photo():
    points = pad_points([random_points(np.random.default_rng(0), 100)])
    thin, binary = (
        model().replace(config=tiny.CONFIG._replace(pen=pen)) for pen in (1.0, BINARY_PEN)
    )
    batch, keys = {"points": points}, jax.random.split(jax.random.key(0), 1)
    for views in (Model.plain_view, Model.all_views):
        assert set(np.unique(views(binary, batch))) == {0, 255}
        assert len(np.unique(views(thin, batch))) > 10
    assert len(np.unique(thin.random_view(keys, batch))) > 10
    photo = {"photo": np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3)).astype(np.uint8)}
    np.testing.assert_array_equal(thin.plain_view(photo), binary.plain_view(photo))


def test_other_classes_give_a_new_last_layer_and_keep_the_rest():
    start = model(fresh_layers=("fc6",))
    fitted = with_classes(start, NAMES, seed=1)
    assert fitted.config == start.config._replace(class_names=NAMES, fresh_layers=("fc6", "fc8"))
    last = fitted.params["fc8"]
    assert last["kernel"].shape == (16, 3) and last["bias"].shape == (3,)
    assert float(jnp.std(last["kernel"])) > 0
    for layer in ("conv1", "fc7"):
        assert fitted.params[layer] is start.params[layer]
    assert fitted.params.keys() == start.params.keys()
    assert start.params["fc8"]["kernel"].shape == (16, 5), "the model itself is not changed"
    again, other = (with_classes(start, NAMES, seed=seed).params["fc8"] for seed in (1, 2))
    assert_equal(again, last)
    assert not np.array_equal(other["kernel"], again["kernel"])


def test_the_same_names_in_another_order_are_other_classes():
    start = model(fresh_layers=("fc8", "fc6"))
    fitted = with_classes(start, tiny.CLASSES[::-1], seed=1)
    assert fitted.class_names == tiny.CLASSES[::-1]
    assert fitted.config.fresh_layers == ("fc8", "fc6"), "each is named once"
    assert not np.array_equal(fitted.params["fc8"]["kernel"], start.params["fc8"]["kernel"])


def test_the_same_classes_change_nothing():
    start = model(fresh_layers=())
    assert with_classes(start, tiny.CLASSES, seed=1) is start


def test_unknown_names_are_answered_with_the_known_ones():
    with pytest.raises(
        ValueError, match="backbone='resnet' is unknown; choose one of caffe, torch"
    ):
        backbone_named("resnet")
    with pytest.raises(ValueError, match="layer='L5' is unknown; choose one of L7, L1"):
        TINY.feature("L5")
    with pytest.raises(ValueError, match="train_layers='conv' is unknown; choose one of all, fc,"):
        TINY.learning("conv")


@pytest.mark.parametrize("backbone", [CAFFE, TORCHVISION], ids=lambda backbone: backbone.name)
def test_what_a_backbone_names_is_there(backbone):
    assert BACKBONES[backbone.name] is backbone
    config = ModelConfig(backbone.name, ("a", "b"), backbone.size, backbone.layers)
    there = jax.eval_shape(lambda: init_model(config, 0))
    shapes = there.activation_shapes()
    assert set(there.params) == set(backbone.layers)
    named = {name for feature in backbone.features.values() for name in feature.activations}
    starts = {choice.start for choice in backbone.trainable.values()} - {"input"}
    assert named | starts | {*backbone.maps, *backbone.measured, *backbone.inverted} <= set(shapes)
    assert {len(shapes[name]) for name in backbone.maps} == {3}
    assert backbone.default_feature in backbone.features
    assert {*backbone.compared_features} <= set(backbone.features)
    for choice in backbone.trainable.values():
        assert {*choice.layers} <= set(backbone.layers)


def test_a_backbone_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        CAFFE.size = 1


def test_a_familys_configuration_travels_as_json():
    config = TINY_CLIP
    assert ModelConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    assert config.to_json()["architecture"]["mean"] == (0.5, 0.5, 0.5)
    assert ModelConfig("caffe", ("a",), 227, ()).to_json()["architecture"] == {}


def test_a_family_needs_a_configuration():
    with pytest.raises(ValueError, match=r"backbone=clip is a family of networks.*port it with"):
        backbone_named("clip")
    one, same = (backbone_named("clip", TINY_CLIP.architecture) for _ in range(2))
    assert one is same and one.name == "clip"


def test_a_familys_digest_is_of_its_configuration_too():
    params = {"head": {"kernel": jnp.zeros((5, 2)), "bias": jnp.zeros(2)}}
    model = Model(params, TINY_CLIP)
    darker = dataclasses.replace(TOWER, mean=(0.4, 0.5, 0.5))
    other = model.config._replace(architecture=architecture_of(darker))
    digests = {model.digest(), Model(params, other).digest(), digest_of_parameters(params)}
    assert len(digests) == 3 and {len(digest) for digest in digests} == {64}
    assert model.digest_matches(model.digest())


def test_a_layer_is_drawn_as_with_the_others():
    config = ModelConfig("tiny", ("a", "b"), 35, ())
    alone, whole = init_layer(config, "fc8", 3), init_model(config, 3).params["fc8"]
    jax.tree.map(np.testing.assert_array_equal, alone, whole)
