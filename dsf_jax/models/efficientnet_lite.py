"""EfficientNet-Lite 0, 1 and 2, returning the output of every block by name.

The published networks normalise by batch statistics after each convolution. Here these are folded
into kernel and bias: a layer is kernel and bias, as in AlexNet, and all of it learns. Kept apart, mean
and variance would be leaves that no gradient step may move (BUILD_NOTES.md, "EfficientNet-Lite").
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Initializer

from dsf_jax.models.backbone import INPUT, Backbone, Feature, PixelFormat, Trainable, check_inputs
from dsf_jax.models.depthwise import depthwise
from dsf_jax.models.kernels import along_last_axis, by_platform, dropout, l2_normalise
from dsf_jax.models.products import product
from dsf_jax.models.windows import patches

Variant = Literal["efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2"]

STEM, HEAD = 32, 1280  # channels, of all variants
MULTIPLE = 8  # of which all widths are
DROPOUT = 1  # number of the only layer that drops inputs
POOLED, POOLS = "pooled", "pools"


class Scaling(NamedTuple):
    """What tells the networks apart.

    Attributes:
      width: factor on the channels of each stage.
      depth: factor on the blocks of each stage but the first and the last.
      size: h = w of the input that the network was trained with.
    """

    width: float
    depth: float
    size: int


class Stage(NamedTuple):
    """Blocks of one width, before scaling; the first of them has the stride."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


class Block(NamedTuple):
    """One block: a 1 x 1 convolution to `expansion` times its channels, a depthwise one, and a 1 x 1
    convolution back, without ReLU.
    """

    inputs: int
    outputs: int
    kernel: int
    stride: int
    expansion: int


SCALINGS: dict[Variant, Scaling] = {
    "efficientnet-lite0": Scaling(1.0, 1.0, 224),
    "efficientnet-lite1": Scaling(1.0, 1.1, 240),
    "efficientnet-lite2": Scaling(1.1, 1.2, 260),
}
STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


