"""What the library knows of an architecture, in one record: a new one is one file that builds such a
record, and one row in `dsf_jax.models.backbones`.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

Params = dict[str, dict[str, jax.Array]]
# The configuration of a network whose family has many: (name, value) pairs; none for a network that its
# name says all of.
Architecture = tuple[tuple[str, Any], ...]
INPUT = "input"  # where a network begins, beside its named activations


class PixelFormat(NamedTuple):
    """How pictures become a network's input: (pixels / scale - mean) / deviation.

    Attributes:
      order: order of the channels of the input, and of `mean` and `deviation`.
      scale: divisor of the pixel values 0..255.
      mean: [3] mean colour, after scaling.
      deviation: [3] divisors.
    """

    order: Literal["RGB", "BGR"]
    scale: float
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]

    def mean_colour(self) -> np.ndarray:
        """Returns the mean colour in pixel values, [3] float32, in the network's order."""
        return np.float32(self.scale) * np.asarray(self.mean, np.float32)

    def divisors(self) -> np.ndarray:
        """Returns what mean-subtracted pixel values are divided by, [3] float32."""
        return np.float32(self.scale) * np.asarray(self.deviation, np.float32)

    def mean_grey(self) -> np.float32:
        """Returns the whole number next to the mean colour's mean: pixel values less it are exact, in
        bfloat16 too.
        """
        return np.rint(self.mean_colour().mean())

    def in_order(self, rgb: Any) -> Any:
        """Reorders [..., 3] between RGB and the network's order; the same call leads back."""
        return rgb[..., ::-1] if self.order == "BGR" else rgb


class Feature(NamedTuple):
    """A vector to retrieve by, made of a network's activations.

    Attributes:
      activations: names of the activations, in the order of the vector.
      normalise_parts: whether each activation is L2-normalised before they are joined, so that all
        weigh the same; the vector is in any case.
    """

    activations: tuple[str, ...]
    normalise_parts: bool = True


class Trainable(NamedTuple):
    """A choice of the layers that learn.

    Attributes:
      layers: names of the layers that learn.
      start: activation that the first of them may start from, all before it being frozen; `INPUT`
        where nothing is.
    """

    layers: tuple[str, ...]
    start: str


