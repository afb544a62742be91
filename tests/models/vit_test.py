"""A vision transformer's parts: positions, starts, dropout, what is refused. What it computes as a whole is
compared in vit_port_test.py with what transformers does.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsf_jax.models.model import init_model
from dsf_jax.models.vit import Vit, bicubic_weights, resized_positions, vit_backbone
from tests.backbones import TINY_CLIP, TOWER


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(0)
    like = jax.eval_shape(lambda: init_model(TINY_CLIP, 0))
    return jax.tree.map(lambda leaf: np.float32(rng.normal(0, 0.4, leaf.shape)), like)


@pytest.fixture(scope="module")
def inputs():
    return np.float32(np.random.default_rng(0).normal(size=(2, 12, 12, 3)))


@pytest.fixture(scope="module")
def outputs(model, inputs):
    return jax.jit(model.apply)(inputs)


@pytest.mark.parametrize(("old", "new"), [(3, 3), (3, 7), (37, 16), (2, 1)])
def test_bicubic_weights(old, new):
    weights = bicubic_weights(old, new)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(weights, weights[::-1, ::-1], atol=1e-6)
    assert (np.count_nonzero(weights, axis=1) <= 4).all()
    if old == new:
        np.testing.assert_array_equal(weights, np.eye(old))


def test_bicubic_weights_half_way():
    # Between the second and the third of four: a / 8 from the outer ones, the rest from the inner.
    np.testing.assert_allclose(bicubic_weights(4, 1), [[-0.09375, 0.59375, 0.59375, -0.09375]])


def test_positions_keep_the_class_token_and_what_is_even():
    positions = jnp.concatenate([jnp.full((1, 2), 7.0), jnp.full((9, 2), 3.0)])
    assert resized_positions(positions, 3, (3, 3)) is positions
    resized = resized_positions(positions, 3, (2, 5))
    np.testing.assert_allclose(resized, [[7, 7]] + [[3, 3]] * 10, rtol=1e-6)


def test_what_lies_beyond_the_last_patch_is_not_seen(model, inputs, outputs):
    larger = np.pad(inputs, [(0, 0), (0, 3), (0, 3), (0, 0)], constant_values=9)
    np.testing.assert_allclose(jax.jit(model.apply)(larger)[0], outputs[0], atol=1e-5)


@pytest.mark.parametrize("start", ["embedded", "projected"])
def test_it_starts_from_what_was_kept(model, outputs, start):
    logits, activations = outputs
    found, own = jax.jit(lambda x: model.apply(x, start=start))(activations[start])
    np.testing.assert_allclose(found, logits, atol=1e-5)
    np.testing.assert_allclose(own["projected"], activations["projected"], atol=1e-5)


def test_dropout_is_each_examples_own(model, outputs):
    kept = outputs[1]["projected"]
    keys = jax.random.split(jax.random.key(0), 2)

    @jax.jit
    def run(keys):
        return model.apply(kept, keys, dropout_rate=0.5, start="projected")[0]

    one, other = run(keys), run(keys.at[1].set(keys[0]))
    np.testing.assert_array_equal(one[0], other[0])
    assert (one[1] != other[1]).any()


def test_norms_learn_with_the_head(model):
    norms = model.backbone.learning("norms")
    assert norms.layers == ("pre_norm", "block1_norm1", "block1_norm2", "final_norm", "head")
    assert norms.start == "embedded"
    assert model.backbone.learning("head") == (("head",), "projected")


def test_inputs_that_are_none(model):
    with pytest.raises(ValueError, match="pictures of 3 x 12 hold no patch of 4 x 4; enlarge"):
        model.apply(jnp.zeros((1, 3, 12, 3)))
    with pytest.raises(ValueError, match="inputs must be floating point, got uint8"):
        model.apply(jnp.zeros((1, 12, 12, 3), jnp.uint8))
    with pytest.raises(ValueError, match="start='pool5' is unknown; choose one of input, embedded"):
        model.apply(jnp.zeros((1, 12, 12, 3)), start="pool5")


def test_configurations_that_are_none():
    with pytest.raises(ValueError, match="patch=20 must be from 1 to size=12"):
        dataclasses.replace(TOWER, patch=20)
    with pytest.raises(
        ValueError, match="pooling='mean' is unknown; choose one of attention, class"
    ):
        dataclasses.replace(TOWER, pooling="mean")
    with pytest.raises(ValueError, match="architecture of backbone=clip is not that of a vision"):
        vit_backbone("clip", (("width", 8),))


def test_gated_attention_pooling_has_its_layers():
    tower = dataclasses.replace(TOWER, pooling="attention", class_token=False, gated=True)
    shapes = jax.eval_shape(Vit(3, tower).init, jax.random.key(0), jnp.zeros((1, 12, 12, 3)))
    assert set(shapes["params"]) == set(tower.layers())