def _scaled_width(channels: int, factor: float) -> int:
    """Rounds to a multiple of 8, and up where the nearest one is less than nine tenths."""
    wanted = channels * factor
    nearest = max(MULTIPLE, int(wanted + MULTIPLE / 2) // MULTIPLE * MULTIPLE)
    return nearest if nearest >= 0.9 * wanted else nearest + MULTIPLE


def _scaled_stages(scaling: Scaling) -> list[Stage]:
    inner = range(1, len(STAGES) - 1)
    return [
        stage._replace(
            blocks=math.ceil(stage.blocks * scaling.depth) if i in inner else stage.blocks,
            channels=_scaled_width(stage.channels, scaling.width),
        )
        for i, stage in enumerate(STAGES)
    ]


def blocks_of(variant: Variant) -> tuple[Block, ...]:
    """Returns the blocks of a network, in order."""
    blocks: list[Block] = []
    inputs = STEM
    for stage in _scaled_stages(SCALINGS[variant]):
        for i in range(stage.blocks):
            stride = 1 if i else stage.stride
            blocks.append(Block(inputs, stage.channels, stage.kernel, stride, stage.expansion))
            inputs = stage.channels
    return tuple(blocks)


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite with `num_classes` outputs.

    Attributes:
      num_classes: number k of classes.
      variant: a name in `SCALINGS`.
      joined: whether the classifier reads two means over the map, each brought to length 1: of an
        earlier block and of the last maps. Without, it reads the latter alone, as it is.
      dropout_rate: probability in [0, 1) of dropping an input of the classifier.
      dtype: type that is computed in; parameters and logits are float32.
    """

    num_classes: int
    variant: Variant = "efficientnet-lite0"
    joined: bool = False
    dropout_rate: float = 0.2
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, inputs: jax.Array, dropout_keys: jax.Array | None = None, start: str = INPUT
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Runs the network.

        Args:
          inputs: [b, h, w, 3] float32 from `Backbone.preprocess`, or [b, ...] the activation `start`.
          dropout_keys: [b] PRNG keys, one per example, when training; None runs without dropout.
          start: `INPUT`, or the name of the activation that `inputs` are.

        Returns:
          Logits [b, k] float32, and the activations by name in order: stem, blockN, conv_head
          (the last maps), pooled, pools where they are joined, logits; from `start` on.
        """
        if self.variant not in SCALINGS:
            raise ValueError(
                f"variant={self.variant!r} is unknown; choose one of {', '.join(SCALINGS)}"
            )
        activations: dict[str, jax.Array] = {}
        steps = self._steps(activations)
        names = [INPUT, *steps]
        check_inputs(inputs, start, self._ranks(names))
        x = inputs.astype(self.dtype)
        if start != INPUT:
            activations[start] = x
        for name in names[names.index(start) + 1 :]:
            activations[name] = x = steps[name](x)
        logits = self._classified(x, dropout_keys)
        return logits, activations | {"logits": logits}

    def _ranks(self, names: list[str]) -> dict[str, int]:
        """Returns the dimensions of what it may start from; what follows the earlier of two joined
        blocks does not tell what that one was.
        """
        ranks = {name: 2 if name in (POOLED, POOLS) else 4 for name in names}
        if self.joined:
            first = names.index(joined_block(self.variant)) + 1
            for name in names[first : names.index(POOLS)]:
                del ranks[name]
        return ranks

    def _steps(
        self, activations: dict[str, jax.Array]
    ) -> dict[str, Callable[[jax.Array], jax.Array]]:
        """What computes each activation from the one before; `activations` are filled as it runs."""
        blocks = {
            f"block{i}": functools.partial(self._block, f"block{i}", block)
            for i, block in enumerate(blocks_of(self.variant), start=1)
        }
        steps: dict[str, Callable[[jax.Array], jax.Array]] = {
            "stem": self._stem,
            **blocks,
            "conv_head": lambda x: nn.relu6(self._pointwise("conv_head", x, HEAD, gain=1.0)),
            POOLED: lambda x: x.mean(axis=(1, 2)),
        }
        if self.joined:
            steps[POOLS] = lambda x: _joined(activations[joined_block(self.variant)], x)
        return steps

    def _stem(self, x: jax.Array) -> jax.Array:
        kernel, bias = self._layer("stem", (3, 3, 3, STEM), gain=1.0)
        x = by_platform(x, kernel, cpu=_stem_of_patches, default=_stem_of_windows)
        return nn.relu6(x + along_last_axis(bias, x))

    def _block(self, name: str, block: Block, inputs: jax.Array) -> jax.Array:
        width = block.inputs * block.expansion
        x = inputs
        if block.expansion > 1:
            x = nn.relu6(self._pointwise(f"{name}_expand", x, width, gain=1.0))
        kernel, bias = self._layer(f"{name}_depthwise", (block.kernel, block.kernel, 1, width))
        x = depthwise(x, kernel, stride=block.stride)
        x = nn.relu6(x + along_last_axis(bias, x))
        x = self._pointwise(f"{name}_project", x, block.outputs)
        kept = block.stride == 1 and block.inputs == block.outputs
        return x + inputs if kept else x

    def _pointwise(self, name: str, x: jax.Array, outputs: int, *, gain: float = 2.0) -> jax.Array:
        kernel, bias = self._layer(name, (1, 1, x.shape[-1], outputs), gain)
        x = product(x, kernel[0, 0])
        return x + along_last_axis(bias, x)

    def _classified(self, x: jax.Array, dropout_keys: jax.Array | None) -> jax.Array:
        if dropout_keys is not None and self.dropout_rate > 0.0:
            x = dropout(x, dropout_keys, DROPOUT, self.dropout_rate)
        kernel, bias = self._layer("classifier", (x.shape[-1], self.num_classes), gain=0.1)
        x = jnp.matmul(x, kernel) + along_last_axis(bias, x)
        return x.astype(jnp.float32)

    def _layer(
        self, name: str, shape: tuple[int, ...], gain: float = 2.0
    ) -> tuple[jax.Array, jax.Array]:
        kernel, bias = _Layer(shape, gain, name=name)()
        return kernel.astype(self.dtype), bias.astype(self.dtype)


def _stem_of_windows(x: jax.Array, kernel: jax.Array) -> jax.Array:
    # XLA's SAME is TensorFlow's: it follows from the input's size, odd ones too.
    return jax.lax.conv_general_dilated(
        x, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _stem_of_patches(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """One product of matrices, twice as fast on CPUs as XLA's convolution of three channels."""
    return product(patches(x, kernel.shape[0], 2), kernel.reshape(-1, kernel.shape[-1]))


class _Layer(nn.Module):
    """Kernel and bias of one layer, under its name; gain 2 makes up for a ReLU that its inputs have
    passed.
    """

    shape: tuple[int, ...]
    gain: float

    @nn.compact
    def __call__(self) -> tuple[jax.Array, jax.Array]:
        start: Initializer = nn.initializers.variance_scaling(self.gain, "fan_in", "normal")
        return (
            self.param("kernel", start, self.shape, jnp.float32),
            self.param("bias", nn.initializers.zeros, self.shape[-1:], jnp.float32),
        )


def _layers(variant: Variant) -> tuple[str, ...]:
    """Names the layers with parameters, in order."""
    parts = [
        f"block{i}_{part}"
        for i, block in enumerate(blocks_of(variant), start=1)
        for part in ("expand", "depthwise", "project")
        if part != "expand" or block.expansion > 1
    ]
    return ("stem", *parts, "conv_head", "classifier")


def _joined(maps: jax.Array, pooled: jax.Array) -> jax.Array:
    return jnp.concatenate([l2_normalise(maps.mean(axis=(1, 2))), l2_normalise(pooled)], axis=-1)


def joined_block(variant: Variant) -> str:
    """Names the block that an embedding reads beside the last maps: the last one but one stage's end."""
    return _stage_ends(variant)[-2]


def _stage_ends(variant: Variant) -> list[str]:
    """Names the last block of each stage."""
    counts = itertools.accumulate(stage.blocks for stage in _scaled_stages(SCALINGS[variant]))
    return [f"block{n}" for n in counts]


# A PyTorch state dict has the names of the package efficientnet-lite-pytorch. Its network takes it once
# each batch norm is a torch.nn.Identity(), and each convolution has a bias:
#
# for part in [network, *network._blocks]:
#     for name, layer in list(part.named_children()):
#         if isinstance(layer, torch.nn.BatchNorm2d):
#             setattr(part, name, torch.nn.Identity())
#         elif isinstance(layer, torch.nn.Conv2d):
#             layer.bias = torch.nn.Parameter(torch.zeros(layer.out_channels))
def _torch_name(layer: str) -> str:
    """Names a layer as the published state dicts do; they count blocks from 0."""
    outside = {"stem": "_conv_stem", "conv_head": "_conv_head", "classifier": "_fc"}
    if layer in outside:
        return outside[layer]
    block, part = layer.split("_")
    return f"_blocks.{int(block.removeprefix('block')) - 1}._{part}_conv"


def _trainable(variant: Variant) -> dict[str, Trainable]:
    layers, start = _layers(variant), _stage_ends(variant)[4]
    late = layers[layers.index(f"{start}_project") + 1 :]
    return {
        "all": Trainable(layers, INPUT),
        # From the stage on that halves the maps for the last time: most parameters, a quarter of
        # the work.
        "late": Trainable(late, start),
        "head": Trainable(layers[-1:], POOLED),
    }


def _backbone(variant: Variant) -> Backbone:
    layers, ends = _layers(variant), _stage_ends(variant)
    shown = ("stem", *ends[:-1], "conv_head")
    plain = Backbone(
        name=variant,
        title=variant.replace("efficientnet-lite", "EfficientNet-Lite"),
        build=functools.partial(EfficientNetLite, variant=variant),
        pixels=PixelFormat("RGB", 1.0, (127.0,) * 3, (128.0,) * 3),
        size=SCALINGS[variant].size,
        layers=layers,
        features={POOLED: Feature((POOLED,))},
        compared_features=(POOLED,),
        default_feature=POOLED,
        trainable=_trainable(variant),
        maps=shown,
        explained="conv_head",
        measured=(*shown, POOLED),
        inverted=(*shown, POOLED, "logits"),
        # By resolution, as AlexNet's.
        tv_weights={"stem": 0.4} | dict.fromkeys(ends[:3], 0.4) | dict.fromkeys(ends[3:5], 4.0),
        weight_names={layer: (_torch_name(layer),) for layer in layers},
        torch_names={layer: _torch_name(layer) for layer in layers},
        trained_at_once=16,
        shown_at_once=8,
    )
    return dataclasses.replace(plain, under_embedding=_under_embedding(plain, variant))


def _under_embedding(plain: Backbone, variant: Variant) -> Backbone:
    """Describes the form that has an embedding in place of its classifier: the earlier layer knows more
    of what a drawing and a photo share (BUILD_NOTES.md, "EfficientNet-Lite").
    """
    head = Trainable(plain.trainable["head"].layers, POOLS)
    return dataclasses.replace(
        plain,
        build=functools.partial(EfficientNetLite, variant=variant, joined=True),
        trainable={**plain.trainable, "head": head},
        torch_names={},  # no module there has a classifier of two layers
    )


LITE0, LITE1, LITE2 = (_backbone(variant) for variant in SCALINGS)