@dataclasses.dataclass(frozen=True, eq=False)
class Backbone:
    """All that the library must know of an architecture.

    Attributes:
      name: name in `dsf_jax.models.backbones`, in checkpoints and flags.
      title: name in text for people.
      build: makes the Flax module, `build(num_classes, dropout_rate=..., dtype=...)`. Its call takes
        inputs [b, h, w, 3] float32, [b] dropout keys or None, and the name of the activation that
        the inputs stand for (`INPUT` for pictures); it returns logits [b, k] float32 and the
        activations by name, in order.
      pixels: how pictures become its input.
      size: h = w of its input, by default.
      layers: layers with parameters, in order; the last one is the classifier.
      features: named features.
      compared_features: names of those that are evaluated unless others are asked for.
      default_feature: name of the feature that pictures are searched by.
      trainable: choices of the layers that learn, by name; "all" is one of them.
      maps: activations [b, h, w, c] that are shown as pictures (Fig. 6 of the paper).
      explained: the one of `maps` by which query and result are compared place by place.
      measured: activations whose similarity is measured, in order.
      inverted: activations that are inverted (Fig. 8 of the paper).
      tv_weights: weight of the total variation when an activation is inverted, by its name.
      deep_tv_weight: that weight for the activations that `tv_weights` does not name.
      weight_names: {layer: its names in published weight files}; empty where none are read.
      flattened: {layer whose inputs are flattened maps: layer with one output per channel of them};
        its rows are in channel, height, width order.
      torch_names: {layer: its name in the PyTorch state dict that is written}; empty for none.
      caffe_network: name of the network in the .caffemodel that is written; None for none.
      trained_at_once: most images that a training step on CPUs passes the network at once, where their
        maps do better in the cache; None for as many as a batch has.
      shown_at_once: the same without gradients.
      under_embedding: the form of it that an embedding stands above, where that is another.
    """

    name: str
    title: str
    build: Callable[..., nn.Module]
    pixels: PixelFormat
    size: int
    layers: tuple[str, ...]
    features: Mapping[str, Feature]
    compared_features: tuple[str, ...]
    default_feature: str
    trainable: Mapping[str, Trainable]
    maps: tuple[str, ...]
    explained: str
    measured: tuple[str, ...]
    inverted: tuple[str, ...]
    tv_weights: Mapping[str, float] = dataclasses.field(default_factory=dict)
    deep_tv_weight: float = 40.0
    weight_names: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    flattened: Mapping[str, str] = dataclasses.field(default_factory=dict)
    torch_names: Mapping[str, str] = dataclasses.field(default_factory=dict)
    caffe_network: str | None = None
    trained_at_once: int | None = None
    shown_at_once: int | None = None
    under_embedding: "Backbone | None" = None

    @property
    def grey_layer(self) -> str | None:
        """Returns the name of the first layer, where the network says that it may see grey pictures, whose
        three channels say the same, as one channel: a convolution with a bias and without padding.
        """
        layer: str | None = getattr(self.build(1), "grey_layer", None)
        return layer

    @property
    def classifier(self) -> str:
        """Returns the name of the layer that has one output per class."""
        return self.layers[-1]

    def preprocess(self, images: jax.Array) -> jax.Array:
        """Turns pictures into the network's input.

        Args:
          images: [..., h, w] grey or [..., h, w, 3] RGB, uint8. A last dimension of 3 is taken for
            colour.

        Returns:
          [..., h, w, 3] float32.

        Raises:
          ValueError: for another dtype; values in 0..1 would pass unnoticed.
        """
        _check_pixels(images)
        colour = images.shape[-1] == 3
        pixels = (images if colour else images[..., None]).astype(jnp.float32)
        shape = (1,) * (pixels.ndim - 1) + (3,)
        mean, deviation = (
            jnp.asarray(np.reshape(np.asarray(values, np.float32), shape))
            for values in (self.pixels.mean, self.pixels.deviation)
        )
        return (self.pixels.in_order(pixels) / self.pixels.scale - mean) / deviation

    def inputs(self, kinds: Sequence[jax.Array]) -> jax.Array:
        """Turns pictures of several kinds into one batch of the network's input.

        Args:
          kinds: [b, h, w] grey or [b, h, w, 3] RGB, uint8, one or more.

        Returns:
          [b, h, w, 3] float32; or [b, h, w, 1] pixel values less a mean one, where all are grey and the
          network has a `grey_layer`, for parameters of `seeing_grey`.

        Raises:
          ValueError: for another dtype.
        """
        if self.grey_layer is None or any(images.shape[-1] == 3 for images in kinds):
            return jnp.concatenate([self.preprocess(images) for images in kinds])
        for images in kinds:
            _check_pixels(images)
        pixels = jnp.concatenate(list(kinds))[..., None]
        return pixels.astype(jnp.float32) - self.pixels.mean_grey()

    def seeing_grey(self, params: Params) -> Params:
        """Folds the three channels that the first layer sees of a picture into one.

        Args:
          params: the network's parameters, which have the layer `grey_layer`.

        Returns:
          Parameters that give for [b, h, w, 1] of `inputs` what `params` give for the same pictures'
          [b, h, w, 3], to rounding.
        """
        name = str(self.grey_layer)
        layer = params[name]
        kernel = layer["kernel"] / _along_channels(self.pixels.divisors())
        offset = _along_channels(self.pixels.mean_grey() - self.pixels.mean_colour())
        folded = {
            "kernel": kernel.sum(axis=2, keepdims=True),
            "bias": layer["bias"] + (kernel * offset).sum(axis=(0, 1, 2)),
        }
        return params | {name: folded}

    def feature(self, name: str) -> Feature:
        """Returns the feature of this name; ValueError for an unknown one."""
        if name not in self.features:
            raise ValueError(f"layer={name!r} is unknown; choose one of {', '.join(self.features)}")
        return self.features[name]

    def check_features(self, names: tuple[str, ...]) -> None:
        """Raises ValueError unless all names are those of features, each named once."""
        for name in names:
            self.feature(name)
        if not names or len(set(names)) < len(names):
            raise ValueError(
                f"layers={', '.join(names)} must name one or more, each once; correct it"
            )

    def learning(self, choice: str) -> Trainable:
        """Returns the layers that learn by a choice; ValueError for an unknown one."""
        if choice not in self.trainable:
            raise ValueError(
                f"train_layers={choice!r} is unknown; choose one of {', '.join(self.trainable)}"
            )
        return self.trainable[choice]

    def tv_weight(self, activation: str) -> float:
        """Returns the weight of the total variation when this activation is inverted."""
        return self.tv_weights.get(activation, self.deep_tv_weight)


def _check_pixels(images: jax.Array) -> None:
    """Raises ValueError unless pictures are uint8; values in 0..1 would pass unnoticed."""
    if images.dtype != jnp.uint8:
        raise ValueError(f"images must be uint8 in 0..255, got {images.dtype}; convert them before")


def _along_channels(vector: np.ndarray) -> jax.Array:
    """Shapes [c] to broadcast along the input channels of a kernel [s, s, c, features]."""
    return jnp.asarray(vector)[None, None, :, None]


def check_inputs(inputs: jax.Array, start: str, ranks: Mapping[str, int]) -> None:
    """Checks what a network is called with.

    Args:
      inputs: what it is shown.
      start: `INPUT`, or the name of the activation that `inputs` are.
      ranks: number of dimensions of what it may start from, by name.

    Raises:
      ValueError: for an unknown start, or integers: pictures that are not preprocessed.
      AssertionError: for another number of dimensions.
    """
    if start not in ranks:
        raise ValueError(f"start={start!r} is unknown; choose one of {', '.join(ranks)}")
    chex.assert_rank(inputs, ranks[start])
    if not jnp.issubdtype(inputs.dtype, jnp.floating):
        raise ValueError(
            f"inputs must be floating point, got {inputs.dtype}; preprocess pictures first"
        )
