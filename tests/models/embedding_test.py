"""The embedding above any backbone: unit vectors, cosines to class vectors, the trunk's layers as they are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsf_jax.models.backbone import INPUT
from dsf_jax.models.embedding import CLASS_VECTORS, EMBEDDING, SCALE
from dsf_jax.models.model import ModelConfig, init_model, with_classes, with_embedding
from tests.backbones import TINY_CLIP

pytestmark = pytest.mark.slow  # each compiles networks

PLAIN = {
    "tiny": ModelConfig("tiny", ("a", "b", "c"), 35, ()),
    "narrow": ModelConfig("narrow", ("a", "b", "c"), 67, ()),
    "two_layers": ModelConfig("two_layers", ("a", "b", "c"), 64, ()),
    "clip": TINY_CLIP._replace(class_names=("a", "b", "c")),
}


def pictures(size, count=3):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, size, size, 3)).astype(np.uint8)


def outputs(model, images):
    return jax.jit(lambda model, images: model(images))(model, images)


@pytest.mark.parametrize("name", PLAIN)
def test_logits_are_scaled_cosines_to_what_the_last_layer_gives(name):
    plain = init_model(PLAIN[name], 0)
    model = with_embedding(plain, 7, seed=1)
    images = pictures(model.size)
    logits, activations = outputs(model, images)
    _, before = outputs(plain, images)
    trunk = plain.backbone.classifier
    # The trunk is as it was: what its last layer sees decides.
    for activation, x in before.items():
        if x.shape == activations[activation].shape and activation not in (trunk, "logits"):
            np.testing.assert_allclose(activations[activation], x, rtol=1e-5, atol=1e-5)
    embedding = np.asarray(activations[EMBEDDING], np.float64)
    assert embedding.shape == (3, 7)
    np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1.0, rtol=1e-6)
    vectors = np.asarray(model.params[CLASS_VECTORS]["kernel"], np.float64)
    cosines = embedding @ (vectors / np.linalg.norm(vectors, axis=0))
    np.testing.assert_allclose(logits, SCALE * cosines, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        model.features(activations, EMBEDDING), activations[EMBEDDING], rtol=1e-6
    )


def test_layers_keep_their_names_and_all_else_follows_from_the_backbone():
    model = with_embedding(init_model(PLAIN["narrow"], 0), 7, seed=1)
    plain = init_model(PLAIN["narrow"], 0).backbone
    assert set(model.params) == {*plain.layers, CLASS_VECTORS}
    assert model.backbone.classifier == CLASS_VECTORS
    assert model.default_feature == EMBEDDING
    assert model.backbone.compared_features == (EMBEDDING, *plain.compared_features)
    for name, choice in plain.trainable.items():
        learning = model.backbone.learning(name)
        assert learning.layers == (*choice.layers, CLASS_VECTORS)
        assert learning.start == choice.start
    assert model.backbone.title == "a narrow AlexNet with an embedding of 7"


def test_only_the_head_is_drawn_anew():
    plain = init_model(PLAIN["narrow"]._replace(fresh_layers=("fc6",)), 0)
    model = with_embedding(plain, 7, seed=1)
    assert model.config.fresh_layers == ("fc6", "fc8", CLASS_VECTORS)
    assert model.params["fc8"]["kernel"].shape == (32, 7)
    for layer in plain.backbone.layers[:-1]:
        assert model.params[layer] is plain.params[layer]
    assert with_embedding(model, 7, seed=2) is model
    other = with_embedding(model, 5, seed=1)
    assert other.params["fc8"]["kernel"].shape == (32, 5)
    assert other.config.fresh_layers == model.config.fresh_layers
    back = with_embedding(other, 0, seed=0)
    assert back.config == plain.config._replace(fresh_layers=("fc6", "fc8"))
    assert set(back.params) == set(plain.params)


def test_other_classes_need_other_class_vectors_alone():
    model = with_embedding(init_model(PLAIN["tiny"], 0), 7, seed=1)
    other = with_classes(model, ("x", "y"), seed=3)
    assert other.params[CLASS_VECTORS]["kernel"].shape == (7, 2)
    assert other.params["fc8"] is model.params["fc8"]
    assert other.config.embedding == 7


def test_it_starts_where_the_trunk_may():
    model = with_embedding(init_model(PLAIN["tiny"], 0), 7, seed=1)
    inputs = model.backbone.preprocess(jnp.asarray(pictures(35)))
    whole, activations = model.apply(inputs)
    start = model.backbone.learning("last").start
    assert start != INPUT
    np.testing.assert_allclose(model.apply(activations[start], start=start)[0], whole, rtol=1e-5)


@pytest.mark.parametrize("dimension", [-1, 1])
def test_dimensions_that_embed_nothing_are_refused(dimension):
    with pytest.raises(
        ValueError, match=f"embedding={dimension} must be 0, for none, or at least 2"
    ):
        with_embedding(init_model(PLAIN["tiny"], 0), dimension, seed=0)


def test_a_configuration_without_the_field_has_none():
    content = PLAIN["tiny"].to_json()
    del content["embedding"]
    assert ModelConfig.from_json(content) == PLAIN["tiny"]
    with_one = PLAIN["tiny"]._replace(embedding=7)
    assert ModelConfig.from_json(with_one.to_json()) == with_one


def test_a_trunk_that_gives_nothing_has_a_gradient():
    model = with_embedding(init_model(PLAIN["two_layers"], 0), 7, seed=1)

    def total(params):
        return model.replace(params=params).apply(jnp.zeros((1, 64, 64, 3)))[0].sum()

    gradients = jax.grad(total)(model.params)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradients))
