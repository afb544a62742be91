"""Rows come block by block: all of them, each once, in few sizes, where the device can read them."""

import jax.numpy as jnp
import numpy as np
import pytest

from dsf_jax.retrieval import row_blocks as module
from dsf_jax.retrieval.euclidean import search
from dsf_jax.retrieval.row_blocks import aligned_empty, row_blocks
from tests.retrieval.euclidean_test import assert_equal_to_brute_force, integers

pytestmark = pytest.mark.slow


def test_block_from_a_device_array_equals_block_from_the_host() -> None:
    # On the CPU search reads jax arrays through NumPy; elsewhere it slices them on the device.
    for n in (5, 16, 41):
        gallery = integers(2, n, 3)
        host, device = row_blocks(gallery, 16), row_blocks(jnp.asarray(gallery), 16)
        for (rows, *place), (other, *same) in zip(host, device, strict=True):
            assert place == same
            np.testing.assert_array_equal(rows, other)


def test_galleries_are_cut_evenly_into_blocks_of_few_sizes() -> None:
    sizes = set()
    for n in range(1, 3000, 13):
        gallery = np.arange(n)[:, None]
        blocks = _placed(gallery, 64)
        ((size, count),) = {(len(rows), len(blocks)) for *_, rows in blocks}
        assert size <= min(n, 64) and n <= size * count < n + count * 64 / module.STEPS + 64
        for (
            first,
            _,
            rows,
        ) in blocks:  # read where they lie: none is filled up with what is not there
            np.testing.assert_array_equal(rows.ravel(), np.arange(first, first + size))
        assert [fresh for _, fresh, _ in blocks] == list(range(0, n, size))
        sizes.add(size)
    assert len([size for size in sizes if size > 32]) <= module.STEPS / 2


def _placed(gallery: np.ndarray, block: int) -> list[tuple[int, int, np.ndarray]]:
    return [(first, fresh, np.array(x)) for x, first, fresh in row_blocks(gallery, block)]


def test_halves_are_widened_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WIDENED", 4 * 10 * 5)
    halves = integers(3, 100, 5).astype(np.float16)
    assert {len(rows) for _, _, rows in _placed(halves, 64)} == {10}
    assert {len(rows) for _, _, rows in _placed(halves.astype(np.float32), 64)} == {52}
    found = search(integers(4, 3, 5), halves, 7, block=64)
    assert_equal_to_brute_force(integers(4, 3, 5), halves, 7, found)


def test_rows_that_cannot_be_read_in_place_are_copied_into_two_buffers() -> None:
    room = aligned_empty((1, 400), np.dtype(np.float32))[0]
    gallery = room[1:391].reshape(130, 3)
    gallery[:] = integers(3, 130, 3)
    blocks = [rows for rows, _, _ in row_blocks(gallery, 32)]
    assert all(rows.ctypes.data % module.ALIGNMENT == 0 for rows in blocks)
    assert len({rows.ctypes.data for rows in blocks}) == 2
    queries = integers(4, 6, 3)
    assert_equal_to_brute_force(queries, gallery, 5, search(queries, gallery, 5, block=32))
