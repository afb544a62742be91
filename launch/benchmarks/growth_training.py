"""How a training step grows with the batch and with devices."""

import pathlib
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from tqdm import tqdm

from launch.benchmarks.network import Stepper, alexnet, training
from launch.benchmarks.timing import Timing, seconds_in_turn, timing
from launch.benchmarks.work import Setting

BATCHES = (16, 32, 64, 128)
DEVICES = (1, 2, 4, 8)


class TrainingGrowth(NamedTuple):
    """A training step in a process of its own.

    Attributes:
      batch_size: images per step, over all devices.
      devices: virtual devices, which share the machine's cores.
      seconds: time of a step.
      images_per_second: rate by the median.
      peak_bytes: the process's largest resident set.
      temporary_bytes: what XLA plans for intermediate results, on each device.
    """

    batch_size: int
    devices: int
    seconds: Timing
    images_per_second: float
    peak_bytes: int
    temporary_bytes: int


def training_step(batch_size: int, devices: int, rounds: int) -> TrainingGrowth:
    """Times a training step; to be run in a fresh process.

    Args:
      batch_size: images per step, over all devices.
      devices: virtual CPU devices.
      rounds: number of timings.

    Returns:
      What it took.
    """
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", devices)
    step, state, batch = training(alexnet(Setting()), batch_size)
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


def grow_training(
    in_fresh_process: Callable[..., Any], batch_size: int, rounds: int, *, small: bool = False
) -> list[TrainingGrowth]:
    """Grows the batch on one device, then devices at one batch; each setting once.

    Args:
      in_fresh_process: function that runs another in a fresh process.
      batch_size: batch size while devices are varied.
      rounds: number of timings.
      small: whether to take the least of each, to try things out.

    Returns:
      What was measured.
    """
    batches, devices = ((batch_size,), (1, 2)) if small else (BATCHES, DEVICES)
    settings = [*((size, 1) for size in batches), *((batch_size, n) for n in devices)]
    return [
        in_fresh_process(training_step, size, n, rounds)
        for size, n in tqdm(list(dict.fromkeys(settings)), desc="growth of training")
    ]
