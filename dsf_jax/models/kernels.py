"""Parts of networks in the forms that run fastest, chosen by time (BUILD_NOTES.md, "AlexNet"): groups as
separate convolutions, response normalisation as a sum of shifted slices with a derivative in closed
form, pools as a maximum of strided slices. They compute what the textbook forms compute, to rounding.
"""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from dsf_jax.models.products import product
from dsf_jax.models.winograd import convolve_3x3

T = TypeVar("T")
_PORTABLE = contextvars.ContextVar("portable", default=False)
WINOGRAD_CHANNELS = 64  # of fewer, the sums cost as much as the products save
LRN_RADIUS, LRN_ALPHA, LRN_BETA, LRN_BIAS = 2, 1e-4, 0.75, 1.0


class Conv(NamedTuple):
    """One convolution.

    Attributes:
      features: number of output channels.
      kernel: height and width of the kernel.
      stride: step between windows.
      padding: zeros added on each side.
      groups: number of groups of channels that are convolved separately.
    """

    features: int
    kernel: int
    stride: int
    padding: int
    groups: int


def by_platform(*operands: jax.Array, cpu: Callable[..., T], default: Callable[..., T]) -> T:
    """Applies the form that runs fastest on the platform that is compiled for.

    Args:
      operands: arguments of both forms.
      cpu: form of CPUs.
      default: form of all other platforms, and of what is traced within `portable_forms`.
    """
    if _PORTABLE.get():
        return default(*operands)
    chosen: T = jax.lax.platform_dependent(*operands, cpu=cpu, default=default)
    return chosen


@contextlib.contextmanager
def portable_forms() -> Iterator[None]:
    """Leaves no choice by platform in what is traced within it, for formats that have none. What `jax.jit`
    has traced before stays as it is.
    """
    token = _PORTABLE.set(True)
    try:
        yield
    finally:
        _PORTABLE.reset(token)


def along_last_axis(vector: np.ndarray | jax.Array, like: jax.Array) -> jax.Array:
    """Shapes a vector to broadcast along the last dimension of an array, without rank promotion.

    Args:
      vector: [c].
      like: [..., c].

    Returns:
      [1, ..., 1, c].
    """
    return jnp.asarray(vector).reshape((1,) * (like.ndim - 1) + (-1,))


def convolve_groups(x: jax.Array, kernel: jax.Array, conv: Conv) -> jax.Array:
    """Convolves groups of channels, each by itself; on CPUs, kernels wider than 3 as matrix products and,
    of many channels, kernels of 3 x 3 at stride 1 as Winograd's.

    Args:
      x: [b, h, w, c].
      kernel: [s, s, c / groups, features].
      conv: shape of the convolution.

    Returns:
      [b, h', w', features].
    """
    plain = functools.partial(_in_turn, form=_convolution, conv=conv)
    if conv.kernel > 3:
        strided = conv.stride > 1 and x.shape[-1] > 1  # of one channel, XLA's own is faster
        by_image = _convolution_by_image if strided else _convolution_back_by_image
        fast = functools.partial(_in_turn, form=by_image, conv=conv)
    elif _winograd_repays(kernel, conv):
        fast = functools.partial(_at_once, conv=conv)
    else:
        return plain(x, kernel)
    return by_platform(x, kernel, cpu=fast, default=plain)


