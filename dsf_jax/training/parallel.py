"""Data parallelism: the only pmap. State is replicated, batches are split over the devices."""

from collections.abc import Callable
from typing import Any

import jax

from dsf_jax.data.groups import Batch, pad_group

AXIS = "devices"


def data_parallel(step: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles `step(state, batch)` for all devices; inside it, `across_devices` sums over them.

    Args:
      step: a function of a replicated state, which is donated, and one device's part of a batch;
        its results must be equal on all devices.

    Returns:
      A function of the state and a batch split by `split`.
    """
    return jax.pmap(step, axis_name=AXIS, in_axes=(None, 0), out_axes=None, donate_argnums=0)


def across_devices(tree: Any) -> Any:
    """Sums a tree over the devices of `data_parallel`."""
    return jax.lax.psum(tree, AXIS)


def split(batch: Batch, devices: int | None = None) -> Batch:
    """Cuts a host batch into one part a device; groups that do not divide are padded with weight 0.

    Args:
      batch: groups of arrays [b, ...].
      devices: number of parts; by default this process's devices.

    Returns:
      Groups of arrays [devices, ceil(b / devices), ...].
    """
    devices = devices or jax.local_device_count()

    def parts(group: dict[str, Any]) -> dict[str, Any]:
        each = -(-len(group["label"]) // devices)
        padded = pad_group(group, each * devices)
        return {name: x.reshape(devices, each, *x.shape[1:]) for name, x in padded.items()}

    return {kind: parts(group) for kind, group in batch.items()}
