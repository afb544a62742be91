"""A block of a transformer beside one written in NumPy, and the shapes that are none."""

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsf_jax.models import transformer
from dsf_jax.models.transformer import ACTIVATIONS, Encoder, encoder_block

SHAPE = {"width": 6, "depth": 1, "heads": 2, "hidden": 5, "epsilon": 0.01}
ERF = np.vectorize(math.erf)
NUMPY_ACTIVATIONS = {
    "gelu": lambda x: x * (1 + ERF(x / np.sqrt(2))) / 2,
    "gelu_pytorch_tanh": lambda x: (
        x / 2 * (1 + np.tanh((x + 0.044715 * x**3) * np.sqrt(2 / np.pi)))
    ),
    "quick_gelu": lambda x: x / (1 + np.exp(-1.702 * x)),
    "silu": lambda x: x / (1 + np.exp(-x)),
}


class Block(nn.Module):
    encoder: Encoder
    causal: bool
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        return encoder_block(x, "block1", self.encoder, self.dtype, causal=self.causal)


def numpy_block(x, params, encoder, causal):
    """One example [n, d]."""

    def dense(x, name):
        layer = params[f"block1_{name}"]
        return x @ layer["kernel"] + layer.get("bias", 0)

    def norm(x, name):
        layer = params[f"block1_{name}"]
        centred = x - x.mean(axis=-1, keepdims=True)
        spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + encoder.epsilon)
        return centred / spread * layer["scale"] + layer["bias"]

    def scale(name):
        return params[f"block1_{name}"]["scale"] if encoder.layer_scale else 1

    normed, heads = norm(x, "norm1"), []
    for i in range(encoder.heads):
        own = slice(i * 3, i * 3 + 3)
        q, k, v = (dense(normed, name)[:, own] for name in ("query", "key", "value"))
        scores = q @ k.T / np.sqrt(3)
        if causal:
            scores = np.where(np.tri(len(x)), scores, -np.inf)
        weights = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
        heads.append(weights @ v)
    x = x + dense(np.concatenate(heads, axis=-1), "output") * scale("scale1")
    normed, act = norm(x, "norm2"), NUMPY_ACTIVATIONS[encoder.activation]
    up = dense(normed, "up")
    hidden = act(dense(normed, "gate")) * up if encoder.gated else act(up)
    return x + dense(hidden, "down") * scale("scale2")


@pytest.mark.parametrize(
    ("own", "causal"),
    [
        ({"activation": "quick_gelu"}, True),
        (
            {"activation": "silu", "gated": True, "layer_scale": True, "attention_bias": False},
            False,
        ),
    ],
)
def test_a_block_beside_numpy(own, causal):
    rng, encoder = np.random.default_rng(0), Encoder(**SHAPE, **own)
    x = np.float32(rng.normal(size=(2, 4, 6)))
    block = Block(encoder, causal)
    shapes = jax.eval_shape(block.init, jax.random.key(0), x)["params"]
    assert set(shapes) == set(encoder.block_layers())
    params = jax.tree.map(lambda s: np.float32(rng.normal(0.3, 1, s.shape)), shapes)
    found = jax.jit(block.apply)({"params": params}, x)
    for one, own_found in zip(x, found, strict=True):
        expected = numpy_block(one, params, encoder, causal)
        np.testing.assert_allclose(own_found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 1e-5), (jnp.bfloat16, 2e-2)])
@pytest.mark.parametrize(("asking", "causal"), [(7, False), (7, True), (1, False)])
def test_attention_beside_jaxs_own(asking, causal, dtype, tolerance):
    """With logits of some thousands too, whose exponentials no float holds, and its gradient."""
    keys = jax.random.split(jax.random.key(0), 3)
    sizes = (asking, 7, 7)
    drawn = [jax.random.normal(key, (2, n, 3, 5)) for key, n in zip(keys, sizes, strict=True)]
    ours = functools.partial(transformer._mixed, causal=causal)
    jaxs = functools.partial(jax.nn.dot_product_attention, is_causal=causal)
    queries, others, values = drawn
    for scale in (1.0, 50.0):
        given = [x.astype(dtype) for x in (scale * queries, scale * others, values)]
        found, right = ours(*given), jaxs(*given)
        assert found.dtype == dtype
        np.testing.assert_allclose(
            found.astype(jnp.float32), right.astype(jnp.float32), atol=tolerance
        )
    for number in range(3):
        steep = [
            jax.grad(lambda *x, f=f: jnp.sum(jnp.sin(f(*x))), number)(*drawn) for f in (ours, jaxs)
        ]
        np.testing.assert_allclose(*steep, atol=1e-5)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_activations(name):
    x = np.linspace(-4, 4, 33, dtype=np.float32)
    expected = NUMPY_ACTIVATIONS[name](x.astype(np.float64))
    np.testing.assert_allclose(ACTIVATIONS[name](x), expected, rtol=1e-5, atol=1e-6)


def test_shapes_that_are_none():
    with pytest.raises(ValueError, match="width=6 must be a multiple of heads=4; correct"):
        Encoder(**SHAPE | {"heads": 4, "activation": "gelu"})
    with pytest.raises(
        ValueError, match="activation='relu' is unknown; choose one of gelu, gelu_p"
    ):
        Encoder(**SHAPE, activation="relu")
