"""Convolutions of 3 x 3 with 16 multiplications for 36: Winograd's minimal filtering F(2 x 2, 3 x 3), as
Lavin and Gray (2016) brought it to networks. Tiles of maps and kernel become sums of few values; these
multiply place by place, as matrices over the channels; sums of the products are tiles of 2 x 2 outputs.
Rounding errors are as small as a convolution's (docs/experiments.md, "Winograd's products").
"""

import functools
from collections.abc import Callable, Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp

from dsf_jax.models.products import transposed_times
from dsf_jax.models.windows import strided

Weights: TypeAlias = Sequence[Sequence[float]]
Grid: TypeAlias = list[list[jax.Array]]  # one array for each place of a tile

# Each row makes one sum: of a tile's 4 inputs, of a kernel's 3 values, of 4 products for 2 outputs.
_OF_INPUTS: Weights = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))
_OF_KERNEL: Weights = ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1))
_OF_PRODUCTS: Weights = ((1, 1, 1, 0), (0, 1, -1, -1))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolve_3x3(x: jax.Array, kernel: jax.Array, padding: int) -> jax.Array:
    """Convolves with a kernel of 3 x 3 at stride 1; its gradients are sums of products of the same kind.

    Args:
      x: [b, h, w, c].
      kernel: [3, 3, c, features].
      padding: zeros added on each side, at most 2.

    Returns:
      [b, h', w', features] with h' = h + 2 padding - 2.
    """
    return _convolved(x, _sums(_OF_KERNEL, _taps(kernel)), padding, jnp.matmul)


@functools.partial(jax.jit, static_argnums=2)  # as below: traced once for equal shapes
def _forward(
    x: jax.Array, kernel: jax.Array, padding: int
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return convolve_3x3(x, kernel, padding), (x, kernel)


@functools.partial(jax.jit, static_argnums=0)
def _backward(
    padding: int, kept: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = kept
    # Through the inputs: a convolution with the kernel turned round, from features to channels.
    turned = _sums(_OF_KERNEL, _taps(kernel[::-1, ::-1]))
    of_x = _convolved(gradient, turned, 2 - padding, _times_transposed)
    # Through the kernel: the forward pass's sums, each backwards.
    of_products = _sums(_transposed(_OF_PRODUCTS), _output_tiles(gradient))
    products = _by_place(transposed_times, _input_sums(x, padding), of_products)
    of_kernel = _sums(_transposed(_OF_KERNEL), products)
    return of_x, jnp.stack([jnp.stack(row) for row in of_kernel])


convolve_3x3.defvjp(_forward, _backward)


@functools.partial(jax.jit, static_argnums=(2, 3))
def _convolved(
    x: jax.Array,
    kernel_sums: Grid,
    padding: int,
    multiply: Callable[[jax.Array, jax.Array], jax.Array],
) -> jax.Array:
    products = _by_place(multiply, _input_sums(x, padding), kernel_sums)
    rows = [jnp.stack(row, axis=3) for row in _sums(_OF_PRODUCTS, products)]
    tiles = jnp.stack(rows, axis=2)  # [b, rows of tiles, 2, columns of tiles, 2, features]
    batch, down, _, across, _, features = tiles.shape
    height, width = (length + 2 * padding - 2 for length in x.shape[1:3])
    return tiles.reshape(batch, 2 * down, 2 * across, features)[:, :height, :width]


def _input_sums(x: jax.Array, padding: int) -> Grid:
    """Sums the 4 x 4 inputs under each tile of outputs: [b, rows of tiles, columns of tiles, c] a place."""
    tiles = tuple((length + 2 * padding - 1) // 2 for length in x.shape[1:3])
    margins = [
        (padding, 2 * n + 2 - length - padding)
        for n, length in zip(tiles, x.shape[1:3], strict=True)
    ]
    x = jnp.pad(x, [(0, 0), *margins, (0, 0)])
    return _sums(_OF_INPUTS, [[strided(x, (i, j), tiles, 2) for j in range(4)] for i in range(4)])


def _output_tiles(x: jax.Array) -> Grid:
    """Cuts [b, h, w, c] into tiles of 2 x 2, zeros at the far end: [b, h / 2, w / 2, c] a place."""
    tiles = tuple((length + 1) // 2 for length in x.shape[1:3])
    x = jnp.pad(x, [(0, 0), *((0, length % 2) for length in x.shape[1:3]), (0, 0)])
    return [[strided(x, (i, j), tiles, 2) for j in range(2)] for i in range(2)]


def _taps(kernel: jax.Array) -> Grid:
    return [[kernel[i, j] for j in range(3)] for i in range(3)]


def _sums(weights: Weights, grid: Grid) -> Grid:
    """Replaces the places along both axes of a grid by weighted sums of them."""
    down = [[_sum(row, column) for column in zip(*grid, strict=True)] for row in weights]
    return [[_sum(row, places) for row in weights] for places in down]


def _sum(weights: Sequence[float], arrays: Sequence[jax.Array]) -> jax.Array:
    terms = [a if w == 1 else w * a for w, a in zip(weights, arrays, strict=True) if w != 0]
    return functools.reduce(jnp.add, terms)


def _transposed(weights: Weights) -> Weights:
    return tuple(zip(*weights, strict=True))


def _by_place(
    multiply: Callable[[jax.Array, jax.Array], jax.Array], left: Grid, right: Grid
) -> Grid:
    return [
        [multiply(a, b) for a, b in zip(*rows, strict=True)]
        for rows in zip(left, right, strict=True)
    ]


def _times_transposed(x: jax.Array, matrix: jax.Array) -> jax.Array:
    """Multiplies [..., o] by the transpose of [i, o]: [..., i]."""
    return jnp.matmul(x, matrix.T)
