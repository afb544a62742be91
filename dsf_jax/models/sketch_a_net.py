"""Sketch-a-Net (Yu et al., BMVC 2015), the best rival in the paper's Table 2: made for sketches, trained
from scratch.

A grey picture of 225 x 225 pixels; kernels of 15 x 15 first, since strokes have no texture; no response
normalisation; 3 x 3 pools at stride 2; two fully connected layers of 512 with dropout.

| layer | kernels | stride, padding | output |
|---|---|---|---|
| conv1 | 64 of 15 x 15 | 3, 0 | 71 x 71, pooled 35 x 35 |
| conv2 | 128 of 5 x 5 | 1, 0 | 31 x 31, pooled 15 x 15 |
| conv3, conv4, conv5 | 256 of 3 x 3 | 1, 1 | 15 x 15, after conv5 pooled 7 x 7 |
| fc6, fc7, fc8 | 512 of 7 x 7, 512, classes | | 1 x 1 |

Its .749 in Table 2 is of networks of several scales that see the order of the strokes too, fused; this is
the single network of pixels. What the paper leaves open: kernels start normal with deviation
sqrt(2 / inputs), cut off at two deviations, biases at 0; white paper is 0 and full ink -1.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dsf_jax.models.backbone import INPUT, Backbone, Feature, PixelFormat, Trainable, check_inputs
from dsf_jax.models.kernels import Conv, along_last_axis, convolve_groups, dropout, max_pool

GREY = (0.299, 0.587, 0.114)  # of red, green and blue
CONVOLUTIONS = (
    Conv(64, 15, 3, 0, 1),
    Conv(128, 5, 1, 0, 1),
    Conv(256, 3, 1, 1, 1),
    Conv(256, 3, 1, 1, 1),
    Conv(256, 3, 1, 1, 1),
)
POOLED_BLOCKS = (1, 2, 5)
WIDTH = 512  # of fc6 and fc7
STARTS = {INPUT: 4, "pool5": 4}  # and their numbers of dimensions


class SketchANet(nn.Module):
    """Sketch-a-Net with `num_classes` outputs.

    Attributes:
      num_classes: number k of classes, the width of fc8.
      dropout_rate: probability in [0, 1) of dropping an output of fc6 and fc7.
      dtype: type that is computed in; parameters and logits are float32.
    """

    num_classes: int
    dropout_rate: float = 0.5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, inputs: jax.Array, dropout_keys: jax.Array | None = None, start: str = INPUT
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Runs the network.

        Args:
          inputs: [b, h, w, 3] float32 from `Backbone.preprocess`, or with start="pool5" [b, 7, 7,
            256] pool5 activations.
          dropout_keys: [b] PRNG keys, one per example, when training; None runs without dropout.
          start: `INPUT`, or the name of the activation that `inputs` are.

        Returns:
          Logits [b, k] float32, and the activations by name in order: convN and fcN before their
          ReLU, reluN after it, poolN.
        """
        check_inputs(inputs, start, STARTS)
        activations: dict[str, jax.Array] = {}
        x = inputs
        if start == INPUT:
            grey = along_last_axis(np.array(GREY, np.float32), x)
            x = jnp.sum(x * grey, axis=-1, keepdims=True).astype(self.dtype)
            x = self._convolutions(x, activations)
        x = x.astype(self.dtype).reshape(x.shape[0], -1)
        return self._fully_connected(x, activations, dropout_keys), activations

    def _convolutions(self, x: jax.Array, activations: dict[str, jax.Array]) -> jax.Array:
        for block, conv in enumerate(CONVOLUTIONS, start=1):
            shape = (conv.kernel, conv.kernel, x.shape[-1], conv.features)
            kernel, bias = _Layer(shape, name=f"conv{block}")()
            x = convolve_groups(x, kernel.astype(self.dtype), conv)
            activations[f"conv{block}"] = x = x + along_last_axis(bias.astype(self.dtype), x)
            activations[f"relu{block}"] = x = nn.relu(x)
            if block in POOLED_BLOCKS:
                activations[f"pool{block}"] = x = max_pool(x, ceil=False)
        return x

    def _fully_connected(
        self, x: jax.Array, activations: dict[str, jax.Array], dropout_keys: jax.Array | None
    ) -> jax.Array:
        for layer, width in ((6, WIDTH), (7, WIDTH), (8, self.num_classes)):
            kernel, bias = _Layer((x.shape[-1], width), name=f"fc{layer}")()
            x = jnp.matmul(x, kernel.astype(self.dtype)) + along_last_axis(
                bias.astype(self.dtype), x
            )
            activations[f"fc{layer}"] = x
            if layer == 8:
                break
            activations[f"relu{layer}"] = x = nn.relu(x)
            if dropout_keys is not None and self.dropout_rate > 0.0:
                x = dropout(x, dropout_keys, layer, self.dropout_rate)
        return x.astype(jnp.float32)


class _Layer(nn.Module):
    """Kernel and bias of one layer, under its name."""

    shape: tuple[int, ...]

    @nn.compact
    def __call__(self) -> tuple[jax.Array, jax.Array]:
        kernel = self.param("kernel", nn.initializers.he_normal(), self.shape)
        bias = self.param("bias", nn.initializers.zeros_init(), self.shape[-1:])
        return kernel, bias


_LAYERS = (*(f"conv{block}" for block in range(1, 6)), "fc6", "fc7", "fc8")
_MAPS = ("relu1", "relu2", "relu3", "relu4", "relu5")

SKETCH_A_NET = Backbone(
    name="sketch_a_net",
    title="Sketch-a-Net",
    build=SketchANet,
    pixels=PixelFormat("RGB", 255.0, (1.0, 1.0, 1.0), (1.0, 1.0, 1.0)),
    size=225,
    layers=_LAYERS,
    features={
        "L6": Feature(("relu6",)),
        "L7": Feature(("relu7",)),
        "L6+L7": Feature(("relu6", "relu7")),
        "pool5": Feature(("pool5",)),
    },
    compared_features=("L6", "L7", "L6+L7"),
    default_feature="L6+L7",
    trainable={
        "all": Trainable(_LAYERS, INPUT),
        "fc": Trainable(_LAYERS[5:], "pool5"),
        "last": Trainable(_LAYERS[7:], "pool5"),
    },
    maps=_MAPS,
    explained="relu5",
    measured=(*_MAPS, "relu6", "relu7"),
    inverted=_LAYERS,
)
