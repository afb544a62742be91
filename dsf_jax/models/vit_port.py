"""A Hugging Face folder -> the image tower of SigLIP, CLIP or DINOv2 as a model."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from dsf_jax.images.views import PHOTO_SIZE
from dsf_jax.models.model import Model, ModelConfig, init_layer, init_model
from dsf_jax.models.transformer_port import (
    CLIP_BLOCK,
    PROJECTION,
    Origin,
    belongs,
    block_origins,
    ported_params,
)
from dsf_jax.models.vit import HEAD, ImageTower, architecture_of
from dsf_jax.models.weight_files.hugging_face import LARGEST, HuggingFaceFolder
from dsf_jax.models.weights_port import PortReport

# A model without classes: not every layer can be drawn for none.
NO_CLASSES = ("",)
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CLIP_PIXELS = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_PREPARATION: dict[str, Any] = {
    "do_center_crop": True, "do_rescale": True, "do_normalize": True, "rescale_factor": 1 / 255,
}  # fmt: skip
_SIDES = ("image_size", "patch_size")  # may be pairs: `_side` reads them
# What transformers takes where config.json leaves a value out, as it does where it is this one.
_SIGLIP_DEFAULTS: dict[str, Any] = {
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
    "num_attention_heads": 12, "num_channels": 3, "image_size": 224, "patch_size": 16,
    "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6, "vision_use_head": True,
}  # fmt: skip
_CLIP_DEFAULTS: dict[str, Any] = {
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
    "num_attention_heads": 12, "num_channels": 3, "image_size": 224, "patch_size": 32,
    "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5, **PROJECTION,
}  # fmt: skip
_DINOV2_DEFAULTS: dict[str, Any] = {
    "hidden_size": 768, "mlp_ratio": 4.0, "num_hidden_layers": 12, "num_attention_heads": 12,
    "num_channels": 3, "image_size": 224, "patch_size": 14, "hidden_act": "gelu",
    "layer_norm_eps": 1e-6, "qkv_bias": True, "use_swiglu_ffn": False,
}  # fmt: skip
_DINOV2_BLOCK: dict[str, str | Origin] = {
    "norm1": "norm1.{}",
    "query": "attention.attention.query.{}",
    "key": "attention.attention.key.{}",
    "value": "attention.attention.value.{}",
    "output": "attention.output.dense.{}",
    "scale1": "layer_scale1.lambda1",
    "norm2": "norm2.{}",
    "scale2": "layer_scale2.lambda1",
}
_DINOV2_MLP: dict[str, str | Origin] = {"up": "mlp.fc1.{}", "down": "mlp.fc2.{}"}
_DINOV2_GATED: dict[str, str | Origin] = {
    "gate": Origin("mlp.weights_in.{}", 0, 2),
    "up": Origin("mlp.weights_in.{}", 1, 2),
    "down": "mlp.weights_out.{}",
}
# Tensors of a folder that belong to its other tower, its loss or its own classes.
_OTHERS = ("text_model.", "text_projection.", "logit_scale", "logit_bias", "classifier.")


class _Family(NamedTuple):
    """How a family of folders is read."""

    name: str
    tower: Callable[[HuggingFaceFolder], ImageTower]
    origins: Callable[[ImageTower, str], dict[str, Origin]]
    prefix: str  # of its tensors, where the image tower is part of a larger network


def ported_folder(folder: HuggingFaceFolder, *, seed: int) -> tuple[Model, PortReport]:
    """Makes a model of a folder's image tower; its layer of classes is random, for one nameless class.

    Args:
      folder: folder of SigLIP, SigLIP 2 of a fixed size, CLIP or DINOv2.
      seed: seed of the random values.

    Returns:
      The model, with NumPy arrays where loaded, and the report of what was.

    Raises:
      ValueError: for another kind of network; for missing, unknown or wrong-shape tensors, all of them
        in one message.
    """
    family = _family(folder)
    tower = family.tower(folder)
    config = ModelConfig(
        family.name, NO_CLASSES, tower.size, (HEAD,), architecture=architecture_of(tower)
    )
    shapes = jax.eval_shape(lambda: init_model(config, seed)).params
    prefixed = any(name.startswith(family.prefix) for name in folder.tensors)
    prefix = family.prefix if prefixed else ""
    origins = family.origins(tower, prefix)
    others = (*_OTHERS, f"{prefix}embeddings.mask_token")
    loaded = {layer: leaves for layer, leaves in shapes.items() if layer != HEAD}
    params = ported_params(folder, loaded, origins, lambda name: belongs(name, others))
    head = init_layer(config, HEAD, seed)
    report = PortReport(
        folder.path, family.name, _parts(origins, tower), {HEAD: "not in the folder"}
    )
    return Model(params | {HEAD: head}, config), report


def image_tower(folder: HuggingFaceFolder) -> ImageTower:
    """Reads the configuration of a folder's image tower; ValueError for another kind of network."""
    return _family(folder).tower(folder)


