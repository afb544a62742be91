"""Products and their gradients, against NumPy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsf_jax.models.products import product, transposed_times
from tests.models.alexnet_test import TOLERANCE, relative_error

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 4, 5)])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_product_alone(shape: tuple[int, ...], dtype: Any) -> None:
    """Value and both gradients against NumPy in float64, in the types that came in."""
    rng = np.random.default_rng(3)
    x, matrix, weights = (
        jnp.asarray(rng.standard_normal(size, np.float32), dtype)
        for size in (shape, (5, 7), (*shape[:-1], 7))
    )
    out, pull = jax.vjp(product, x, matrix)
    got = (out, *pull(weights))
    wide_x, wide_matrix, wide_weights = (np.asarray(a, np.float64) for a in (x, matrix, weights))
    expected = (
        wide_x @ wide_matrix,
        wide_weights @ wide_matrix.T,
        np.einsum("ni,no->io", wide_x.reshape(-1, 5), wide_weights.reshape(-1, 7)),
    )
    for mine, theirs in zip(got, expected, strict=True):
        assert mine.dtype == dtype and mine.shape == theirs.shape
        precise = TOLERANCE if dtype == jnp.float32 else 0.01
        assert relative_error(np.asarray(mine, np.float64), theirs) < precise


def test_transposed_times_sums_over_all_but_the_last_axis() -> None:
    rng = np.random.default_rng(4)
    x, gradient = (rng.standard_normal((2, 3, 4, n), np.float32) for n in (5, 7))
    got = np.asarray(transposed_times(x, gradient))
    expected = np.einsum("abci,abco->io", *(a.astype(np.float64) for a in (x, gradient)))
    assert relative_error(got, expected) < TOLERANCE
