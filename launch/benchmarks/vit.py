"""The row of a vision transformer: a forward pass of SigLIP's base network."""

import dataclasses
import math
from collections.abc import Iterator

import jax.numpy as jnp

from dsf_jax.models.model import Model, ModelConfig, init_model
from dsf_jax.models.vit import ImageTower, architecture_of
from launch.benchmarks.network import CLASSES, SEED, forward_work
from launch.benchmarks.torch_network import TorchVit
from launch.benchmarks.work import Setting, Work

# SigLIP's base network of patches of 16: 92.9 million parameters.
LARGE = ImageTower(
    width=768, depth=12, heads=12, hidden=3072, activation="gelu_pytorch_tanh", epsilon=1e-6, patch=16, grid=14,
    size=224, class_token=False, patch_bias=True, pre_norm=False, pooling="attention", projection=0,
    scale=255.0, mean=(0.5, 0.5, 0.5), deviation=(0.5, 0.5, 0.5),
)  # fmt: skip
ONCE = ("pool_query", "pool_output", "pool_up", "pool_down", "head")  # the others see every patch


def large_network(*, small: bool) -> Model:
    """Makes SigLIP's base network with random values, or one of its kind that takes no time."""
    tower = dataclasses.replace(LARGE, width=24, depth=1, heads=2, hidden=24) if small else LARGE
    architecture = architecture_of(tower)
    return init_model(
        ModelConfig("siglip", CLASSES, tower.size, (), architecture=architecture), SEED
    )


def vit_flops(model: Model, batch_size: int) -> dict[str, float]:
    """Counts multiplications and additions of each layer's product, and of the attention's two.

    Args:
      model: the network, see `large_network`.
      batch_size: b.

    Returns:
      {layer: operations}, and those of the attention by their block's name.
    """
    tower = ImageTower(**dict(model.config.architecture))
    tokens = (model.size // tower.patch) ** 2
    once = 2.0 * batch_size
    layers = {
        layer: once * (1 if layer in ONCE else tokens) * math.prod(values["kernel"].shape)
        for layer, values in model.params.items()
        if "kernel" in values
    }
    products = 2 * once * tokens * tower.width  # with keys and values, a query's
    blocks = {f"block{i}": products * tokens for i in range(1, tower.depth + 1)}
    return layers | blocks | {"pool": products}


def vit_forward(setting: Setting) -> Iterator[Work]:
    """ViT-B/16's logits of a batch, the image tower of SigLIP with a layer of classes."""
    model = large_network(small=setting.small).replace(dtype=jnp.dtype(setting.dtype))
    flops = vit_flops(model, setting.batch_size)
    yield forward_work("vit_forward", model, flops, setting, TorchVit)
