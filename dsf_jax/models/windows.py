"""Windows over maps as TensorFlow's SAME pads them: what convolutions on CPUs are put together from."""

import jax
import jax.numpy as jnp
import numpy as np


def same_padding(length: int, side: int, stride: int) -> tuple[int, int]:
    """Returns the zeros before and after an axis that TensorFlow's SAME adds: they depend on its
    length, and the odd one comes last.

    Args:
      length: pixels along the axis.
      side: pixels of the kernel along it.
      stride: step between windows.
    """
    missing = max((-(-length // stride) - 1) * stride + side - length, 0)
    return missing // 2, missing - missing // 2


def same_size(lengths: tuple[int, ...], stride: int) -> tuple[int, ...]:
    """Returns how many windows there are along axes of these lengths."""
    return tuple(-(-length // stride) for length in lengths)


def padded(x: jax.Array, side: int, stride: int) -> jax.Array:
    """Pads rows and columns of [b, h, w, c] for square windows of a side, with zeros."""
    margins = [same_padding(n, side, stride) for n in x.shape[1:3]]
    return jnp.pad(x, [(0, 0), *margins, (0, 0)])


def strided(x: jax.Array, corner: tuple[int, ...], size: tuple[int, ...], stride: int) -> jax.Array:
    """Cuts every stride-th row and column from a corner on.

    Args:
      x: [b, h, w, c].
      corner: row and column of the first pixel.
      size: number of rows and of columns.
      stride: step between them.

    Returns:
      [b, *size, c].
    """
    ends = [first + (n - 1) * stride + 1 for first, n in zip(corner, size, strict=True)]
    return jax.lax.slice(
        x, (0, *corner, 0), (x.shape[0], *ends, x.shape[3]), (1, stride, stride, 1)
    )


def patches(x: jax.Array, side: int, stride: int) -> jax.Array:
    """Gathers what each window passes.

    Args:
      x: [b, h, w, c].
      side: height and width of a window.
      stride: step between windows.

    Returns:
      [b, h / stride, w / stride, side * side * c], rounded up: by row, column and channel, as a kernel
      [side, side, c, features] lies in memory.
    """
    size, x = same_size(x.shape[1:3], stride), padded(x, side, stride)
    return jnp.concatenate(
        [strided(x, corner, size, stride) for corner in np.ndindex(side, side)], axis=-1
    )
