"""AlexNet, Caffe's and torchvision's, returning every layer by name.

Caffe's (`bvlc_alexnet`) has grouped convolutions, local response normalisation before the pools,
and pools that round up; torchvision's ("one weird trick") has other widths, padding in conv1, no
groups, no normalisation, and pools that round down.

The forms below were chosen by time on CPU (BUILD_NOTES.md): groups as separate convolutions,
normalisation as a sum of shifted slices with a derivative in closed form, pools as a maximum of
strided slices. They compute what
the textbook forms compute, to rounding.
"""

import functools
import math
from typing import Any, Literal, NamedTuple, get_args

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.typing import Initializer

Params = dict[str, dict[str, jax.Array]]
Variant = Literal["caffe", "torchvision"]
Start = Literal["input", "pool5"]

CAFFE_MEAN_BGR = np.array([104.00699, 116.66877, 122.67891], np.float32)
TORCHVISION_MEAN_RGB = np.array([0.485, 0.456, 0.406], np.float32)
TORCHVISION_STD_RGB = np.array([0.229, 0.224, 0.225], np.float32)

LRN_RADIUS, LRN_ALPHA, LRN_BETA, LRN_BIAS = 2, 1e-4, 0.75, 1.0
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


class Conv(NamedTuple):
    """One convolution of the table below."""

    features: int
    kernel: int
    stride: int
    padding: int
    groups: int


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
LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")


def check_variant(variant: str) -> None:
    """Raises ValueError unless `variant` names one of the two networks."""
    if variant not in get_args(Variant):
        raise ValueError(
            f"variant={variant!r} is unknown; choose one of {', '.join(get_args(Variant))}"
        )


def preprocess(images: jax.Array, *, variant: Variant = "caffe") -> jax.Array:
    """Turns pictures into the network's input.

    Args:
      images: [..., h, w] grey or [..., h, w, 3] RGB, uint8. A last dimension of 3 is taken for
        colour.
      variant: "caffe" subtracts the ImageNet mean from BGR values in 0..255; "torchvision"
        normalises RGB values in 0..1.

    Returns:
      [..., h, w, 3] float32.

    Raises:
      ValueError: for another dtype (values in 0..1 would pass unseen) or an unknown variant.
    """
    check_variant(variant)
    if images.dtype != jnp.uint8:
        raise ValueError(f"images must be uint8 in 0..255, got {images.dtype}")
    if images.shape[-1] != 3:
        images = images[..., None]
    pixels = images.astype(jnp.float32)
    if variant == "caffe":
        return pixels[..., ::-1] - _last(CAFFE_MEAN_BGR, pixels)
    return (pixels / 255.0 - _last(TORCHVISION_MEAN_RGB, pixels)) / _last(
        TORCHVISION_STD_RGB, pixels
    )


def _last(vector: np.ndarray | jax.Array, like: jax.Array) -> jax.Array:
    """A vector shaped to broadcast along the last dimension of `like` (rank promotion is an error in the tests)."""
    return jnp.asarray(vector).reshape((1,) * (like.ndim - 1) + (-1,))