def _parts(origins: Mapping[str, Origin], tower: ImageTower) -> dict[str, str]:
    """Sums up where layers come from, one line per block, and what becomes of the positions."""
    parts: dict[str, str] = {}
    for layer, origin in origins.items():
        block, _, rest = layer.partition("_")
        whole = block.startswith("block") and rest
        path = origin.name.removesuffix(".{}").removesuffix("_{}")
        parts[block if whole else layer] = ".".join(path.split(".")[:-2]) if whole else path
    side = tower.size // tower.patch
    if side != tower.grid:
        learned = f"{tower.grid} x {tower.grid}"
        parts["positions"] += f", of {learned} patches, interpolated for {side} x {side}"
    return parts


def _family(folder: HuggingFaceFolder) -> _Family:
    kind = folder.config.get("model_type")
    if kind == "siglip2":
        raise ValueError(
            f"{folder.path}: is a SigLIP 2 of flexible size (NaFlex), which is not read; give one of a "
            "fixed size, such as google/siglip2-base-patch16-224"
        )
    if kind not in _FAMILIES:
        raise ValueError(
            f"{folder.path}: config.json says model_type={kind!r}, which is not read; choose one of "
            f"{', '.join(_FAMILIES)}"
        )
    return _FAMILIES[kind]


def _siglip(folder: HuggingFaceFolder) -> ImageTower:
    config = folder.section("vision_config", _SIGLIP_DEFAULTS, loose=_SIDES)
    if not config["vision_use_head"]:
        raise ValueError(
            f"{folder.path}: has no attention head (vision_use_head is false), which the feature is of; "
            "give a whole SigLIP"
        )
    return ImageTower(
        hidden=config["intermediate_size"],
        class_token=False,
        patch_bias=True,
        pre_norm=False,
        pooling="attention",
        projection=0,
        **_common(folder, config, _HALF),
    )


def _clip(folder: HuggingFaceFolder) -> ImageTower:
    config = folder.section("vision_config", _CLIP_DEFAULTS, loose=_SIDES)
    whole = folder.config.get("model_type") == "clip"
    own = folder.completed(folder.config, PROJECTION) if whole else config
    projected = "visual_projection.weight" in folder.tensors or whole
    return ImageTower(
        hidden=config["intermediate_size"],
        class_token=True,
        patch_bias=False,
        pre_norm=True,
        pooling="class_token",
        projection=own["projection_dim"] if projected else 0,
        **_common(folder, config, _CLIP_PIXELS),
    )