def _in_turn(
    x: jax.Array, kernel: jax.Array, form: Callable[..., jax.Array], conv: Conv
) -> jax.Array:
    """Convolves one group after the other."""
    group = conv._replace(features=conv.features // conv.groups, groups=1)
    parts, kernels = (jnp.split(a, conv.groups, axis=-1) for a in (x, kernel))
    outputs = [form(part, own, group) for part, own in zip(parts, kernels, strict=True)]
    return outputs[0] if conv.groups == 1 else jnp.concatenate(outputs, axis=-1)


def _winograd_repays(kernel: jax.Array, conv: Conv) -> bool:
    """Whether Winograd's products save more than its sums cost, by the number of channels."""
    shape = (conv.kernel, conv.stride, kernel.dtype)
    channels = min(kernel.shape[2], conv.features // conv.groups)
    return shape == (3, 1, jnp.float32) and channels >= WINOGRAD_CHANNELS


def _at_once(x: jax.Array, kernel: jax.Array, conv: Conv) -> jax.Array:
    """Convolves all groups as Winograd's products, as one function, which compiles in half the time."""
    x = x.reshape(*x.shape[:3], conv.groups, -1)
    kernel = kernel.reshape(*kernel.shape[:3], conv.groups, -1)
    convolve = functools.partial(convolve_3x3, padding=conv.padding)
    outputs = jax.vmap(convolve, in_axes=3, out_axes=3)(x, kernel)
    return outputs.reshape(*outputs.shape[:3], -1)


def _convolution(x: jax.Array, kernel: jax.Array, conv: Conv) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(conv.stride, conv.stride),
        padding=[(conv.padding, conv.padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _convolution_by_image(x: jax.Array, kernel: jax.Array, conv: Conv) -> jax.Array:
    """Convolves one group as matrix products, image by image, so that the patches stay in the cache
    and the backward pass computes them again instead of reading them.

    The image is cut into stride x stride cells, which become channels; the kernel, filled with
    zeros to whole cells, then moves by one cell.
    """
    stride = conv.stride
    span = -(-conv.kernel // stride)  # cells under the kernel
    height, width = ((n + 2 * conv.padding - conv.kernel) // stride + 1 for n in x.shape[1:3])
    # The far end may be negative: what no window reaches is cut off.
    filled = [
        (conv.padding, (n + span - 1) * stride - length - conv.padding, 0)
        for n, length in zip((height, width), x.shape[1:3], strict=True)
    ]
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
            product(patches[i : i + height].reshape(-1, span * depth), rows[i]) for i in range(span)
        ]
        return functools.reduce(jnp.add, products).reshape(height, width, conv.features)

    return jax.lax.map(convolve, cells)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolution_back_by_image(x: jax.Array, kernel: jax.Array, conv: Conv) -> jax.Array:
    """Convolves with XLA's own form, which at stride 1 or of one channel is the faster one forwards,
    and with the gradients of `_convolution_by_image`, which are the faster ones.
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


def adaptive_average_pool(x: jax.Array, cells: int) -> jax.Array:
    """Averages over the windows that torch's AdaptiveAvgPool2d defines.

    Args:
      x: [b, h, w, c].
      cells: height and width of the result.

    Returns:
      [b, cells, cells, c].
    """

    def means(length: int) -> jax.Array:
        cell, position = np.arange(cells)[:, None], np.arange(length)
        window = (position >= cell * length // cells) & (
            position < -(-(cell + 1) * length // cells)
        )
        return jnp.asarray(window / window.sum(axis=1, keepdims=True), x.dtype)

    return jnp.einsum("ih,jw,bhwc->bijc", means(x.shape[1]), means(x.shape[2]), x)


def dropout(x: jax.Array, keys: jax.Array, layer: int, rate: float) -> jax.Array:
    """Drops values, with one key per example: the masks do not depend on how a batch is split over devices.

    Args:
      x: [b, d].
      keys: [b] PRNG keys.
      layer: number that separates the masks of one network's layers.
      rate: probability of a value to be dropped, in [0, 1).

    Returns:
      [b, d], scaled by 1 / (1 - rate) where kept.
    """
    keep = 1.0 - rate
    masks = jax.vmap(
        lambda key: jax.random.bernoulli(jax.random.fold_in(key, layer), keep, x.shape[1:])
    )(keys)
    return jnp.where(masks, x / keep, 0.0)


def l2_normalise(x: jax.Array) -> jax.Array:
    """Scales vectors [..., d] to length 1; a zero vector stays zero, and has a finite gradient."""
    squared = jnp.square(x).sum(axis=-1, keepdims=True)
    # The root is taken of what is not zero: its gradient would not be finite there.
    norm = jnp.where(squared > 0, jnp.sqrt(jnp.where(squared > 0, squared, 1.0)), 1.0)
    return x / norm