def _convolve(x: jax.Array, kernel: jax.Array, conv: Conv) -> jax.Array:
    """[b, h, w, c] x [s, s, c / groups, features]: each group by itself, which XLA's CPU backend
    runs 4 to 8 times faster, and there kernels wider than 3 as matrix products, at least backwards.
    """
    group = conv._replace(features=conv.features // conv.groups, groups=1)
    whole = functools.partial(_convolution, conv=group)
    by_image = _convolution_by_image if conv.stride > 1 else _convolution_back_by_image
    products = functools.partial(by_image, conv=group)
    outputs = [
        jax.lax.platform_dependent(part, part_kernel, cpu=products, default=whole)
        if conv.kernel > 3
        else whole(part, part_kernel)
        for part, part_kernel in zip(
            jnp.split(x, conv.groups, axis=-1), jnp.split(kernel, conv.groups, axis=-1), strict=True
        )
    ]
    return outputs[0] if conv.groups == 1 else jnp.concatenate(outputs, axis=-1)


def _convolution(x: jax.Array, kernel: jax.Array, conv: Conv) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(conv.stride, conv.stride),
        padding=[(conv.padding, conv.padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _convolution_by_image(x: jax.Array, kernel: jax.Array, conv: Conv) -> jax.Array:
    """A convolution of one group as matrix products, image by image, so that the patches stay in
    the cache and the backward pass makes them anew: on two CPU cores, conv1 takes half the time
    forward and a third with the kernel's gradient, conv2's gradients two thirds.

    The image is cut into stride x stride cells, which become channels; the kernel, filled with
    zeros to whole cells, then moves by one cell.
    """
    stride, span = conv.stride, -(-conv.kernel // conv.stride)  # cells that the kernel spans
    height, width = ((n + 2 * conv.padding - conv.kernel) // stride + 1 for n in x.shape[1:3])
    filled = [
        (conv.padding, (n + span - 1) * stride - length - conv.padding, 0)
        for n, length in zip((height, width), x.shape[1:3], strict=True)
    ]  # the far end may be negative: what no window reaches is cut off
    x = jax.lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *filled, (0, 0, 0)])
    depth = stride * stride * x.shape[-1]
    cells = x.reshape(x.shape[0], height + span - 1, stride, width + span - 1, stride, x.shape[-1])
    cells = cells.transpose(0, 1, 3, 2, 4, 5).reshape(*cells.shape[:2], cells.shape[3], depth)
    missing = span * stride - conv.kernel
    kernel = jnp.pad(kernel, [(0, missing), (0, missing), (0, 0), (0, 0)])
    kernel = kernel.reshape(span, stride, span, stride, -1, conv.features)
    rows = kernel.transpose(0, 2, 1, 3, 4, 5).reshape(span, span * depth, conv.features)

    @jax.checkpoint
    def convolve(image: jax.Array) -> jax.Array:
        patches = jnp.concatenate([image[:, j : j + width] for j in range(span)], axis=-1)
        products = [
            patches[i : i + height].reshape(-1, span * depth) @ rows[i] for i in range(span)
        ]
        return functools.reduce(jnp.add, products).reshape(height, width, conv.features)

    return jax.lax.map(convolve, cells)


@functools.partial(jax.custom_vjp, nondiff_argnames=("conv",))
def _convolution_back_by_image(x: jax.Array, kernel: jax.Array, conv: Conv) -> jax.Array:
    """A convolution whose gradients are `_convolution_by_image`'s: at stride 1, XLA's own is faster
    forward (conv2 of 64 images .20 against .27 s) and slower backward.
    """
    return _convolution(x, kernel, conv)


def _back_forward(
    x: jax.Array, kernel: jax.Array, conv: Conv
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _convolution(x, kernel, conv), (x, kernel)


def _back_backward(
    conv: Conv, residuals: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    # Its forward pass has no use here, and is compiled away.
    _, pull_back = jax.vjp(functools.partial(_convolution_by_image, conv=conv), *residuals)
    return pull_back(gradient)


_convolution_back_by_image.defvjp(_back_forward, _back_backward)


@jax.custom_vjp
def response_norm(x: jax.Array) -> jax.Array:
    """Normalises across channels as Caffe does: x (1 + alpha / 5 * sum of the squares of 5
    neighbouring channels)^-0.75.

    Args:
      x: [b, h, w, c].

    Returns:
      [b, h, w, c].
    """
    return _response_norm_forward(x)[0]


def _response_norm_forward(x: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    inverse_root = jax.lax.rsqrt(LRN_BIAS + _neighbours(x * x))
    power = inverse_root * jnp.sqrt(inverse_root)  # scale^-0.5 * scale^-0.25
    return x * power, (x, inverse_root)


def _response_norm_backward(
    kept: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array]:
    """In closed form, from two arrays; the sum over neighbours is its own transpose, which JAX
    cannot know: what it derives from the slices takes half again as long.
    """
    x, inverse_root = kept
    passed = gradient * inverse_root * jnp.sqrt(inverse_root)
    through_scale = _neighbours(passed * x * inverse_root * inverse_root)
    return (passed - 2 * LRN_BETA * x * through_scale,)


response_norm.defvjp(_response_norm_forward, _response_norm_backward)


def _neighbours(x: jax.Array) -> jax.Array:
    """Alpha / 5 times the sum over 5 neighbouring channels of [b, h, w, c]."""
    window, channels = 2 * LRN_RADIUS + 1, x.shape[-1]
    padded = jnp.pad(x, [(0, 0)] * 3 + [(LRN_RADIUS, LRN_RADIUS)])
    shifted = [padded[..., i : i + channels] for i in range(window)]
    return functools.reduce(jnp.add, shifted) * (LRN_ALPHA / window)


def max_pool(x: jax.Array, *, ceil: bool) -> jax.Array:
    """Maximum over 3 x 3 windows at stride 2.

    Args:
      x: [b, h, w, c].
      ceil: whether a last, partly empty window counts (Caffe) or not.

    Returns:
      [b, h', w', c] with h' = (h - 3) / 2 + 1, rounded up or down.
    """
    for axis in (1, 2):
        length = x.shape[axis]
        windows = (-((3 - length) // 2) if ceil else (length - 3) // 2) + 1
        missing = max(0, 2 * (windows - 1) + 3 - length)
        if missing:
            lowest = jnp.array(-jnp.inf, x.dtype)
            x = jax.lax.pad(x, lowest, [(0, missing if a == axis else 0, 0) for a in range(4)])
        taps = [jax.lax.slice_in_dim(x, i, i + 2 * windows - 1, 2, axis) for i in range(3)]
        x = jnp.maximum(jnp.maximum(taps[0], taps[1]), taps[2])
    return x


def _adaptive_average_pool(x: jax.Array, cells: int) -> jax.Array:
    """[b, h, w, c] -> [b, cells, cells, c]: means over the windows that torch's AdaptiveAvgPool2d defines."""

    def means(length: int) -> jax.Array:
        cell, position = np.arange(cells)[:, None], np.arange(length)
        window = (position >= cell * length // cells) & (
            position < -(-(cell + 1) * length // cells)
        )
        return jnp.asarray(window / window.sum(axis=1, keepdims=True), x.dtype)

    return jnp.einsum("ih,jw,bhwc->bijc", means(x.shape[1]), means(x.shape[2]), x)


def _dropout(x: jax.Array, keys: jax.Array, layer: int, rate: float) -> jax.Array:
    """Drops values of [b, d] with one key an example, so that the masks do not depend on how a batch is split over devices."""
    keep = 1.0 - rate
    masks = jax.vmap(
        lambda key: jax.random.bernoulli(jax.random.fold_in(key, layer), keep, x.shape[1:])
    )(keys)
    return jnp.where(masks, x / keep, 0.0)


class AlexNet(nn.Module):
    """AlexNet with `num_classes` outputs.

    Attributes:
      num_classes: k, the width of fc8.
      variant: "caffe" or "torchvision".
      dropout_rate: in [0, 1), for the inputs of fc7 and fc8 ("caffe") or fc6 and fc7
        ("torchvision").
      dtype: of the computation; parameters and logits are float32.
    """

    num_classes: int
    variant: Variant = "caffe"
    dropout_rate: float = 0.5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, inputs: jax.Array, dropout_keys: jax.Array | None = None, start: Start = "input"
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Runs the network.

        Args:
          inputs: [b, h, w, 3] float32 from `preprocess`, or with start="pool5" [b, 6, 6, 256] pool5
            activations.
          dropout_keys: [b] PRNG keys, one an example, when training; None runs without dropout.
          start: where `inputs` enter the network.

        Returns:
          logits [b, k] float32, and the activations by layer in order: convN and fcN before their
          ReLU, reluN after it, normN, poolN.
        """
        check_variant(self.variant)
        if start not in get_args(Start):
            raise ValueError(
                f"start={start!r} is unknown; choose one of {', '.join(get_args(Start))}"
            )
        chex.assert_rank(inputs, 4)
        if not jnp.issubdtype(inputs.dtype, jnp.floating):
            raise ValueError(
                f"inputs must be floating point, got {inputs.dtype}; preprocess pictures first"
            )
        activations: dict[str, jax.Array] = {}
        x = inputs.astype(self.dtype)
        x = self._convolutions(x, activations) if start == "input" else x
        if ARCHITECTURES[self.variant].adaptive_pool:
            activations["avgpool"] = x = _adaptive_average_pool(x, POOL5_CELLS)
        # Caffe and torch flatten in channel, height, width order.
        x = jnp.transpose(x, (0, 3, 1, 2)).reshape(x.shape[0], -1)
        x = self._fully_connected(x, activations, dropout_keys)
        return x.astype(jnp.float32), activations

    def _convolutions(self, x: jax.Array, activations: dict[str, jax.Array]) -> jax.Array:
        architecture = ARCHITECTURES[self.variant]
        for block, conv in enumerate(architecture.convs, start=1):
            shape = (conv.kernel, conv.kernel, x.shape[-1] // conv.groups, conv.features)
            kernel, bias = _Layer(shape, self.variant, name=f"conv{block}")()
            x = _convolve(x, kernel.astype(self.dtype), conv) + _last(bias.astype(self.dtype), x)
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
                x = _dropout(x, dropout_keys, layer, self.dropout_rate)
            kernel, bias = _Layer((x.shape[-1], width), self.variant, name=f"fc{layer}")()
            x = jnp.matmul(x, kernel.astype(self.dtype)) + _last(bias.astype(self.dtype), x)
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


def init_params(model: AlexNet, seed: int, *, size: int = 227) -> Params:
    """Draws random parameters.

    Args:
      model: the network.
      seed: of the generator.
      size: h = w of the input that the parameters are for.

    Returns:
      {layer: {"kernel", "bias"}}, float32.
    """
    images = jnp.zeros((1, size, size, 3), jnp.float32)
    return jax.jit(model.init)(jax.random.key(seed), images)["params"]
