"""Blocks of a transformer encoder, as image and text towers share them: normalised first, each with
attention and a perceptron, both added to what passes.

All layers are those of the module that calls, under flat names such as block1_query, so that any of
them may learn by itself.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Initializer
from jax import lax

from dsf_jax.models.kernels import along_last_axis

# By the names that configurations of Hugging Face have.
ACTIVATIONS: Mapping[str, Callable[[jax.Array], jax.Array]] = {
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_pytorch_tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
    "silu": jax.nn.silu,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Encoder:
    """The shape of a transformer encoder.

    Attributes:
      width: number d of channels of a token.
      depth: number of blocks.
      heads: number of heads of the attention.
      hidden: width of a block's perceptron.
      activation: function of the perceptron, one of `ACTIVATIONS`.
      epsilon: what layer norms add to the variance.
      gated: whether the perceptron's activation is multiplied by a second product (SwiGLU).
      attention_bias: whether queries, keys and values have biases.
      layer_scale: whether both of a block's contributions are scaled, channel by channel.
    """

    width: int
    depth: int
    heads: int
    hidden: int
    activation: str
    epsilon: float
    gated: bool = False
    attention_bias: bool = True
    layer_scale: bool = False

    def __post_init__(self) -> None:
        """Refuses shapes that no encoder has."""
        for name in ("width", "depth", "heads", "hidden"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(
                    f"{name}={value!r} must be a whole number of at least 1; correct the configuration"
                )
        if self.activation not in ACTIVATIONS:
            raise ValueError(
                f"activation={self.activation!r} is unknown; choose one of {', '.join(ACTIVATIONS)}"
            )
        if self.width % self.heads:
            raise ValueError(
                f"width={self.width} must be a multiple of heads={self.heads}; correct the configuration"
            )

    def block_layers(self) -> tuple[str, ...]:
        """Names the layers of all blocks, in order."""
        parts = ["norm1", "query", "key", "value", "output", "scale1", "norm2"]
        parts += ["gate", "up", "down", "scale2"]
        absent = {
            *(("scale1", "scale2") if not self.layer_scale else ()),
            *(() if self.gated else ("gate",)),
        }
        return tuple(
            f"{block_name(i)}_{part}"
            for i in range(self.depth)
            for part in parts
            if part not in absent
        )


class Learned(nn.Module):
    """A learned array, under its layer's name.

    Attributes:
      leaf: name of the array.
      shape: its shape.
      initializer: how it starts.
    """

    leaf: str
    shape: tuple[int, ...]
    initializer: Initializer

    @nn.compact
    def __call__(self) -> jax.Array:
        """Returns the array, float32."""
        value: jax.Array = self.param(self.leaf, self.initializer, self.shape, jnp.float32)
        return value


def block_name(number: int) -> str:
    """Names a block, and its output among the activations; they are counted from 1."""
    return f"block{number + 1}"


def layer_norm(x: jax.Array, name: str, encoder: Encoder, dtype: Any) -> jax.Array:
    """Normalises tokens [..., d] by a layer of this name."""
    # The fast variance, a difference of two large numbers, is off where one channel is large.
    norm = nn.LayerNorm(encoder.epsilon, dtype=dtype, use_fast_variance=False, name=name)
    return norm(x)


def encoder_block(
    x: jax.Array, name: str, encoder: Encoder, dtype: Any, *, causal: bool = False
) -> jax.Array:
    """Runs one block; called within a module's compact method, which gets its layers.

    Args:
      x: [b, n, d] tokens.
      name: name of the block.
      encoder: shape of the encoder.
      dtype: type that is computed in.
      causal: whether a token attends to itself and earlier ones only.

    Returns:
      [b, n, d].
    """
    normed = layer_norm(x, f"{name}_norm1", encoder, dtype)
    own = attention(normed, normed, f"{name}_", encoder, dtype, causal=causal)
    x = x + _scaled(own, f"{name}_scale1", encoder)
    normed = layer_norm(x, f"{name}_norm2", encoder, dtype)
    return x + _scaled(perceptron(normed, f"{name}_", encoder, dtype), f"{name}_scale2", encoder)


def attention(
    queries: jax.Array,
    tokens: jax.Array,
    prefix: str,
    encoder: Encoder,
    dtype: Any,
    *,
    causal: bool = False,
) -> jax.Array:
    """Attends by several heads; called within a module's compact method, which gets its layers.

    Args:
      queries: [b, m, d] tokens that ask.
      tokens: [b, n, d] tokens that answer.
      prefix: beginning of the names of its four layers.
      encoder: shape of the encoder.
      dtype: type that is computed in; the softmax is float32 always.
      causal: whether a token attends to itself and earlier ones only.

    Returns:
      [b, m, d].
    """
    bias = encoder.attention_bias

    def heads(x: jax.Array, layer: str) -> jax.Array:
        product = nn.Dense(encoder.width, use_bias=bias, dtype=dtype, name=prefix + layer)(x)
        return product.reshape(*x.shape[:2], encoder.heads, -1)

    mixed = _mixed(
        heads(queries, "query"), heads(tokens, "key"), heads(tokens, "value"), causal=causal
    )
    flat = mixed.reshape(*mixed.shape[:2], encoder.width)
    return nn.Dense(encoder.width, dtype=dtype, name=f"{prefix}output")(flat)


def _mixed(queries: jax.Array, keys: jax.Array, values: jax.Array, *, causal: bool) -> jax.Array:
    """Mixes values [b, n, h, c] by how alike their keys are to queries [b, m, h, c], head by head."""
    # With one batch axis, and sums that divide last, XLA's CPU backend makes one loop of both products and what
    # is between: a third of the time of jax.nn.dot_product_attention.
    b, m, h, c = queries.shape
    queries, values = (x.transpose(0, 2, 1, 3).reshape(b * h, -1, c) for x in (queries, values))
    keys = keys.transpose(0, 2, 3, 1).reshape(b * h, c, -1)
    logits = jnp.matmul(queries, keys, preferred_element_type=jnp.float32) / math.sqrt(c)
    if causal:
        logits = jnp.where(jnp.tri(m, logits.shape[2], dtype=bool), logits, -jnp.inf)
    weights = jnp.exp(logits - lax.stop_gradient(logits.max(axis=-1, keepdims=True)))
    sums = weights.sum(axis=-1, keepdims=True)
    mixed = jnp.matmul(weights.astype(values.dtype), values, preferred_element_type=jnp.float32)
    return (mixed / sums).astype(values.dtype).reshape(b, h, m, c).transpose(0, 2, 1, 3)


def perceptron(x: jax.Array, prefix: str, encoder: Encoder, dtype: Any) -> jax.Array:
    """Runs a perceptron of one hidden layer on tokens [b, n, d]; called as `attention` is."""
    activation = ACTIVATIONS[encoder.activation]
    up = nn.Dense(encoder.hidden, dtype=dtype, name=f"{prefix}up")(x)
    if encoder.gated:
        gate = nn.Dense(encoder.hidden, dtype=dtype, name=f"{prefix}gate")(x)
        hidden = activation(gate) * up
    else:
        hidden = activation(up)
    return nn.Dense(encoder.width, dtype=dtype, name=f"{prefix}down")(hidden)


def _scaled(x: jax.Array, name: str, encoder: Encoder) -> jax.Array:
    if not encoder.layer_scale:
        return x
    scale = Learned("scale", (encoder.width,), nn.initializers.ones, name=name)()
    return x * along_last_axis(scale.astype(x.dtype), x)
