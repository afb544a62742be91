"""The forms of AlexNet's parts, each alone, against textbook forms and the layers in NumPy."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsf_jax.models import alexnet, kernels
from dsf_jax.models.depthwise import depthwise
from tests.models import numpy_alexnet as original
from tests.models.alexnet_test import TOLERANCE, VARIANTS, relative_error, weighted_sum

pytestmark = pytest.mark.slow


def textbook_convolution(x: jax.Array, kernel: jax.Array, conv: kernels.Conv) -> jax.Array:
    """XLA's own, with its own groups."""
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (conv.stride, conv.stride),
        [(conv.padding, conv.padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=conv.groups,
    )


@pytest.mark.parametrize(
    ("variant", "block"), [(variant, block) for variant in VARIANTS for block in range(1, 6)]
)
def test_convolution_alone(variant: str, block: int) -> None:
    """Values and both gradients of every layer's form, on sizes that no stride divides."""
    rng = np.random.default_rng(7)
    conv = alexnet.ARCHITECTURES[variant].convs[block - 1]
    spec = original.CONVOLUTIONS[variant][f"conv{block}"]
    shape = (spec.size, spec.size, spec.inputs // spec.groups, spec.outputs)
    kernel = rng.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / np.prod(shape[:-1])))
    inputs = kernel.shape[2] * conv.groups
    x = rng.standard_normal((3, *((26, 17) if conv.stride > 1 else (7, 4)), inputs), np.float32)
    shape = jax.eval_shape(lambda x, k: textbook_convolution(x, k, conv), x, kernel).shape
    weights = rng.standard_normal(shape, np.float32)

    def values_and_gradients(convolve: Callable[..., Any]) -> Any:
        def run(x: jax.Array, kernel: jax.Array) -> Any:
            out, pull = jax.vjp(lambda x, kernel: convolve(x, kernel, conv), x, kernel)
            return out, *pull(weights)

        return jax.jit(run)(x, kernel)

    own, textbook = map(values_and_gradients, (kernels.convolve_groups, textbook_convolution))
    for mine, theirs in zip(own, textbook, strict=True):
        assert relative_error(np.asarray(mine), np.asarray(theirs)) < TOLERANCE


@pytest.mark.parametrize(
    ("channels", "stride", "dtype", "by_products"),
    [
        (64, 1, jnp.float32, True),
        (32, 1, jnp.float32, False),
        (64, 2, jnp.float32, False),
        (64, 1, jnp.bfloat16, False),
    ],
)
def test_winograds_products_are_for_many_channels(
    channels: int, stride: int, dtype: Any, by_products: bool
) -> None:
    conv = kernels.Conv(2 * channels, 3, stride, 1, groups=2)
    x = jnp.ones((2, 5, 6, 2 * channels), dtype)
    kernel = jnp.ones((3, 3, channels, 2 * channels), dtype)
    convolve = jax.jit(lambda x, kernel: kernels.convolve_groups(x, kernel, conv))
    assert ("convolution" in convolve.lower(x, kernel).as_text()) != by_products
    np.testing.assert_array_equal(
        convolve(x, kernel), textbook_convolution(x, kernel, conv), strict=True
    )


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_response_norm_alone(wrap: Callable[..., Any]) -> None:
    """Any number of channels, fewer than the window included; strong and weak activations."""
    rng = np.random.default_rng(5)
    for channels in (1, 4, 7, 96):
        x = rng.standard_normal((2, 3, 4, channels)) * rng.choice([1.0, 300.0], (2, 3, 4, 1))
        out = wrap(kernels.response_norm)(jnp.asarray(x, jnp.float32))
        assert relative_error(np.asarray(out), original.lrn(x)) < 1e-6, channels


