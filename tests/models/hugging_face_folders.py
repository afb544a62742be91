"""Folders of tiny vision transformers as the Hugging Face hub has them, made without transformers.

Every tensor is drawn by NumPy from its name, so that what transformers computes of such a folder can be
written down: `python -m tests.models.transformers_values` prints it.
"""

import json
import zlib

import numpy as np
import pytest
from safetensors.numpy import save_file

WIDTH, HIDDEN, DEPTH, HEADS, PATCH, GRID = 16, 24, 2, 4, 8, 3
TEXT_WIDTH, TEXT_HIDDEN, WORDS, LENGTH, PROJECTED = 8, 12, 40, 12, 10
SIZE = PATCH * GRID
SHAPE = {
    "hidden_size": WIDTH, "num_hidden_layers": DEPTH, "num_attention_heads": HEADS,
    "image_size": SIZE, "patch_size": PATCH,
}  # fmt: skip
TEXT = {
    "hidden_size": TEXT_WIDTH, "intermediate_size": TEXT_HIDDEN, "num_hidden_layers": DEPTH,
    "num_attention_heads": 2, "vocab_size": WORDS, "max_position_embeddings": LENGTH,
}  # fmt: skip
CONFIGS = {
    "siglip": {
        "model_type": "siglip",
        "vision_config": SHAPE | {"intermediate_size": HIDDEN},
        "text_config": TEXT | {"projection_size": WIDTH},
    },
    "clip": {
        "model_type": "clip",
        "projection_dim": PROJECTED,
        "vision_config": SHAPE | {"intermediate_size": HIDDEN},
        "text_config": TEXT | {"eos_token_id": 3, "bos_token_id": 1, "pad_token_id": 3},
    },
    "dinov2": {"model_type": "dinov2", **SHAPE, "mlp_ratio": 2},
    "dinov2_gated": {"model_type": "dinov2", **SHAPE, "mlp_ratio": 2, "use_swiglu_ffn": True},
}


def _layer(name, inputs, outputs):
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name, width):
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _clip_blocks(prefix, width, hidden):
    shapes = {}
    for i in range(DEPTH):
        block = f"{prefix}encoder.layers.{i}."
        shapes |= _norm(f"{block}layer_norm1", width) | _norm(f"{block}layer_norm2", width)
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= _layer(f"{block}self_attn.{part}", width, width)
        shapes |= _layer(f"{block}mlp.fc1", width, hidden) | _layer(
            f"{block}mlp.fc2", hidden, width
        )
    return shapes


def _text(projection):
    prefix = "text_model."
    return {
        f"{prefix}embeddings.token_embedding.weight": (WORDS, TEXT_WIDTH),
        f"{prefix}embeddings.position_embedding.weight": (LENGTH, TEXT_WIDTH),
        **_clip_blocks(prefix, TEXT_WIDTH, TEXT_HIDDEN),
        **_norm(f"{prefix}final_layer_norm", TEXT_WIDTH),
        **projection,
        "logit_scale": (),
    }


def _siglip():
    prefix, head = "vision_model.", "vision_model.head."
    return {
        f"{prefix}embeddings.patch_embedding.weight": (WIDTH, 3, PATCH, PATCH),
        f"{prefix}embeddings.patch_embedding.bias": (WIDTH,),
        f"{prefix}embeddings.position_embedding.weight": (GRID**2, WIDTH),
        **_clip_blocks(prefix, WIDTH, HIDDEN),
        **_norm(f"{prefix}post_layernorm", WIDTH),
        f"{head}probe": (1, 1, WIDTH),
        f"{head}attention.in_proj_weight": (3 * WIDTH, WIDTH),
        f"{head}attention.in_proj_bias": (3 * WIDTH,),
        **_layer(f"{head}attention.out_proj", WIDTH, WIDTH),
        **_norm(f"{head}layernorm", WIDTH),
        **_layer(f"{head}mlp.fc1", WIDTH, HIDDEN),
        **_layer(f"{head}mlp.fc2", HIDDEN, WIDTH),
        **_text(_layer("text_model.head", TEXT_WIDTH, WIDTH)),
        "logit_scale": (1,),
        "logit_bias": (1,),
    }


