"""Data parallelism: the only pmap. State is replicated, batches are split over the devices."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from dsf_jax.data.batches import Batch, TrainingBatch, pad_batch

AXIS = "devices"


def is_primary() -> bool:
    """Returns whether this process is the one that writes and prints for all."""
    return jax.process_index() == 0


def data_parallel(step: Callable[..., Any], *, donate: bool = True) -> Callable[..., Any]:
    """Compiles `step(state, batch)` for all devices of all processes; inside it, `across_devices`
    sums over them.

    Args:
      step: a function of a replicated state and one device's part of a batch; its results must be
        equal on all devices.
      donate: whether the state's memory may be used again for the results.

    Returns:
      A function of the state and a batch split by `split`.
    """
    return jax.pmap(
        step,
        axis_name=AXIS,
        in_axes=(None, 0),
        out_axes=None,
        donate_argnums=(0,) if donate else (),
    )


def replication() -> jax.sharding.Sharding:
    """Returns the placement of a state: whole on each device of all processes."""
    mesh = jax.sharding.Mesh(np.array(jax.devices()), (AXIS,))
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())


def replicate(tree: Any) -> Any:
    """Places a tree, equal on all processes, as `data_parallel` takes its state."""
    placement = replication()
    if jax.process_count() == 1:
        return jax.device_put(tree, placement)

    def place(x: Any) -> jax.Array:
        host = np.asarray(x)
        return jax.make_array_from_callback(host.shape, placement, lambda index: host[index])

    return jax.tree.map(place, tree)


def one_copy(tree: Any) -> Any:
    """Takes one copy of a replicated tree, without moving it where one process holds it alone.

    Orbax would compile a slice of every array for each device that holds it, and takes arrays of one
    process's devices for a part of the whole where there are several processes.
    """
    if jax.process_count() > 1:
        return jax.device_get(tree)
    return jax.tree.map(lambda x: x.addressable_data(0), tree)


def across_devices(tree: Any) -> Any:
    """Sums a tree over the devices of `data_parallel`."""
    return jax.lax.psum(tree, AXIS)


def of_all_devices(tree: Any) -> Any:
    """Joins the parts [b, ...] of a batch that the devices of `data_parallel` hold, equally on all."""
    return jax.lax.all_gather(tree, AXIS, tiled=True)


def split(batch: TrainingBatch, devices: int | None = None) -> TrainingBatch:
    """Cuts a host batch into one part per device; kinds that do not divide are padded with weight 0.

    Args:
      batch: this process's part of a training batch, arrays [b, ...].
      devices: number of parts; by default this process's devices.

    Returns:
      The batch as arrays [devices, the least that suffices, ...].
    """
    devices = devices or jax.local_device_count()

    def parts(one: Batch) -> Batch:
        each = -(-len(one["label"]) // devices)
        padded = pad_batch(one, each * devices)
        return {name: x.reshape(devices, each, *x.shape[1:]) for name, x in padded.items()}

    return {kind: parts(one) for kind, one in batch.items()}
