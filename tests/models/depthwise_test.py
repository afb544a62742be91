"""Depthwise convolutions as sums of shifted slices, against XLA's grouped convolution."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsf_jax.models.depthwise import depthwise
from tests.models.alexnet_test import relative_error

pytestmark = pytest.mark.slow

TOLERANCE = 1e-5


def textbook(x, kernel, *, stride):
    """XLA's own, whose SAME padding is TensorFlow's."""
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=x.shape[-1],
    )  # fmt: skip


def with_gradients(convolve, x, kernel, stride):
    """The output, and the gradients of a weighted sum of it in input and kernel."""
    out, pull = jax.vjp(functools.partial(convolve, stride=stride), x, kernel)
    weights = np.random.default_rng(1).standard_normal(out.shape, np.float32)
    return out, *pull(weights.astype(out.dtype))


def noise(batch, height, width, channels, side):
    rng = np.random.default_rng(0)
    return (
        rng.standard_normal((batch, height, width, channels), np.float32),
        rng.standard_normal((side, side, 1, channels), np.float32),
    )


def assert_same(arguments, stride):
    x, kernel = arguments
    ours, theirs = (
        jax.jit(functools.partial(with_gradients, form, stride=stride))(x, kernel)
        for form in (depthwise, textbook)
    )
    for mine, other in zip(ours, theirs, strict=True):
        assert relative_error(np.asarray(mine), np.asarray(other)) < TOLERANCE


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("side", [3, 5])
@pytest.mark.parametrize(("height", "width"), [(8, 11), (7, 2)])
def test_values_and_gradients(height, width, side, stride):
    assert_same(noise(3, height, width, 4, side), stride)


@given(
    batch=st.integers(1, 40),
    height=st.integers(1, 13),
    width=st.integers(1, 13),
    channels=st.integers(1, 9),
    side=st.sampled_from([3, 5]),
    stride=st.sampled_from([1, 2, 3]),
)
@settings(max_examples=8)
def test_values_and_gradients_of_any_size(batch, height, width, channels, side, stride):
    assert_same(noise(batch, height, width, channels, side), stride)


@pytest.mark.parametrize("stride", [1, 2])
def test_bfloat16_is_summed_in_float32(stride):
    """Rounded once, at the end: of 8 bits, and not of sums of 200 rounded products."""
    x, kernel = (jnp.asarray(a, jnp.bfloat16) for a in noise(4, 9, 12, 4, 3))
    exact = with_gradients(textbook, x.astype(jnp.float32), kernel.astype(jnp.float32), stride)
    low = jax.jit(functools.partial(with_gradients, depthwise, stride=stride))(x, kernel)
    for mine, other in zip(low, exact, strict=True):
        assert mine.dtype == jnp.bfloat16
        assert relative_error(np.asarray(mine, np.float32), np.asarray(other)) < 2**-7


def test_it_maps_and_batches_like_any_function():
    x, kernel = noise(6, 7, 9, 2, 5)
    one_by_one = jax.jit(jax.vmap(lambda image: depthwise(image[None], kernel, stride=2)[0]))(x)
    np.testing.assert_allclose(one_by_one, depthwise(x, kernel, stride=2), atol=1e-5)


def test_it_is_exported_for_all_platforms():
    x, kernel = noise(2, 7, 9, 2, 3)
    (b,) = jax.export.symbolic_shape("b")
    form = jax.jit(functools.partial(depthwise, stride=2))
    exported = jax.export.export(form, platforms=("cpu", "cuda", "tpu"))(
        jax.ShapeDtypeStruct((b, *x.shape[1:]), x.dtype), kernel
    )
    np.testing.assert_allclose(exported.call(x, kernel), form(x, kernel), atol=1e-6)
