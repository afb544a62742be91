"""Networks small enough for tests, registered as any other backbone; importing this file is enough."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from dsf_jax.models.alexnet import CAFFE
from dsf_jax.models.backbone import INPUT, Backbone, Feature, PixelFormat, Trainable
from dsf_jax.models.backbones import BACKBONES
from dsf_jax.models.kernels import dropout
from dsf_jax.models.model import ModelConfig
from dsf_jax.models.vit import ImageTower, architecture_of


class TinyNet(nn.Module):
    """Three layers with names of AlexNet's, and dropout by key."""

    num_classes: int
    dropout_rate: float = 0.5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs, dropout_keys=None, start=INPUT):
        activations = {}
        x = inputs.astype(self.dtype)
        if start == INPUT:
            x = nn.Conv(4, (7, 7), 4, dtype=self.dtype, name="conv1")((x / 100).astype(self.dtype))
            activations["relu1"] = x = nn.relu(x)
        x = nn.Dense(16, dtype=self.dtype, name="fc7")(x.reshape(x.shape[0], -1))
        activations["relu7"] = x = nn.relu(x)
        if dropout_keys is not None and self.dropout_rate:
            x *= jax.vmap(lambda key: jax.random.bernoulli(key, 0.5, (16,)))(dropout_keys)
        x = nn.Dense(self.num_classes, dtype=self.dtype, name="fc8")(x)
        activations["fc8"] = x = x.astype(jnp.float32)
        return x, activations


class NarrowAlexNet(nn.Module):
    """AlexNet's layers by their names, some channels wide."""

    num_classes: int
    dropout_rate: float = 0.5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs, dropout_keys=None, start=INPUT):
        activations = {}
        x = inputs.astype(self.dtype)
        for block, (side, stride) in enumerate(((11, 4), (5, 1), (3, 1), (3, 1), (3, 1)), start=1):
            if start != INPUT:
                break
            padding = "VALID" if block == 1 else "SAME"
            x = nn.Conv(8, (side, side), stride, padding, dtype=self.dtype, name=f"conv{block}")(x)
            activations[f"conv{block}"] = x
            activations[f"relu{block}"] = x = nn.relu(x)
            if block in (1, 2, 5):
                activations[f"pool{block}"] = x = nn.max_pool(x, (3, 3), (2, 2))
        x = x.reshape(x.shape[0], -1)
        for layer, width in ((6, 32), (7, 32), (8, self.num_classes)):
            if layer > 6 and dropout_keys is not None and self.dropout_rate:
                x = dropout(x, dropout_keys, layer, self.dropout_rate)
            x = nn.Dense(width, dtype=self.dtype, name=f"fc{layer}")(x)
            activations[f"fc{layer}"] = x
            if layer < 8:
                activations[f"relu{layer}"] = x = nn.relu(x)
        return x.astype(jnp.float32), activations


class TwoLayers(nn.Module):
    """One convolution and one layer of classes, with names that no other network has."""

    num_classes: int
    dropout_rate: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs, dropout_keys=None, start=INPUT):
        activations = {}
        x = inputs
        if start == INPUT:
            x = nn.Conv(8, (9, 9), 8, dtype=self.dtype, name="eye")(inputs)
            activations["seen"] = x = nn.relu(x)
        activations["mean"] = x = x.mean(axis=(1, 2))
        x = nn.Dense(self.num_classes, dtype=self.dtype, name="name")(x)
        activations["named"] = x = x.astype(jnp.float32)
        return x, activations


TINY = Backbone(
    name="tiny",
    title="a tiny network",
    build=TinyNet,
    pixels=CAFFE.pixels,
    size=35,
    layers=("conv1", "fc7", "fc8"),
    features={"L7": Feature(("relu7",)), "L1": Feature(("relu1",))},
    compared_features=("L7",),
    default_feature="L7",
    trainable={
        "all": Trainable(("conv1", "fc7", "fc8"), INPUT),
        "fc": Trainable(("fc7", "fc8"), "relu1"),
        "last": Trainable(("fc8",), "relu1"),
    },
    maps=("relu1",),
    explained="relu1",
    measured=("relu1", "relu7"),
    inverted=("relu1", "fc8"),
)
NARROW = dataclasses.replace(
    CAFFE,
    name="narrow",
    title="a narrow AlexNet",
    build=NarrowAlexNet,
    size=67,
    weight_names={},
    flattened={},
    torch_names={},
    caffe_network=None,
)
TWO_LAYERS = Backbone(
    name="two_layers",
    title="a network of two layers",
    build=TwoLayers,
    pixels=PixelFormat("RGB", 127.5, (1.0, 1.0, 1.0), (1.0, 1.0, 1.0)),
    size=64,
    layers=("eye", "name"),
    features={"mean": Feature(("mean",)), "seen": Feature(("seen",))},
    compared_features=("mean", "seen"),
    default_feature="mean",
    trainable={
        "all": Trainable(("eye", "name"), INPUT),
        "name": Trainable(("name",), "seen"),
    },
    maps=("seen",),
    explained="seen",
    measured=("seen", "mean"),
    inverted=("seen",),
)
BACKBONES |= {backbone.name: backbone for backbone in (TINY, NARROW, TWO_LAYERS)}
# A family's configuration needs no registration.
TOWER = ImageTower(
    width=8, depth=1, heads=2, hidden=8, activation="gelu", epsilon=1e-6, patch=4, grid=3, size=12,
    class_token=True, patch_bias=True, pre_norm=True, pooling="class_token", projection=5,
    scale=255.0, mean=(0.5, 0.5, 0.5), deviation=(0.5, 0.5, 0.5),
)  # fmt: skip
TINY_CLIP = ModelConfig("clip", ("a", "b"), 12, (), architecture=architecture_of(TOWER))
