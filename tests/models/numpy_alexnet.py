"""AlexNet in plain NumPy, float64: the independent original that dsf_jax.models.alexnet is held to.

Written layer by layer from the public descriptions of Caffe's bvlc_alexnet and torchvision's
AlexNet. It shares no line with dsf_jax and imports neither jax nor flax. `Slips` are the mistakes
that ports of this network are known for: a test that could not tell a slip from the original would
prove nothing.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

Array = np.ndarray
Params = Mapping[str, Mapping[str, Array]]

CAFFE_MEAN_BGR = (104.00699, 116.66877, 122.67891)
TORCH_MEAN_RGB = (0.485, 0.456, 0.406)
TORCH_STD_RGB = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class ConvSpec:
    """One convolution: Caffe's `convolution_param`, or torch's `Conv2d` arguments."""

    size: int
    inputs: int
    outputs: int
    stride: int = 1
    pad: int = 0
    groups: int = 1


CONVOLUTIONS: dict[str, dict[str, ConvSpec]] = {
    "caffe": {
        "conv1": ConvSpec(11, 3, 96, stride=4),
        "conv2": ConvSpec(5, 96, 256, pad=2, groups=2),
        "conv3": ConvSpec(3, 256, 384, pad=1),
        "conv4": ConvSpec(3, 384, 384, pad=1, groups=2),
        "conv5": ConvSpec(3, 384, 256, pad=1, groups=2),
    },
    "torchvision": {
        "conv1": ConvSpec(11, 3, 64, stride=4, pad=2),
        "conv2": ConvSpec(5, 64, 192, pad=2),
        "conv3": ConvSpec(3, 192, 384, pad=1),
        "conv4": ConvSpec(3, 384, 256, pad=1),
        "conv5": ConvSpec(3, 256, 256, pad=1),
    },
}


@dataclasses.dataclass(frozen=True)
class Slips:
    """The known ways to port AlexNet wrongly; all off is the network itself.

    Attributes:
        same_padding: conv1 padded as TensorFlow's SAME, at stride 4.
        groups_ignored: a grouped convolution run as a dense one, each kernel repeated over the
            inputs of all groups.
        groups_swapped: every group reads the other group's inputs.
        kernels_flipped: true convolution instead of cross-correlation.
        fc6_height_width_channels: pool5 flattened as H, W, C.
        lrn_alpha_undivided: alpha times the sum of squares, not alpha / 5.
        lrn_alpha_tenth: alpha 1e-5.
        lrn_radius_five: the window reaches 5 channels either way (tf.nn's default radius), not 2.
        norm_before_relu: convolution, LRN, ReLU.
        pool_before_norm: convolution, ReLU, pool, LRN (CaffeNet's order).
        floor_pools: pools that drop the partial window at the border.
        ceil_pools: pools that keep it; a slip in torchvision's network only.
        no_relu_fc: fc6 and fc7 without their ReLU.
    """

    same_padding: bool = False
    groups_ignored: bool = False
    groups_swapped: bool = False
    kernels_flipped: bool = False
    fc6_height_width_channels: bool = False
    lrn_alpha_undivided: bool = False
    lrn_alpha_tenth: bool = False
    lrn_radius_five: bool = False
    norm_before_relu: bool = False
    pool_before_norm: bool = False
    floor_pools: bool = False
    ceil_pools: bool = False
    no_relu_fc: bool = False


NO_SLIP = Slips()


def preprocess(
    images: Array, *, variant: str, channels_swapped: bool = False, mean_swapped: bool = False
) -> Array:
    """What Caffe's Transformer, or torchvision's ToTensor and Normalize, feed the network.

    Args:
        images: [b, h, w] grey or [b, h, w, 3] RGB uint8.
        variant: "caffe" or "torchvision".
        channels_swapped: the slip of RGB for BGR (or BGR for RGB).
        mean_swapped: the slip of an RGB mean subtracted from BGR pixels (or the reverse).

    Returns:
        [b, h, w, 3] float64.
    """
    rgb = np.stack([images] * 3, axis=-1) if images.ndim == 3 else images
    pixels = rgb.astype(np.float64)
    if variant == "caffe":
        mean, deviation = np.array(CAFFE_MEAN_BGR), np.ones(3)
        pixels = pixels[..., ::-1]
    else:
        mean, deviation = np.array(TORCH_MEAN_RGB), np.array(TORCH_STD_RGB)
        pixels = pixels / 255.0
    if channels_swapped:
        pixels = pixels[..., ::-1]
    if mean_swapped:
        mean, deviation = mean[::-1], deviation[::-1]
    return (pixels - mean) / deviation


def pad_plane(x: Array, rows: tuple[int, int], columns: tuple[int, int], value: float) -> Array:
    """Pads the h and w of [b, h, w, c] with a constant."""
    return np.pad(x, ((0, 0), rows, columns, (0, 0)), constant_values=value)


def same_margins(length: int, size: int, stride: int) -> tuple[int, int]:
    """TensorFlow's SAME padding: ceil(length / stride) outputs, the odd pixel after."""
    total = max((math.ceil(length / stride) - 1) * stride + size - length, 0)
    return total // 2, total - total // 2


def correlate(x: Array, kernel: Array, stride: int) -> Array:
    """Cross-correlation without padding; the last incomplete windows are dropped.

    Args:
        x: [b, h, w, c] float64.
        kernel: [s, s, c, o].
        stride: step of the window.

    Returns:
        [b, h', w', o] with h' = floor((h - s) / stride) + 1.
    """
    size = kernel.shape[0]
    windows = sliding_window_view(x, (size, size), axis=(1, 2))[:, ::stride, ::stride]
    return np.tensordot(
        windows, kernel, axes=((4, 5, 3), (0, 1, 2))
    )  # windows [b, h', w', c, s, s]


def convolve(x: Array, kernel: Array, bias: Array, spec: ConvSpec, slips: Slips = NO_SLIP) -> Array:
    """A convolution layer, grouped where `spec` says so.

    Args:
        x: [b, h, w, c] float64.
        kernel: [s, s, c / groups, o].
        bias: [o].
        spec: stride, padding, groups.
        slips: mistakes to make on purpose.

    Returns:
        [b, h', w', o] float64.
    """
    kernel = kernel.astype(np.float64)
    if slips.kernels_flipped:
        kernel = kernel[::-1, ::-1]
    if slips.same_padding and spec.stride > 1:
        rows, columns = (same_margins(n, spec.size, spec.stride) for n in x.shape[1:3])
    else:
        rows = columns = (spec.pad, spec.pad)
    x = pad_plane(x, rows, columns, 0.0)
    if slips.groups_ignored:
        return correlate(x, np.concatenate([kernel] * spec.groups, axis=2), spec.stride) + bias
    inputs = np.split(x, spec.groups, axis=3)
    if slips.groups_swapped:
        inputs.reverse()
    kernels = np.split(kernel, spec.groups, axis=3)
    parts = [correlate(i, k, spec.stride) for i, k in zip(inputs, kernels, strict=True)]
    return np.concatenate(parts, axis=3) + bias


def relu(x: Array) -> Array:
    """The positive part."""
    return np.where(x > 0, x, 0.0)


def lrn(x: Array, slips: Slips = NO_SLIP) -> Array:
    """Caffe's LRN across channels: local_size 5, alpha 1e-4, beta 0.75, k 1.

    The window of channel c is clipped to the channels that exist; the divisor stays 5.

    Args:
        x: [b, h, w, c] float64.
        slips: mistakes to make on purpose.

    Returns:
        [b, h, w, c] float64.
    """
    alpha, size, radius = 1e-4, 5, 2
    if slips.lrn_alpha_tenth:
        alpha = 1e-5
    if slips.lrn_alpha_undivided:
        size = 1
    if slips.lrn_radius_five:
        radius = 5
    out = np.empty_like(x)
    for c in range(x.shape[3]):
        window = x[..., max(c - radius, 0) : c + radius + 1]
        out[..., c] = x[..., c] * (1.0 + alpha / size * (window**2).sum(axis=3)) ** -0.75
    return out


def max_pool(x: Array, *, ceil: bool) -> Array:
    """Max over 3x3 windows at stride 2, unpadded.

    Caffe makes ceil((h - 3) / 2) + 1 windows: the last may hang over the border and then covers
    fewer pixels. Torch makes floor((h - 3) / 2) + 1.

    Args:
        x: [b, h, w, c] float64.
        ceil: Caffe's count of windows.

    Returns:
        [b, h', w', c] float64.
    """
    if ceil:
        rows, columns = ((0, (n - 3) % 2) for n in x.shape[1:3])
        x = pad_plane(x, rows, columns, -np.inf)
    return sliding_window_view(x, (3, 3), axis=(1, 2))[:, ::2, ::2].max(axis=(4, 5))


def adaptive_average_pool(x: Array, size: int) -> Array:
    """Torch's AdaptiveAvgPool2d: cell i averages rows floor(i h / size) to ceil((i + 1) h / size).

    Args:
        x: [b, h, w, c] float64.
        size: rows and columns of the result.

    Returns:
        [b, size, size, c] float64.
    """

    def cells(length: int) -> Iterable[slice]:
        return [slice(i * length // size, math.ceil((i + 1) * length / size)) for i in range(size)]

    rows = [
        np.stack([x[:, r, c].mean(axis=(1, 2)) for c in cells(x.shape[2])], axis=1)
        for r in cells(x.shape[1])
    ]
    return np.stack(rows, axis=1)


def fully_connected(x: Array, layer: Mapping[str, Array]) -> Array:
    """Product with the kernel plus bias, [b, i] -> [b, o], by blocks of columns to save memory."""
    kernel = layer["kernel"]
    blocks = [
        x @ kernel[:, start : start + 1024].astype(np.float64)
        for start in range(0, kernel.shape[1], 1024)
    ]
    return np.concatenate(blocks, axis=1) + layer["bias"]


def flatten(x: Array, slips: Slips = NO_SLIP) -> Array:
    """[b, h, w, c] -> [b, c * h * w], the order of Caffe's and torch's NCHW memory."""
    if slips.fc6_height_width_channels:
        return x.reshape(len(x), -1)
    return x.transpose(0, 3, 1, 2).reshape(len(x), -1)


def normalised_block(
    x: Array, params: Params, number: int, *, variant: str, slips: Slips
) -> dict[str, Array]:
    """Block 1 or 2: convolution, ReLU, (LRN), pool, in the order computed."""
    conv, act, norm, pool = (f"{kind}{number}" for kind in ("conv", "relu", "norm", "pool"))
    ceil = (variant == "caffe" and not slips.floor_pools) or slips.ceil_pools
    out = {conv: convolve(x, **params[conv], spec=CONVOLUTIONS[variant][conv], slips=slips)}
    if variant == "torchvision":
        out[act] = relu(out[conv])
        out[pool] = max_pool(out[act], ceil=ceil)
    elif slips.norm_before_relu:
        out[norm] = lrn(out[conv], slips)
        out[act] = relu(out[norm])
        out[pool] = max_pool(out[act], ceil=ceil)
    elif slips.pool_before_norm:
        out[act] = relu(out[conv])
        out[pool] = lrn(max_pool(out[act], ceil=ceil), slips)
    else:
        out[act] = relu(out[conv])
        out[norm] = lrn(out[act], slips)
        out[pool] = max_pool(out[norm], ceil=ceil)
    return out


def trunk(x: Array, params: Params, *, variant: str, slips: Slips = NO_SLIP) -> dict[str, Array]:
    """The convolutional part: every layer up to pool5, and torchvision's avgpool.

    Args:
        x: [b, h, w, 3] preprocessed images.
        params: {"conv1": {"kernel": [s, s, i, o], "bias": [o]}, ...}.
        variant: "caffe" or "torchvision".
        slips: mistakes to make on purpose.

    Returns:
        Layer name to [b, h', w', c] float64, in the order computed.
    """
    out = normalised_block(x.astype(np.float64), params, 1, variant=variant, slips=slips)
    out |= normalised_block(out["pool1"], params, 2, variant=variant, slips=slips)
    below = out["pool2"]
    for number in (3, 4, 5):
        conv, act = f"conv{number}", f"relu{number}"
        spec = CONVOLUTIONS[variant][conv]
        out[conv] = convolve(below, **params[conv], spec=spec, slips=slips)
        out[act] = below = relu(out[conv])
    ceil = (variant == "caffe" and not slips.floor_pools) or slips.ceil_pools
    out["pool5"] = max_pool(below, ceil=ceil)
    if variant == "torchvision":
        out["avgpool"] = adaptive_average_pool(out["pool5"], 6)
    return out


def head(x: Array, params: Params, slips: Slips = NO_SLIP) -> dict[str, Array]:
    """fc6 to fc8 without dropout, as in evaluation.

    Args:
        x: [b, 6, 6, 256] pool5 (torchvision: avgpool).
        params: {"fc6": {"kernel": [i, o], "bias": [o]}, ...}.
        slips: mistakes to make on purpose.

    Returns:
        Layer name to [b, o] float64, in the order computed.
    """
    activate = (lambda a: a) if slips.no_relu_fc else relu
    out = {"fc6": fully_connected(flatten(x, slips), params["fc6"])}
    out["relu6"] = activate(out["fc6"])
    out["fc7"] = fully_connected(out["relu6"], params["fc7"])
    out["relu7"] = activate(out["fc7"])
    out["fc8"] = fully_connected(out["relu7"], params["fc8"])
    return out


def forward(x: Array, params: Params, *, variant: str, slips: Slips = NO_SLIP) -> dict[str, Array]:
    """The whole network: `trunk`, then `head`; fc8 holds the logits."""
    out = trunk(x, params, variant=variant, slips=slips)
    return out | head(out["avgpool" if variant == "torchvision" else "pool5"], params, slips)