def _dinov2(folder: HuggingFaceFolder) -> ImageTower:
    config = folder.completed(folder.config, _DINOV2_DEFAULTS, loose=_SIDES)
    hidden = int(config["hidden_size"] * config["mlp_ratio"])
    gated = config["use_swiglu_ffn"]
    if gated:
        hidden = (hidden * 2 // 3 + 7) // 8 * 8
        config["hidden_act"] = "silu"
    return ImageTower(
        hidden=hidden,
        gated=gated,
        attention_bias=config["qkv_bias"],
        layer_scale=True,
        class_token=True,
        patch_bias=True,
        pre_norm=False,
        pooling="class_token",
        projection=0,
        **_common(folder, config, _IMAGENET),
    )


def _common(
    folder: HuggingFaceFolder, config: Mapping[str, Any], pixels: tuple[Any, Any]
) -> dict[str, Any]:
    """Reads what all families' configurations have, and how pictures are prepared."""
    if config["num_channels"] != 3:
        raise ValueError(
            f"{folder.path}: takes {config['num_channels']} channels, and pictures have 3; give a "
            "network of colour pictures"
        )
    image, patch = (_side(folder, config[name], name) for name in ("image_size", "patch_size"))
    return {
        "width": config["hidden_size"],
        "depth": config["num_hidden_layers"],
        "heads": config["num_attention_heads"],
        "activation": config["hidden_act"],
        "epsilon": config["layer_norm_eps"],
        "patch": patch,
        "grid": image // patch,
        **_prepared(folder, pixels, image, patch),
    }


def _prepared(
    folder: HuggingFaceFolder, pixels: tuple[Any, Any], image: int, patch: int
) -> dict[str, Any]:
    """Reads how pictures become the input: as the folder says, or as its family does; they are no larger
    than photos are, and then hold whole patches.
    """
    usual = dict(zip(("image_mean", "image_std"), pixels, strict=True)) | _PREPARATION
    own = folder.completed(folder.preprocessing, usual)
    mean, deviation = (_of_channels(own[name]) for name in ("image_mean", "image_std"))
    if not own["do_normalize"]:
        mean, deviation = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    scale = 1 / own["rescale_factor"] if own["do_rescale"] else 1.0
    name = "crop_size" if own["do_center_crop"] and "crop_size" in own else "size"
    size = _side(folder, own.get(name) or image, name)
    return {
        "size": size if size <= PHOTO_SIZE else PHOTO_SIZE // patch * patch,
        "scale": round(scale, 6),
        "mean": mean,
        "deviation": deviation,
    }


def _side(folder: HuggingFaceFolder, value: Any, name: str) -> int:
    """Reads h = w: a number, two equal ones, or {"height", "width"} or {"shortest_edge"}."""
    numbers = list(value.values()) if isinstance(value, Mapping) else value
    sides = numbers if isinstance(numbers, list) else [numbers]
    if not sides or not all(
        isinstance(side, int) and 0 < side < LARGEST and side == sides[0] for side in sides
    ):
        raise ValueError(
            f"{folder.path}: {name} is {value}, expected one side of a square; give a network of square "
            "pictures"
        )
    return int(sides[0])


def _of_channels(value: Any) -> tuple[float, ...]:
    """Reads three numbers, or one for all."""
    return tuple(map(float, value if isinstance(value, list | tuple) else [value] * 3))


def _siglip_origins(tower: ImageTower, prefix: str) -> dict[str, Origin]:
    joined = f"{prefix}head.attention.in_proj_{{}}"
    return {
        "patches": Origin(f"{prefix}embeddings.patch_embedding.{{}}"),
        "positions": Origin(f"{prefix}embeddings.position_embedding.{{}}"),
        **block_origins(tower, f"{prefix}encoder.layers.{{}}.", CLIP_BLOCK),
        "final_norm": Origin(f"{prefix}post_layernorm.{{}}"),
        "pool_probe": Origin(f"{prefix}head.probe"),
        "pool_query": Origin(joined, 0, 3),
        "pool_key": Origin(joined, 1, 3),
        "pool_value": Origin(joined, 2, 3),
        "pool_output": Origin(f"{prefix}head.attention.out_proj.{{}}"),
        "pool_norm": Origin(f"{prefix}head.layernorm.{{}}"),
        "pool_up": Origin(f"{prefix}head.mlp.fc1.{{}}"),
        "pool_down": Origin(f"{prefix}head.mlp.fc2.{{}}"),
    }


def _clip_origins(tower: ImageTower, prefix: str) -> dict[str, Origin]:
    projection = {"projection": Origin("visual_projection.{}")} if tower.projection else {}
    return {
        "patches": Origin(f"{prefix}embeddings.patch_embedding.{{}}"),
        "class_token": Origin(f"{prefix}embeddings.class_embedding"),
        "positions": Origin(f"{prefix}embeddings.position_embedding.{{}}"),
        "pre_norm": Origin(f"{prefix}pre_layrnorm.{{}}"),
        **block_origins(tower, f"{prefix}encoder.layers.{{}}.", CLIP_BLOCK),
        "final_norm": Origin(f"{prefix}post_layernorm.{{}}"),
        **projection,
    }


def _dinov2_origins(tower: ImageTower, prefix: str) -> dict[str, Origin]:
    block = _DINOV2_BLOCK | (_DINOV2_GATED if tower.gated else _DINOV2_MLP)
    return {
        "patches": Origin(f"{prefix}embeddings.patch_embeddings.projection.{{}}"),
        "class_token": Origin(f"{prefix}embeddings.cls_token"),
        "positions": Origin(f"{prefix}embeddings.position_embeddings"),
        **block_origins(tower, f"{prefix}encoder.layer.{{}}.", block),
        "final_norm": Origin(f"{prefix}layernorm.{{}}"),
    }


# By config.json's model_type.
_FAMILIES = {
    "siglip": _Family("siglip", _siglip, _siglip_origins, "vision_model."),
    "siglip_vision_model": _Family("siglip", _siglip, _siglip_origins, "vision_model."),
    "clip": _Family("clip", _clip, _clip_origins, "vision_model."),
    "clip_vision_model": _Family("clip", _clip, _clip_origins, "vision_model."),
    "dinov2": _Family("dinov2", _dinov2, _dinov2_origins, "dinov2."),
}
