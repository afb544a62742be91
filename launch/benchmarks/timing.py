"""Calls that take turns: their times, what these say of each other, and where they hold."""

import math
import os
import pathlib
import platform
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

FEWEST_ROUNDS = 3  # however long a round takes
SHORT, MOST = 0.05, 100  # seconds: shorter calls are timed several in a row, at most MOST


class Timing(NamedTuple):
    """Seconds a call takes."""

    median: float
    lowest: float
    highest: float


class Ratio(NamedTuple):
    """How many times as long one call takes as another, by turns.

    Attributes:
      median: median of the rounds' ratios.
      lower: the quartile below, of the rounds.
      upper: the quartile above.
    """

    median: float
    lower: float
    upper: float


def seconds_in_turn(
    calls: Mapping[str, Callable[[], Any]], rounds: int, *, most_seconds: float = np.inf
) -> dict[str, list[float]]:
    """Times calls in turn, after each was called once to warm up.

    Args:
      calls: calls by name; each waits for its result.
      rounds: timings of each; of a short call, the mean of as many as take `SHORT`.
      most_seconds: time after which no new round begins, except the first three.

    Returns:
      Seconds of one call by name, round by round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    begun = time.perf_counter()
    for call in calls.values():
        call()  # compiles
    times: dict[str, int] = {}
    for number in tqdm(range(rounds), desc="rounds", leave=False):
        if number >= FEWEST_ROUNDS and time.perf_counter() - begun > most_seconds:
            break
        for name, call in calls.items():
            mean = _mean(call, times.get(name, 1))
            if not number and mean < SHORT:
                times[name] = math.ceil(min(SHORT / mean, MOST))
                mean = _mean(call, times[name])
            seconds[name].append(mean)
    return seconds


def _mean(call: Callable[[], Any], times: int) -> float:
    """Returns the seconds of one of several calls in a row."""
    start = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - start) / times


def timing(seconds: Sequence[float]) -> Timing:
    """Sums up one call's rounds."""
    return Timing(float(np.median(seconds)), min(seconds), max(seconds))


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> Ratio:
    """Compares two calls round by round, so that what slows a round slows both."""
    each = np.array(theirs) / np.array(ours)
    return Ratio(*(float(x) for x in np.quantile(each, (0.5, 0.25, 0.75))))


def machine() -> dict[str, Any]:
    """Describes where figures hold."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "device": jax.devices()[0].device_kind,
        "devices": jax.device_count(),
        "jax": jax.__version__,
        "load_average": os.getloadavg()[0],
    }


def same_machine(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Tells whether figures of two machines may be compared."""
    return all(one.get(x) == other.get(x) for x in ("processor", "cores", "device", "devices"))


def _processor() -> str:
    names = re.findall(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    return names[0] if names else platform.machine()
