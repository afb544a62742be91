"""What the machine can do at best, measured: products of matrices and copies of memory."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class _Sizes(NamedTuple):
    """What the rates are measured on: long enough to hide the call, short enough to take turns."""

    matrix: int  # side of the square matrices
    copied: int  # bytes


_CPU, _ACCELERATOR, _SMALL = _Sizes(2048, 2**28), _Sizes(8192, 2**31), _Sizes(64, 2**16)
MATRIX, COPY = "matrix product", "copy"


class Limits(NamedTuple):
    """Measures of the machine, as calls that take turns with a row's.

    Attributes:
      calls: the calls by name.
      flops: operations of the matrix product.
      moved: bytes that the copy reads and writes.
    """

    calls: dict[str, Callable[[], Any]]
    flops: float
    moved: float

    def seconds(self, flops: float, moved: float, rounds: dict[str, list[float]]) -> float:
        """The least time that work could take at the best rates seen.

        Args:
          flops: operations in its matrix products.
          moved: bytes that it cannot but read or write, once each.
          rounds: seconds of `calls` by name.
        """
        products = flops * min(rounds[MATRIX]) / self.flops
        return max(products, moved * min(rounds[COPY]) / self.moved)


def limits(dtype: str, *, small: bool = False) -> Limits:
    """Makes the calls.

    Args:
      dtype: type of the matrices.
      small: whether to take no time, to try things out.

    Returns:
      The limits of the default device.
    """
    sizes = _CPU if jax.default_backend() == "cpu" else _ACCELERATOR
    sizes = _SMALL if small else sizes
    matrix = jnp.ones((sizes.matrix, sizes.matrix), dtype)
    values = jnp.ones(sizes.copied // 4, jnp.float32)
    product = jax.jit(lambda x: jnp.matmul(x, x, precision="highest"))
    copy = jax.jit(jnp.negative)  # a copy alone would be the argument itself
    return Limits(
        {
            MATRIX: lambda: product(matrix).block_until_ready(),
            COPY: lambda: copy(values).block_until_ready(),
        },
        2.0 * sizes.matrix**3,
        2.0 * sizes.copied,
    )
