"""Rows of EfficientNet-Lite0: a forward pass, and a step of training."""

import functools
import math
from collections.abc import Iterator

import jax.numpy as jnp

from dsf_jax.models.efficientnet_lite import LITE0
from dsf_jax.models.model import Model, ModelConfig, init_model
from launch.benchmarks.network import CLASSES, SEED, forward_work, step_work
from launch.benchmarks.torch_network import TorchLite
from launch.benchmarks.work import Setting, Work


@functools.cache
def start_model() -> Model:
    """The network that is timed, with random values; its classifier alone counts as fresh."""
    return init_model(ModelConfig(LITE0.name, CLASSES, LITE0.size, (LITE0.classifier,)), SEED)


def lite0_flops(model: Model, batch_size: int) -> dict[str, float]:
    """Counts multiplications and additions of each layer: at each place of its maps, all of its kernel.

    Args:
      model: the network.
      batch_size: b.

    Returns:
      {layer: operations}.
    """
    maps = {name: shape[:-1] for name, shape in model.activation_shapes().items()}

    def places(layer: str) -> int:
        block, _, part = layer.partition("_")
        if part == "expand":  # on the maps of the block before
            block = f"block{int(block.removeprefix('block')) - 1}"
        whole = {model.backbone.classifier: "logits"}.get(layer, layer)
        return math.prod(maps[whole if whole in maps else block])

    return {
        layer: 2.0 * batch_size * places(layer) * math.prod(values["kernel"].shape)
        for layer, values in model.params.items()
    }


def lite0_forward(setting: Setting) -> Iterator[Work]:
    """EfficientNet-Lite0's logits of a batch, without dropout."""
    model = start_model().replace(dtype=jnp.dtype(setting.dtype))
    flops = lite0_flops(model, setting.batch_size)
    yield forward_work("lite0_forward", model, flops, setting, TorchLite)


def lite0_train_step(setting: Setting) -> Iterator[Work]:
    """One step of training all layers of EfficientNet-Lite0; ours makes random views as well."""
    model = start_model().replace(dtype=jnp.dtype(setting.dtype))
    flops = lite0_flops(model, setting.batch_size)
    yield step_work("lite0_train_step", model, flops, setting, TorchLite)
