"""The text towers of CLIP and SigLIP: token ids -> features in the space of their image towers'."""

import dataclasses
from typing import Any, Literal

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dsf_jax.models.backbone import Params
from dsf_jax.models.kernels import l2_normalise
from dsf_jax.models.transformer import Encoder, Learned, block_name, encoder_block, layer_norm
from dsf_jax.models.transformer_port import (
    CLIP_BLOCK,
    PROJECTION,
    Origin,
    belongs,
    block_origins,
    ported_params,
)
from dsf_jax.models.weight_files.hugging_face import HuggingFaceFolder

TEXT = "text_model."  # before the names of its tensors
# What configurations of OpenAI's networks call the end token's id, which is the largest there is.
WRONG_END = 2
_SIGLIP_DEFAULTS: dict[str, Any] = {
    "vocab_size": 32000, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
    "num_attention_heads": 12, "max_position_embeddings": 64, "hidden_act": "gelu_pytorch_tanh",
    "layer_norm_eps": 1e-6, "projection_size": None,
}  # fmt: skip
_CLIP_DEFAULTS: dict[str, Any] = {
    "vocab_size": 49408, "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12,
    "num_attention_heads": 8, "max_position_embeddings": 77, "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5, "eos_token_id": 49407,
}  # fmt: skip
# Tensors of a folder that belong to its image tower or its loss.
_OTHERS = ("vision_model.", "visual_projection.", "logit_scale", "logit_bias")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextTower(Encoder):
    """The configuration of a text tower.

    Attributes:
      vocabulary: number of tokens that there are.
      length: number of tokens of the longest text.
      causal: whether a token attends to itself and earlier ones only.
      pooling: the token that stands for the text: the last one, padding or not; the first of the largest
        id; or the first with id `end`.
      end: id of the end token.
      features: dimensions of a feature.
      projection_bias: whether the projection to them has a bias.
    """

    vocabulary: int
    length: int
    causal: bool
    pooling: Literal["last", "largest", "end"]
    end: int
    features: int
    projection_bias: bool


class _Network(nn.Module):
    """A text tower: [b, t] int32 -> [b, d]."""

    tower: TextTower
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, ids: jax.Array) -> jax.Array:
        tower, normal = self.tower, nn.initializers.normal(0.02)
        words = Learned("embedding", (tower.vocabulary, tower.width), normal, name="tokens")()
        places = Learned("embedding", (tower.length, tower.width), normal, name="positions")()
        x = words.astype(self.dtype)[ids] + places.astype(self.dtype)[None, : ids.shape[1]]
        for number in range(tower.depth):
            x = encoder_block(x, block_name(number), tower, self.dtype, causal=tower.causal)
        x = layer_norm(x, "final_norm", tower, self.dtype)
        place = _pooled_place(ids, tower)
        x = jnp.take_along_axis(x, place[:, None, None], axis=1)[:, 0]
        projection = nn.Dense(
            tower.features, use_bias=tower.projection_bias, dtype=self.dtype, name="projection"
        )
        return projection(x)


def _pooled_place(ids: jax.Array, tower: TextTower) -> jax.Array:
    """Returns the place of the token that stands for each text, [b] int32."""
    if tower.pooling == "last":
        return jnp.full(len(ids), ids.shape[1] - 1)
    return jnp.argmax(ids if tower.pooling == "largest" else ids == tower.end, axis=1)


class TextEncoder(flax.struct.PyTreeNode):
    """A text tower that is ready to run. Parameters are its leaves; all else is static.

    Attributes:
      params: {layer: {name: array}} float32.
      tower: configuration of the network.
      dtype: type that it computes in.
    """

    params: Params
    tower: TextTower = flax.struct.field(pytree_node=False)
    dtype: Any = flax.struct.field(pytree_node=False, default=jnp.float32)


