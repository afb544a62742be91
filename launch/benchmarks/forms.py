"""Rows of the network's and the search's parts, each in the form that the library takes here and in
others that compute the same, where no measurement has decided yet (BUILD_NOTES.md, "AlexNet").
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dsf_jax.images.resize import SIZE
from dsf_jax.models.alexnet import ARCHITECTURES
from dsf_jax.models.kernels import Conv, convolve_groups
from launch.benchmarks.work import OURS, Setting, Work, checked, relative_difference

CONVOLUTIONS = {"conv1": (SIZE, 3), "conv2": (27, 96), "conv4": (13, 384)}  # side and channels
KEPT, BOUNDS = 182, (256, 16384)  # of a block of distances


def forms(setting: Setting) -> Iterator[Work]:
    """Convolutions with their gradients, and the choice of the nearest."""
    rng = np.random.default_rng(0)
    batch = setting.batch_size

    def noise(*shape: int) -> jax.Array:
        return jnp.asarray(rng.standard_normal(shape, np.float32), setting.dtype)

    for layer, (side, channels) in CONVOLUTIONS.items():
        conv = ARCHITECTURES["caffe"].convs[int(layer[-1]) - 1]
        kernel = noise(conv.kernel, conv.kernel, channels // conv.groups, conv.features)
        out = (side + 2 * conv.padding - conv.kernel) // conv.stride + 1
        flops = 6.0 * batch * out**2 * conv.features * np.prod(kernel.shape[:-1])
        arguments = (noise(batch, side, side, channels), kernel)
        yield _differentiated(setting, layer, _convolutions(conv), arguments, flops)
    bounds = jnp.asarray(rng.standard_normal(BOUNDS, np.float32))
    choices = {
        OURS: lambda x: lax.top_k(x, KEPT),
        "approx_max_k, recall 1": lambda x: lax.approx_max_k(x, KEPT, recall_target=1.0),
    }
    yield _work(setting, "top k", choices, (bounds,), 0.0, "distances", dtype="float32")


def _convolutions(conv: Conv) -> dict[str, Callable[..., jax.Array]]:
    return {
        OURS: lambda x, kernel: convolve_groups(x, kernel, conv),
        "native groups, NCHW": lambda x, kernel: lax.conv_general_dilated(
            x.transpose(0, 3, 1, 2),
            kernel,
            (conv.stride, conv.stride),
            [(conv.padding, conv.padding)] * 2,
            dimension_numbers=("NCHW", "HWIO", "NCHW"),
            feature_group_count=conv.groups,
        ).transpose(0, 2, 3, 1),
    } | ({"space to depth": lambda x, k: _by_cells(x, k, conv)} if conv.stride > 1 else {})


def _by_cells(x: jax.Array, kernel: jax.Array, conv: Conv) -> jax.Array:
    """A strided convolution without padding as one that moves by a cell of stride x stride pixels."""
    stride, (batch, side, _, channels) = conv.stride, x.shape
    out, span = (side - conv.kernel) // stride + 1, -(-conv.kernel // stride)
    filled = (out + span - 1) * stride - side
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), (0, filled, 0), (0, filled, 0), (0, 0, 0)])
    cells = out + span - 1
    x = x.reshape(batch, cells, stride, cells, stride, channels).transpose(0, 1, 3, 2, 4, 5)
    missing = (0, span * stride - conv.kernel)
    kernel = jnp.pad(kernel, [missing, missing, (0, 0), (0, 0)])
    kernel = kernel.reshape(span, stride, span, stride, channels, -1).transpose(0, 2, 1, 3, 4, 5)
    depth = stride * stride * channels
    return lax.conv_general_dilated(
        x.reshape(batch, cells, cells, depth),
        kernel.reshape(span, span, depth, -1),
        (1, 1),
        "VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _differentiated(
    setting: Setting,
    what: str,
    made: Mapping[str, Callable[..., jax.Array]],
    arguments: tuple[jax.Array, ...],
    flops: float,
) -> Work:
    """The forms with the gradients of their squared sum in all arguments."""

    def loss(form: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
        return lambda *x: jnp.sum(form(*x).astype(jnp.float32) ** 2)

    each = {
        name: jax.value_and_grad(loss(form), argnums=tuple(range(len(arguments))))
        for name, form in made.items()
    }
    return _work(setting, what, each, arguments, flops, setting.kind("logits"), setting.dtype)


def _work(
    setting: Setting,
    what: str,
    made: Mapping[str, Callable[..., Any]],
    arguments: tuple[jax.Array, ...],
    flops: float,
    kind: str,
    dtype: str,
) -> Work:
    calls: dict[str, Callable[[], Any]] = {}
    results = {}
    for name, form in made.items():
        compiled = jax.jit(form)
        calls[name] = lambda compiled=compiled: jax.block_until_ready(compiled(*arguments))  # type: ignore[misc]
        results[name] = calls[name]()
    ours = calls.pop(OURS)
    differences = {
        name: checked(
            relative_difference(_floats(results[OURS]), _floats(results[name])), kind, name
        )
        for name in calls
    }
    moved = float(sum(x.nbytes for x in (*arguments, *jax.tree.leaves(results[OURS]))))
    return Work(
        f"form of {what}",
        ours,
        len(arguments[0]),
        "rows",
        calls,
        differences,
        flops=flops,
        moved=moved,
        dtype=dtype,
    )


def _floats(tree: Any) -> Any:
    return jax.tree.map(lambda x: np.asarray(x, np.float32), tree)