def _clip():
    prefix = "vision_model."
    return {
        f"{prefix}embeddings.class_embedding": (WIDTH,),
        f"{prefix}embeddings.patch_embedding.weight": (WIDTH, 3, PATCH, PATCH),
        f"{prefix}embeddings.position_embedding.weight": (GRID**2 + 1, WIDTH),
        **_norm(f"{prefix}pre_layrnorm", WIDTH),
        **_clip_blocks(prefix, WIDTH, HIDDEN),
        **_norm(f"{prefix}post_layernorm", WIDTH),
        "visual_projection.weight": (PROJECTED, WIDTH),
        **_text({"text_projection.weight": (PROJECTED, TEXT_WIDTH)}),
    }


def _dinov2(*, gated):
    shapes = {
        "embeddings.cls_token": (1, 1, WIDTH),
        "embeddings.mask_token": (1, WIDTH),
        "embeddings.patch_embeddings.projection.weight": (WIDTH, 3, PATCH, PATCH),
        "embeddings.patch_embeddings.projection.bias": (WIDTH,),
        "embeddings.position_embeddings": (1, GRID**2 + 1, WIDTH),
        **_norm("layernorm", WIDTH),
    }
    for i in range(DEPTH):
        block = f"encoder.layer.{i}."
        shapes |= _norm(f"{block}norm1", WIDTH) | _norm(f"{block}norm2", WIDTH)
        for part in ("query", "key", "value"):
            shapes |= _layer(f"{block}attention.attention.{part}", WIDTH, WIDTH)
        shapes |= _layer(f"{block}attention.output.dense", WIDTH, WIDTH)
        shapes |= {f"{block}layer_scale{j}.lambda1": (WIDTH,) for j in (1, 2)}
        if gated:  # two thirds of twice the width, up to a multiple of 8
            shapes |= _layer(f"{block}mlp.weights_in", WIDTH, 2 * 24)
            shapes |= _layer(f"{block}mlp.weights_out", 24, WIDTH)
        else:
            shapes |= _layer(f"{block}mlp.fc1", WIDTH, 2 * WIDTH)
            shapes |= _layer(f"{block}mlp.fc2", 2 * WIDTH, WIDTH)
    return shapes


SHAPES = {
    "siglip": _siglip(),
    "clip": _clip(),
    "dinov2": _dinov2(gated=False),
    "dinov2_gated": _dinov2(gated=True),
}


def drawn(name, shape):
    """A tensor drawn from its own name: normal, of a size that keeps signals alive."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    around = 1.0 if ("norm" in name and name.endswith("weight")) or "lambda" in name else 0.0
    deviation = 0.3 if len(shape) < 2 else 1.2 / np.sqrt(np.prod(shape[1:]))
    return np.asarray(rng.normal(around, deviation, shape), np.float32)


def tensors_of(kind):
    return {name: drawn(name, shape) for name, shape in SHAPES[kind].items()}


def write_folder(folder, kind, *, config=None, tensors=None, dtype=np.float32, extra=None):
    """Writes a folder; `extra` holds more JSON files by name."""
    folder.mkdir(exist_ok=True)
    files = {"config.json": CONFIGS[kind] | (config or {})} | (extra or {})
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    tensors = tensors_of(kind) if tensors is None else tensors
    cast = {name: array.astype(dtype) for name, array in tensors.items()}
    save_file(cast, folder / "model.safetensors")
    return folder


PIECES = ("<pad>", "</s>", "<unk>", "▁a", "▁cat", "s", "▁hat", "▁", "c", "a", "t", "h", ".")
SPECIAL = {"eos_token": "</s>", "pad_token": {"content": "<pad>"}, "bos_token": "<unk>"}


def speaking_folder(folder, kind):
    """Writes a folder with a tokenizer of SigLIP's kind: pieces of words, the longer the better."""
    reason = "needs the package tokenizers: pip install tokenizers"
    tokenizers = pytest.importorskip("tokenizers", reason=reason)
    pieces = [(piece, -1.0 / len(piece)) for piece in PIECES]
    tokenizer = tokenizers.Tokenizer(tokenizers.models.Unigram(pieces, unk_id=2))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    write_folder(folder, kind, extra={"tokenizer_config.json": SPECIAL})
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def pixels(size):
    """Two preprocessed pictures [2, h, w, 3]."""
    rng = np.random.default_rng(size[0] * 1000 + size[1])
    return np.float32(rng.normal(0, 1, (2, *size, 3)))


# Token ids: 3 ends a text, and is its padding too; 39 is the largest.
IDS = np.array(
    [
        [1, 5, 9, 20, 3, 3, 3, 3, 3, 3, 3, 3],
        [1, 8, 30, 3, 39, 3, 3, 3, 3, 3, 3, 3],
    ],
    np.int32,
)