def embed_tokens(encoder: TextEncoder, ids: np.ndarray) -> jax.Array:
    """Computes features of texts, to be compared with the default features of the image tower.

    Args:
      encoder: text tower.
      ids: [b, t] integers, token ids from `dsf_jax.models.text_tokens`, padded.

    Returns:
      [b, d] float32 of length 1.

    Raises:
      ValueError: for texts of another length than the tower takes, or ids that it does not know.
    """
    ids, tower = np.asarray(ids), encoder.tower
    shortest = tower.length if tower.pooling == "last" else 1
    if ids.ndim != 2 or not shortest <= ids.shape[1] <= tower.length:
        raise ValueError(
            f"token ids are {list(ids.shape)}, expected [b, {tower.length}]; pad each text to "
            f"{tower.length} tokens, as text_tokens does"
        )
    if ids.size and not 0 <= ids.min() <= ids.max() < tower.vocabulary:
        raise ValueError(
            f"token ids go from {ids.min()} to {ids.max()}, expected 0 to {tower.vocabulary - 1}; take "
            "the tokenizer of the same folder"
        )
    return _embed(encoder, jnp.asarray(ids, jnp.int32))


@jax.jit
def _embed(encoder: TextEncoder, ids: jax.Array) -> jax.Array:
    network = _Network(encoder.tower, encoder.dtype)
    features: Any = network.apply({"params": encoder.params}, ids)
    return l2_normalise(features.astype(jnp.float32))


def read_text_encoder(folder: HuggingFaceFolder) -> TextEncoder:
    """Reads the text tower of a folder.

    Args:
      folder: folder of SigLIP, SigLIP 2 of a fixed size, or CLIP.

    Raises:
      ValueError: for another kind of network; for missing, unknown or wrong-shape tensors, all of them
        in one message.
    """
    tower, last = _tower(folder)
    prefix = TEXT
    origins = {
        "tokens": Origin(f"{prefix}embeddings.token_embedding.{{}}"),
        "positions": Origin(f"{prefix}embeddings.position_embedding.{{}}"),
        **block_origins(tower, f"{prefix}encoder.layers.{{}}.", CLIP_BLOCK),
        "final_norm": Origin(f"{prefix}final_layer_norm.{{}}"),
        "projection": last,
    }
    ids = jax.ShapeDtypeStruct((1, tower.length), jnp.int32)
    shapes = jax.eval_shape(_Network(tower).init, jax.random.key(0), ids)["params"]
    params = ported_params(folder, shapes, origins, lambda name: belongs(name, _OTHERS))
    return TextEncoder(jax.device_put(params), tower)


def _tower(folder: HuggingFaceFolder) -> tuple[TextTower, Origin]:
    """Reads the configuration, and where the projection comes from."""
    kind = folder.config.get("model_type")
    if kind == "siglip":
        config = folder.section("text_config", _SIGLIP_DEFAULTS)
        features = config["projection_size"] or config["hidden_size"]
        own = {"causal": False, "pooling": "last", "end": 0, "projection_bias": True}
        return _text_tower(config, features, own), Origin("text_model.head.{}")
    if kind == "clip":
        config = folder.section("text_config", _CLIP_DEFAULTS)
        end = config["eos_token_id"]
        pooling = "largest" if end == WRONG_END else "end"
        own = {"causal": True, "pooling": pooling, "end": end, "projection_bias": False}
        features = folder.completed(folder.config, PROJECTION)["projection_dim"]
        return _text_tower(config, features, own), Origin("text_projection.{}")
    raise ValueError(
        f"{folder.path}: config.json says model_type={kind!r}, and text towers are read of siglip and "
        "clip; give a whole SigLIP or CLIP"
    )


def _text_tower(config: dict[str, Any], features: int, own: dict[str, Any]) -> TextTower:
    return TextTower(
        width=config["hidden_size"],
        depth=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        hidden=config["intermediate_size"],
        activation=config["hidden_act"],
        epsilon=config["layer_norm_eps"],
        vocabulary=config["vocab_size"],
        length=config["max_position_embeddings"],
        features=features,
        **own,
    )
