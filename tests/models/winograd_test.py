"""Winograd's products, against the definition of a convolution in float64."""

from typing import Any

import jax
import numpy as np
import pytest

from dsf_jax.models.winograd import convolve_3x3
from tests.models.alexnet_test import relative_error

pytestmark = pytest.mark.slow


def by_definition(x: np.ndarray, kernel: np.ndarray, padding: int) -> np.ndarray:
    """[b, h', w', features]: each output is the sum over a window of 3 x 3 and all channels."""
    margins = [(0, 0), (padding, padding), (padding, padding), (0, 0)]
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, margins), (3, 3), axis=(1, 2))
    return np.einsum("bhwcij,ijcf->bhwf", windows, kernel)


def gradients_by_definition(
    x: np.ndarray, kernel: np.ndarray, padding: int, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Of the weighted sum of outputs, which is linear in either argument: one unit after the other."""

    def along(argument: np.ndarray, convolve: Any) -> np.ndarray:
        units = np.eye(argument.size).reshape(argument.size, *argument.shape)
        return np.array([(convolve(unit) * weights).sum() for unit in units]).reshape(
            argument.shape
        )

    return (
        along(x, lambda unit: by_definition(unit, kernel, padding)),
        along(kernel, lambda unit: by_definition(x, unit, padding)),
    )


def numbers(seed: int, *shapes: tuple[int, ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape, np.float32) for shape in shapes]


@pytest.mark.parametrize(
    ("height", "width", "padding"),
    [(3, 3, 0), (4, 5, 0), (1, 1, 1), (2, 3, 1), (5, 4, 1), (6, 7, 1), (1, 2, 2), (3, 4, 2)],
)
def test_values_and_gradients(height: int, width: int, padding: int) -> None:
    x, kernel = numbers(0, (2, height, width, 3), (3, 3, 3, 2))
    wide_x, wide_kernel = (a.astype(np.float64) for a in (x, kernel))
    expected = by_definition(wide_x, wide_kernel, padding)
    (weights,) = numbers(1, expected.shape)

    @jax.jit
    def both(x: jax.Array, kernel: jax.Array) -> Any:
        out, pull = jax.vjp(lambda x, kernel: convolve_3x3(x, kernel, padding), x, kernel)
        return out, *pull(weights)

    theirs = gradients_by_definition(wide_x, wide_kernel, padding, weights.astype(np.float64))
    for mine, by_hand in zip(both(x, kernel), (expected, *theirs), strict=True):
        assert mine.dtype == np.float32
        assert relative_error(np.asarray(mine), by_hand) < 1e-6


@pytest.mark.parametrize("channels", [16, 256])
def test_rounding_is_that_of_a_convolution(channels: int) -> None:
    """At AlexNet's size, whose 13 x 13 outputs no tile of 2 x 2 divides."""
    x, kernel = numbers(0, (2, 13, 13, channels), (3, 3, channels, 32))
    x = np.maximum(x, 0)
    expected = by_definition(x.astype(np.float64), kernel.astype(np.float64), 1)
    got = jax.jit(convolve_3x3, static_argnums=2)(x, kernel, 1)
    assert relative_error(np.asarray(got), expected) < 2e-6


def test_a_batch_is_its_examples() -> None:
    x, kernel = numbers(1, (3, 4, 5, 2), (3, 3, 2, 4))
    whole = convolve_3x3(x, kernel, 1)
    mapped = jax.vmap(lambda image: convolve_3x3(image[None], kernel, 1)[0])(x)
    np.testing.assert_allclose(mapped, whole, atol=1e-5)
