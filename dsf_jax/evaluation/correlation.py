"""Kendall's rank correlation of many queries at once."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Array = np.ndarray | jax.Array


class KendallTau(NamedTuple):
    """Rank correlation of each query's items; NaN where it is not defined."""

    tau_b: np.ndarray  # [q] float64: NaN where all of `first`, or all of `second`, are equal
    tau_a: np.ndarray  # [q] float64: NaN where there are fewer than two items


def kendall_tau(
    first: np.ndarray, second: np.ndarray, *, mask: np.ndarray | None = None
) -> KendallTau:
    """Computes Kendall's rank correlation, with the correction for ties (tau-b) and without (tau-a).

    With n_c concordant and n_d discordant of N pairs, and U, V pairs that tie in `first`, `second`:
    tau-b = (n_c - n_d) / sqrt((N - U) (N - V)), tau-a = (n_c - n_d) / N. Order and ties are those of
    the numbers given, in their own precision.

    Args:
      first: [q, n] numbers, the rating of each of a query's items.
      second: [q, n] numbers, what is compared with it.
      mask: [q, n] bool, False for padding where queries have fewer items; all by default.

    Returns:
      Both correlations of each query; tau-b is that of scipy.stats.kendalltau.

    Raises:
      ValueError: shapes that do not fit, or a number that is NaN.
    """
    used = np.ones(first.shape, bool) if mask is None else np.asarray(mask, bool)
    if first.ndim != 2 or first.shape != second.shape or used.shape != first.shape:
        raise ValueError(
            f"first has shape {first.shape}, second {second.shape} and mask {used.shape},"
            " expected [q, n] for all"
        )
    for name, x in (("first", first), ("second", second)):
        if (bad := np.argwhere(used & np.isnan(x))).size:
            raise ValueError(
                f"{name} of query {bad[0][0]} is NaN at item {bad[0][1]}: mask it or leave it out"
            )
    counts = _pair_counts(_codes(first, used), _codes(second, used), used)
    score, pairs, untied_first, untied_second = (np.asarray(x, np.float64) for x in counts)
    with np.errstate(invalid="ignore"):  # 0 / 0 is the NaN that is promised
        return KendallTau(score / np.sqrt(untied_first * untied_second), score / pairs)


def _codes(values: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Replaces numbers by their place among the query's distinct ones, [q, n] int32: float64 on the
    host orders and ties what float32 on the device would not. Codes of unused numbers have no meaning.
    """
    values = np.where(used, values, 0)  # a masked NaN would order itself anywhere
    order = np.argsort(values, axis=1)
    ordered = np.take_along_axis(values, order, axis=1)
    places = np.zeros(values.shape, np.int32)
    np.cumsum(ordered[:, 1:] != ordered[:, :-1], axis=1, out=places[:, 1:])
    codes = np.empty_like(places)
    np.put_along_axis(codes, order, places, axis=1)
    return codes


@jax.jit
@jax.vmap
def _pair_counts(
    first: Array, second: Array, used: Array
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Returns n_c - n_d, N, N - U and N - V of one query [n]; int32 holds them up to n = 46,340."""
    pair = used[:, None] & used[None, :]
    # Every pair counts from both sides. Signs of a byte: 16 times as many at once as in int32.
    signs = [
        ((x[:, None] > x[None, :]).astype(jnp.int8) - (x[:, None] < x[None, :])) * pair
        for x in (first, second)
    ]
    twice = [jnp.sum(x, dtype=jnp.int32) for x in (signs[0] * signs[1], *(s != 0 for s in signs))]
    count = jnp.sum(used, dtype=jnp.int32)
    return twice[0] // 2, count * (count - 1) // 2, twice[1] // 2, twice[2] // 2
