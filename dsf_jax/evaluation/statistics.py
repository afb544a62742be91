"""A mean and how certain it is: the project's one bootstrap."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

DRAWS, SEED = 1000, 0
# 2.5 % of values and of groups, rounded as in the results that were published of each.
TAIL, GROUPS_TAIL = 0.025, (1 - 0.95) / 2
_CACHED = 2**14  # values drawn at a time, which stay in a processor's cache
# What stands for an interval without a width: the mean is of one value, or of equal ones.
NO_INTERVAL = "no interval"


class Measure(NamedTuple):
    """A number and its interval, which a record's `interval` explains."""

    value: float
    low: float
    high: float

    def text(self, digits: int = 3) -> str:
        """Returns "0.906 [0.884, 0.923]"; an interval without a width is said to be none."""
        value, low, high = (f"{number:.{digits}f}" for number in self)
        return f"{value} ({NO_INTERVAL})" if self.low == self.high else f"{value} [{low}, {high}]"


def bootstrap(
    values: np.ndarray,
    groups: Sequence[object] | np.ndarray | None = None,
    *,
    draws: int = DRAWS,
    seed: int = SEED,
) -> Measure:
    """Computes a mean and its percentile bootstrap interval, 95 %.

    One seed resamples every array of one length alike: metrics of the same queries vary together.

    Args:
      values: [q] numbers, one per query, sketch or the like.
      groups: [q] what each value belongs to, e.g. its class. Whole groups are drawn, as values of one
        group are not independent. None draws values.
      draws: number of resamplings.
      seed: seed of the resamplings.

    Returns:
      The mean of all values and its interval; of a single value, that value thrice.

    Raises:
      ValueError: when there are no values, one is not finite, or the groups do not fit them.
    """
    values = np.asarray(values, np.float64)
    labels = None if groups is None else np.asarray(groups)
    _check(values, labels)
    rng = np.random.default_rng(seed)
    if labels is None:
        means, tail = _means(values, draws, rng), TAIL
    else:
        means, tail = _grouped_means(values, labels, draws, rng), GROUPS_TAIL
    low, high = np.quantile(means, [tail, 1 - tail])
    # A mean of equal numbers may differ from them in its last digit.
    bounds = np.clip([values.mean(), low, high], values.min(), values.max())
    return Measure(*bounds.tolist())


def exact(values: np.ndarray) -> Measure:
    """Returns the mean of values that nothing random is in, as its own interval."""
    mean = float(np.mean(values))
    return Measure(mean, mean, mean)


def _means(values: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Returns the mean [draws] of as many values as there are, drawn with replacement."""
    n = len(values)
    at_a_time = max(1, _CACHED // n)
    sizes = (min(at_a_time, draws - start) for start in range(0, draws, at_a_time))
    return np.concatenate([values[rng.integers(n, size=(size, n))].mean(axis=1) for size in sizes])


def _grouped_means(
    values: np.ndarray, groups: np.ndarray, draws: int, rng: np.random.Generator
) -> np.ndarray:
    """Returns the mean [draws] of all values of the groups drawn."""
    _, group = np.unique(groups, return_inverse=True)
    sums, sizes = np.bincount(group, values), np.bincount(group)
    chances = np.full(len(sizes), 1 / len(sizes))
    times = rng.multinomial(len(sizes), chances, size=draws)  # [draws, groups]
    return (times @ sums) / (times @ sizes)


def _check(values: np.ndarray, groups: np.ndarray | None) -> None:
    if values.ndim != 1 or not values.size or not np.isfinite(values).all():
        what = f"shape {values.shape}" if values.ndim != 1 or not values.size else "NaN or infinity"
        raise ValueError(
            f"the values of a bootstrap have {what}, expected [q] finite numbers, q at least 1; "
            "leave out the queries without a value"
        )
    if groups is not None and groups.shape != values.shape:
        raise ValueError(
            f"values are {list(values.shape)} and groups {list(groups.shape)}, expected [q] both; "
            "give one group per value"
        )


def bootstrap_with_differences(values: Mapping[str, np.ndarray], metric: str) -> dict[str, Measure]:
    """Bootstraps what several methods score on the same items, and how each differs from the first.

    The items are resampled as pairs: the interval of a difference shows whether one method beats
    the other on the same items.

    Args:
      values: {method: [q]} scores, in one order of the items.
      metric: name of the score, "accuracy" or the like.

    Returns:
      {"METRIC/METHOD": mean} of all methods, {"METRIC/METHOD minus FIRST": mean difference} of all
      but the first.
    """
    first, *others = values
    numbers = {f"{metric}/{method}": bootstrap(scores) for method, scores in values.items()}
    for method in others:
        numbers[f"{metric}/{method} minus {first}"] = bootstrap(values[method] - values[first])
    return numbers


def describe_bootstrap(over: str) -> str:
    """Describes `bootstrap` for a record's `interval`; `over` is what it resamples: "queries"."""
    return f"95 % bootstrap over {over}, {DRAWS} draws, seed {SEED}"
