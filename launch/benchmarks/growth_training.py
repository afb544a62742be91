"""How a training step grows with the batch and with devices, and what it would take on a pod."""

import functools
import pathlib
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from tqdm import tqdm

from launch.benchmarks.network import Stepper, alexnet, parameters, training
from launch.benchmarks.timing import Timing, seconds_in_turn, timing
from launch.benchmarks.work import Setting

BATCHES = (16, 32, 64, 128)
DEVICES = (1, 2, 4, 8)
POD_DEVICES = (1, 2, 4, 8, 16, 32, 64)


class TrainingGrowth(NamedTuple):
    """A training step in a process of its own.

    Attributes:
      batch_size: images a step, over all devices.
      devices: virtual ones, which share the machine's cores.
      seconds: a step takes.
      images_per_second: by the median.
      peak_bytes: the process's largest resident set.
      temporary_bytes: what XLA plans for intermediate results, on each device.
    """

    batch_size: int
    devices: int
    seconds: Timing
    images_per_second: float
    peak_bytes: int
    temporary_bytes: int


class Pod(NamedTuple):
    """What a modelled pod is assumed to be.

    Attributes:
      ethernet_gb_s: GB/s of a link between hosts.
      interchip_gb_s: GB/s of a link between chips.
      reading_images_s: photos a second that a host reads.
      devices_per_host: devices that share it.
    """

    ethernet_gb_s: float
    interchip_gb_s: float
    reading_images_s: float
    devices_per_host: int


class PodStep(NamedTuple):
    """A modelled step on n devices, with the same batch on each, in seconds.

    Attributes:
      devices: n.
      compute: as measured on this machine.
      reading: a host reads and decodes its devices' photos, beside the computation.
      ethernet: all-reduce of the gradients between hosts, after the computation.
      interchip: the same between chips.
      images_per_second_ethernet: of all devices.
      images_per_second_interchip: of all devices.
    """

    devices: int
    compute: float
    reading: float
    ethernet: float
    interchip: float
    images_per_second_ethernet: float
    images_per_second_interchip: float


def training_step(batch_size: int, devices: int, rounds: int) -> TrainingGrowth:
    """Times a training step; to be run in a fresh process.

    Args:
      batch_size: images a step, over all devices.
      devices: virtual CPU devices.
      rounds: timings.

    Returns:
      What it took.
    """
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", devices)
    step, state, batch = training(alexnet(Setting()), batch_size, parameters())
    plan = step.lower(state, batch).compile().memory_analysis()
    seconds = timing(seconds_in_turn({"step": Stepper(step, state, batch)}, rounds)["step"])
    return TrainingGrowth(
        batch_size,
        devices,
        seconds,
        batch_size / seconds.median,
        peak_memory(),
        plan.temp_size_in_bytes,
    )


def peak_memory() -> int:
    """The largest resident set of this process; getrusage's starts from its parent's."""
    return status_bytes("VmHWM")


def status_bytes(field: str) -> int:
    """Reads a size of this process, in bytes, from Linux."""
    status = pathlib.Path("/proc/self/status").read_text()
    return 1024 * int(re.findall(rf"{field}:\s*(\d+) kB", status)[0])


def pod_step(devices: int, compute: float, batch_size: int, gradients: int, pod: Pod) -> PodStep:
    """Models a step of data-parallel training.

    A ring all-reduce sends 2 (n - 1) / n of the float32 gradients over each link, after the
    computation; reading goes on beside both.

    Args:
      devices: n.
      compute: seconds that one device takes for its batch.
      batch_size: images on each device.
      gradients: how many there are.
      pod: the machine assumed.

    Returns:
      The modelled step.
    """
    gigabytes = 2 * (devices - 1) / devices * gradients * 4 / 1e9
    reading = batch_size * min(devices, pod.devices_per_host) / pod.reading_images_s
    ethernet, interchip = gigabytes / pod.ethernet_gb_s, gigabytes / pod.interchip_gb_s
    images = devices * batch_size
    return PodStep(
        devices,
        compute,
        reading,
        ethernet,
        interchip,
        images / max(compute + ethernet, reading),
        images / max(compute + interchip, reading),
    )


def grow_training(
    alone: Callable[..., Any], batch_size: int, rounds: int, *, small: bool = False
) -> list[TrainingGrowth]:
    """Grows the batch on one device, then devices at one batch; each setting once.

    Args:
      alone: runs a function in a fresh process.
      batch_size: while devices are varied.
      rounds: timings.
      small: the least of each, to try things out.

    Returns:
      What was measured.
    """
    batches, devices = ((batch_size,), (1, 2)) if small else (BATCHES, DEVICES)
    settings = [*((size, 1) for size in batches), *((batch_size, n) for n in devices)]
    return [
        alone(training_step, size, n, rounds)
        for size, n in tqdm(list(dict.fromkeys(settings)), desc="growth of training")
    ]


def model_pod(measured: list[TrainingGrowth], batch_size: int, pod: Pod) -> list[PodStep]:
    """Models the measured step of `batch_size` on one device, on ever more of them."""
    (compute,) = (
        g.seconds.median for g in measured if (g.batch_size, g.devices) == (batch_size, 1)
    )
    gradients = sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(parameters)))
    model = functools.partial(
        pod_step, compute=compute, batch_size=batch_size, gradients=gradients, pod=pod
    )
    return [model(devices) for devices in POD_DEVICES]