def test_response_norm_gradient() -> None:
    """At zero the layer is the identity; elsewhere its slope is the NumPy layer's."""
    rng = np.random.default_rng(5)
    weights = rng.standard_normal((1, 2, 2, 9))

    def gradient(x: np.ndarray) -> np.ndarray:
        loss = jax.grad(lambda x: weighted_sum(kernels.response_norm(x), weights))
        return np.asarray(loss(jnp.asarray(x, jnp.float32)))

    np.testing.assert_allclose(gradient(np.zeros(weights.shape)), weights, rtol=1e-6)
    x = 100.0 * rng.standard_normal(weights.shape)
    slopes = np.empty(x.shape)
    for index in np.ndindex(x.shape):
        step = np.zeros(x.shape)
        step[index] = 1e-3
        rise = original.lrn(x + step) - original.lrn(x - step)
        slopes[index] = (rise * weights).sum() / 2e-3
    assert relative_error(gradient(x), slopes) < TOLERANCE


def reduce_window_pool(x: jax.Array, *, ceil: bool) -> jax.Array:
    """The textbook form: one window reduction, the overhang filled with -inf."""
    over = [(n - 3) % 2 if ceil else 0 for n in x.shape[1:3]]
    padding = ((0, 0), (0, over[0]), (0, over[1]), (0, 0))
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), padding)


@pytest.mark.parametrize(
    ("height", "width", "ceil", "wrap"),
    [
        *((h, w, ceil, jax.jit) for h, w in [(13, 13), (12, 15), (3, 4)] for ceil in (True, False)),
        (6, 5, True, lambda f: f),
    ],
)
def test_max_pool_alone(height: int, width: int, ceil: bool, wrap: Callable[..., Any]) -> None:
    """Values, and without ties also gradients, are those of one window reduction."""
    rng = np.random.default_rng(2)
    # A permutation has no ties; all values below zero show a border filled with zeros.
    x = -rng.permutation(2 * height * width * 3).reshape(2, height, width, 3).astype(np.float32)
    out = wrap(functools.partial(kernels.max_pool, ceil=ceil))(x)
    np.testing.assert_array_equal(out, original.max_pool(x.astype(np.float64), ceil=ceil))
    weights = rng.integers(1, 9, out.shape).astype(np.float32)
    own, textbook = (
        wrap(jax.grad(lambda x, p=pool: weighted_sum(p(x, ceil=ceil), weights)))(x)
        for pool in (kernels.max_pool, reduce_window_pool)
    )
    np.testing.assert_array_equal(own, textbook)


@pytest.mark.parametrize("ceil", [True, False])
def test_max_pool_shares_the_gradient_of_ties(ceil: bool) -> None:
    """Equal values share what their window passes down: nothing is lost, nothing doubled."""
    x = jnp.full((1, 6, 9, 1), 4.0)
    total, slopes = jax.jit(jax.value_and_grad(lambda x: jnp.sum(kernels.max_pool(x, ceil=ceil))))(
        x
    )
    assert float(slopes.sum()) == float(total) / 4.0


@pytest.mark.parametrize("form", ["convolution", "depthwise"])
def test_portable_forms_choose_by_no_platform(form: str) -> None:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((2, 9, 9, 4), np.float32)
    kernel = rng.standard_normal((5, 5, 4 if form == "convolution" else 1, 4), np.float32)

    def forward() -> Callable[[Any, Any], Any]:
        if form == "depthwise":
            return lambda x, kernel: depthwise(x, kernel, stride=1)
        return lambda x, kernel: kernels.convolve_groups(x, kernel, kernels.Conv(4, 5, 1, 2, 1))

    with kernels.portable_forms():
        portable = jax.make_jaxpr(forward())(x, kernel)
    assert "platform_index" not in str(portable)
    assert "platform_index" in str(jax.make_jaxpr(forward())(x, kernel))
    (got,) = jax.core.eval_jaxpr(portable.jaxpr, portable.consts, x, kernel)
    np.testing.assert_allclose(got, forward()(x, kernel), atol=1e-4)
