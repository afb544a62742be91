"""A gallery's rows, block by block, as the device reads them best."""

import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
from jax import lax

STEPS = 16  # number of block sizes between powers of two, each compiled once
WIDENED = 16 * 2**20  # bytes of half-precision rows, as float32: what malloc keeps, not the system
ALIGNMENT = 64  # bytes: XLA's CPU client reads host memory in place from such an address only

Array = np.ndarray | jax.Array


def row_blocks(gallery: Array, block: int) -> Iterator[tuple[Array, int, int]]:
    """Yields (rows [m, d], first row's index, index of the first row not yielded before).

    All have one shape: the last block reaches back over known rows. Galleries are cut evenly, in
    blocks of one of few sizes, so that a growing one seldom compiles again. Rows may be overwritten
    when the next but one is asked for.
    """
    n, d = gallery.shape
    block = min(block, 1 << (n.bit_length() - 1))
    if gallery.dtype.itemsize < 4 and not isinstance(gallery, jax.Array):
        block = min(block, max(1, WIDENED // (4 * d)))
    step = max(1, block // STEPS)
    m = min(block, math.ceil(n / math.ceil(n / block) / step) * step)
    buffers = _Buffers()
    for fresh in range(0, n, m):
        first = min(fresh, n - m)
        if isinstance(gallery, jax.Array):
            yield lax.dynamic_slice_in_dim(gallery, first, m), first, fresh
        else:
            yield buffers.aligned(np.asarray(gallery[first : first + m])), first, fresh


def in_place(gallery: Array) -> Array:
    """Returns a view of a jax array in host memory: its slices need no copy, those of a jax array do."""
    on_host = isinstance(gallery, jax.Array) and {x.platform for x in gallery.devices()} == {"cpu"}
    return np.asarray(gallery) if on_host else gallery


class _Buffers:
    """Two buffers in turn for rows that the CPU client could not read in place: it copies slower."""

    def __init__(self) -> None:
        self._buffers: list[np.ndarray] = []

    def aligned(self, rows: np.ndarray) -> np.ndarray:
        """Returns rows, copied if they have to be; all calls have rows of one shape."""
        if rows.flags.c_contiguous and rows.ctypes.data % ALIGNMENT == 0:
            return rows
        if len(self._buffers) < 2:  # made when they are needed
            self._buffers.append(aligned_empty(rows.shape, rows.dtype))
        buffer = self._buffers[-1]
        self._buffers.reverse()
        parts = zip(*(np.array_split(x, os.cpu_count() or 1) for x in (buffer, rows)), strict=True)
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda part: np.copyto(*part), parts))
        return buffer


def aligned_empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Returns an uninitialised array that the CPU client reads in place."""
    size = math.prod(shape) * dtype.itemsize
    spare = np.empty(size + ALIGNMENT, np.uint8)
    start = -spare.ctypes.data % ALIGNMENT
    return spare[start : start + size].view(dtype).reshape(shape)
