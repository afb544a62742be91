"""Depthwise convolutions in the forms that run fastest: on CPUs, where XLA's grouped convolution is
not usable, a sum of shifted slices with gradients written by hand; the grouped convolution elsewhere.
"""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from dsf_jax.models.kernels import along_last_axis, by_platform
from dsf_jax.models.windows import padded, same_padding, same_size, strided

# Rows of maps whose products one loop adds up: of several small images, so that few loops do it; of one large
# image, because LLVM does not vectorise a loop of hundreds of terms.
ROWS_AT_ONCE = 28


def depthwise(x: jax.Array, kernel: jax.Array, *, stride: int) -> jax.Array:
    """Convolves each channel by itself, with TensorFlow's SAME padding.

    Args:
      x: [b, h, w, c].
      kernel: [s, s, 1, c], not narrower than the stride.
      stride: step between windows.

    Returns:
      [b, h / stride, w / stride, c], rounded up.
    """
    shifted = functools.partial(_shifted, stride=stride, size=x.shape[1:3])
    grouped = functools.partial(_grouped, stride=stride)
    return by_platform(x, kernel, cpu=shifted, default=grouped)


def _grouped(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding="SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _shifted(x: jax.Array, kernel: jax.Array, stride: int, size: tuple[int, int]) -> jax.Array:
    """Adds up the padded input of `size`, shifted by each tap of the kernel and weighted by it, in float32."""
    return _shifted_forward(x, kernel, stride, size)[0]


@functools.partial(jax.jit, static_argnums=(2, 3))  # traced once for blocks of equal shapes
def _shifted_forward(
    x: jax.Array, kernel: jax.Array, stride: int, size: tuple[int, int]
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """Keeps the input as it is padded, which need not be written once more without its margins."""
    framed = padded(x, kernel.shape[0], stride)
    windows = same_size(size, stride)
    terms = [
        _term(strided(framed, tap, windows, stride), kernel, tap)
        for tap in np.ndindex(*kernel.shape[:2])
    ]
    return functools.reduce(jnp.add, terms).astype(x.dtype), (framed, kernel)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _shifted_backward(
    stride: int,
    size: tuple[int, int],
    residuals: tuple[jax.Array, jax.Array],
    gradient: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    framed, kernel = residuals
    return (
        _input_gradient(gradient, kernel, stride, size).astype(framed.dtype),
        _kernel_gradient(gradient, framed, kernel.shape[0], stride).astype(kernel.dtype),
    )


_shifted.defvjp(_shifted_forward, _shifted_backward)


def _input_gradient(
    gradient: jax.Array, kernel: jax.Array, stride: int, size: tuple[int, int]
) -> jax.Array:
    """The same sum over the gradient, for every stride-th row and column of the input by itself: no
    products with zeros, which dilating the gradient would bring.
    """
    reached = [_reached(n, kernel.shape[0], stride) for n in size]
    lowest, highest = (
        [choose(start for phase in axis for _, start in phase) for axis in reached]
        for choose in (min, max)
    )
    margins = [(max(-low, 0), max(high, 0)) for low, high in zip(lowest, highest, strict=True)]
    framed = jnp.pad(gradient, [(0, 0), *margins, (0, 0)])
    top, left = margins[0][0], margins[1][0]

    def phase(rows: list[tuple[int, int]], columns: list[tuple[int, int]]) -> jax.Array:
        terms = [
            _term(
                strided(framed, (y + top, x + left), gradient.shape[1:3], 1), kernel, (row, column)
            )
            for row, y in rows
            for column, x in columns
        ]
        return functools.reduce(jnp.add, terms)

    if stride == 1:
        return phase(reached[0][0], reached[1][0])
    # [b, h', stride, w', stride, c]: the phases between one another.
    parts = [jnp.stack([phase(rows, columns) for columns in reached[1]], 3) for rows in reached[0]]
    between = jnp.stack(parts, 2)
    height, width = (stride * n for n in gradient.shape[1:3])
    whole = between.reshape(gradient.shape[0], height, width, gradient.shape[3])
    return whole[:, : size[0], : size[1]]


def _reached(length: int, side: int, stride: int) -> list[list[tuple[int, int]]]:
    """Lists, for each phase of an axis, the taps that its pixels pass, and the window of each tap,
    counted from the pixel's own cell of `stride` pixels.
    """
    before, _ = same_padding(length, side, stride)
    return [
        [
            (tap, (phase + before - tap) // stride)
            for tap in range(side)
            if (phase + before - tap) % stride == 0
        ]
        for phase in range(stride)
    ]


def _kernel_gradient(gradient: jax.Array, framed: jax.Array, side: int, stride: int) -> jax.Array:
    """Sums products row by row, image by image, so that both stay in the cache for all taps: XLA's own
    sum over leading axes is its slow spot on CPUs.
    """
    height, width = gradient.shape[1:3]
    images = _divisor(framed.shape[0], ROWS_AT_ONCE // height)

    def add(number: jax.Array, sums: list[jax.Array]) -> list[jax.Array]:
        part, own = (
            jax.lax.dynamic_slice_in_dim(whole, number * images, images)
            for whole in (framed, gradient)
        )
        part, own = jax.lax.optimization_barrier((part, own))
        rows = {place: _row(own, place, 0, width, 1) for place in np.ndindex(*own.shape[:2])}
        return [
            total + _sum_of_products(part, rows, tap, width, stride)
            for total, tap in zip(sums, np.ndindex(side, side), strict=True)
        ]

    channels = framed.shape[-1]
    start = [jnp.zeros((width, channels), jnp.float32)] * side**2
    sums = jax.lax.fori_loop(0, framed.shape[0] // images, add, start)
    return jnp.stack([total.sum(0) for total in sums]).reshape(side, side, 1, channels)


def _sum_of_products(
    framed: jax.Array,
    gradient: Mapping[tuple[int, ...], jax.Array],
    tap: tuple[int, ...],
    width: int,
    stride: int,
) -> jax.Array:
    """Multiplies each row of the gradient, {(image, row): [1, 1, w, c]}, by what a tap passes there, and
    adds all up in one loop: [w, c].
    """
    first, left = tap
    terms = [
        jax.lax.mul(_row(framed, (image, first + row * stride), left, width, stride), own)
        for (image, row), own in gradient.items()
    ]
    return functools.reduce(jax.lax.add, terms).reshape(width, -1)


def _row(x: jax.Array, place: tuple[int, ...], left: int, width: int, stride: int) -> jax.Array:
    """Cuts `width` pixels, every stride-th, from the row of an image of [b, h, w, c]: [1, 1, w, c] float32.

    What indexing does, which takes ten times as long to trace; a network has ten thousand rows.
    """
    (image, row), end = place, left + (width - 1) * stride + 1
    cut = jax.lax.slice(
        x, (image, row, left, 0), (image + 1, row + 1, end, x.shape[3]), (1, 1, stride, 1)
    )
    return jax.lax.convert_element_type(cut, jnp.float32)


def _divisor(count: int, most: int) -> int:
    """Returns the largest number up to `most` that divides a count; at least 1."""
    return max((d for d in range(1, most + 1) if count % d == 0), default=1)


def _term(windows: jax.Array, kernel: jax.Array, tap: tuple[int, ...]) -> jax.Array:
    """Weighs what a tap of the kernel passes, [b, h, w, c], in float32."""
    weight = kernel[(*tap, 0)].astype(jnp.float32)
    return windows.astype(jnp.float32) * along_last_axis(weight, windows)
