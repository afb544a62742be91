"""Networks whose activations NumPy can follow, registered as any other backbone."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from dsf_jax.models.alexnet import CAFFE, TORCHVISION
from dsf_jax.models.backbone import INPUT, Backbone, Feature, Trainable
from dsf_jax.models.backbones import BACKBONES


class Pooled(nn.Module):
    """The pixels themselves, and two maps of them."""

    num_classes: int
    dropout_rate: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs, dropout_keys=None, start=INPUT):
        gain = self.param("gain", nn.initializers.ones, (1,))
        pixels = inputs * gain.reshape(1, 1, 1, 1)
        maps = jnp.concatenate([nn.relu(pixels), 100 * nn.relu(-pixels[..., :1])], axis=-1)
        flat = pixels.mean((1, 2))
        return flat, {"conv1": pixels, "relu1": maps, "fc8": flat}


class OneLayer(nn.Module):
    """One convolution, its positive part, and zeros."""

    num_classes: int
    dropout_rate: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs, dropout_keys=None, start=INPUT):
        x = nn.Conv(6, (3, 3), 2, padding="VALID", name="conv1")(inputs)
        return x.sum((1, 2)), {"conv1": x, "relu1": nn.relu(x), "nothing": 0 * x}


def register(name, build, pixels, size):
    """Registers a network of one layer of which only activations are asked for."""
    BACKBONES[name] = Backbone(
        name=name,
        title=name,
        build=build,
        pixels=pixels,
        size=size,
        layers=("conv1",),
        features={"maps": Feature(("relu1",))},
        compared_features=("maps",),
        default_feature="maps",
        trainable={"all": Trainable(("conv1",), INPUT)},
        maps=("relu1",),
        explained="relu1",
        measured=("relu1",),
        inverted=("conv1",),
        tv_weights=CAFFE.tv_weights,
    )


register("pooled", Pooled, CAFFE.pixels, 4)
register("one layer, caffe", OneLayer, CAFFE.pixels, 12)
register("one layer, torchvision", OneLayer, TORCHVISION.pixels, 12)
