"""How soon a search helps while one draws: the rank of the first photo of the sketch's class after a
quarter, a half, three quarters and all of its strokes.

The share is that of the strokes' whole length, in drawing order; what is drawn is framed as the page frames
it. Equal distances rank in gallery order. A sketch of whose class there is no photo is omitted and counted.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dsf_jax.evaluation.results import ResultRecord, own_configuration
from dsf_jax.evaluation.statistics import Measure, bootstrap, describe_bootstrap, exact
from dsf_jax.retrieval.distances import distance_blocks, ranks_before

PROTOCOL = "early_drawings"
SHARES = (0.25, 0.5, 0.75, 1.0)
RANK, FOUND, CHANCE = "rank of the first right photo", "found in K", "chance"
DEFINITIONS = {
    RANK: "mean over the queries, from 1",
    FOUND: "share of queries with a photo of their class among the first K",
    "%": "share of the length of a drawing's strokes, in drawing order",
    "chance": "what rankings at random score, of itself without an interval",
    "queries without relevant": "a query of whose class there is no photo is omitted, and counted",
}


def early_drawings(
    queries: Sequence[np.ndarray],
    query_labels: np.ndarray,
    gallery: np.ndarray,
    gallery_labels: np.ndarray,
    *,
    configuration: Mapping[str, Any],
    ks: tuple[int, ...] = (1, 10),
) -> ResultRecord:
    """Finds the first right photo for each sketch as far as it is drawn.

    Args:
      queries: arrays [q, d] float32, L2-normalised features of the sketches, one per share of `SHARES`.
      query_labels: [q] int.
      gallery: [n, d] float32, L2-normalised features of photos; may be a mapped file.
      gallery_labels: [n] int, in the same numbering.
      configuration: everything else that the result depends on, for the record: layer, data, ...
      ks: the K of "found in K".

    Returns:
      Numbers "rank of the first right photo/25 %", "found in K/25 %" and so on, with bootstrap intervals
      over the queries, and the same for "chance". Details: "rank quartiles" {share: [3 numbers]}.

    Raises:
      ValueError: when no query has a photo of its class, or shapes do not fit.
    """
    used = _with_photos(query_labels, gallery_labels)
    ranks = {
        f"{100 * share:.0f} %": first_ranks(part[used], query_labels[used], gallery, gallery_labels)
        for share, part in zip(SHARES, queries, strict=True)
    }
    right = np.bincount(gallery_labels)[query_labels[used]]  # photos that are right for each query
    return ResultRecord(
        PROTOCOL,
        _numbers(ranks, right, len(gallery), ks),
        own_configuration(configuration, ks=list(ks), shares=list(SHARES), definitions=DEFINITIONS),
        {
            "queries": int(used.sum()),
            "queries_without_relevant": int((~used).sum()),
            "gallery": len(gallery),
            "classes": len(np.unique(query_labels[used])),
        },
        describe_bootstrap("queries"),
        {
            "rank quartiles": {
                s: np.quantile(r, (0.25, 0.5, 0.75)).tolist() for s, r in ranks.items()
            }
        },
    )


def _with_photos(query_labels: np.ndarray, gallery_labels: np.ndarray) -> np.ndarray:
    """Returns which queries have a photo of their class, [q] bool, of which there must be one."""
    used = np.isin(query_labels, gallery_labels)
    if not used.any():
        raise ValueError(
            f"none of {len(used)} queries has a photo of its class among {len(gallery_labels)}; choose data "
            "sets and splits that share classes"
        )
    return used


def _numbers(
    ranks: Mapping[str, np.ndarray], right: np.ndarray, gallery: int, ks: Sequence[int]
) -> dict[str, Measure]:
    """Scores ranks, {share: [q]}, and ranks at random, where [q] photos of a gallery are right."""
    numbers = {f"{RANK}/{share}": bootstrap(own) for share, own in ranks.items()}
    numbers[f"{RANK}/{CHANCE}"] = exact((gallery + 1) / (right + 1))
    for k in ks:
        name = FOUND.replace("K", str(k))
        numbers |= {f"{name}/{share}": bootstrap(own <= k) for share, own in ranks.items()}
        every = max(math.comb(gallery, k), 1)
        missed = [math.comb(gallery - int(n), k) / every for n in right]
        numbers[f"{name}/{CHANCE}"] = exact(1 - np.array(missed))
    return numbers


def first_ranks(
    queries: np.ndarray, query_labels: np.ndarray, gallery: np.ndarray, gallery_labels: np.ndarray
) -> np.ndarray:
    """Finds the rank of the nearest photo of each query's class, from 1.

    Args:
      queries: [q, d] float32.
      query_labels: [q] int, each of which some photo has.
      gallery: [n, d] float32.
      gallery_labels: [n] int.

    Returns:
      [q] int.
    """
    parts = []
    for rows, distances in distance_blocks(queries, gallery):
        right = query_labels[rows, None] == gallery_labels
        nearest = np.where(right, distances, np.inf).argmin(axis=1)
        parts.append(ranks_before(distances, nearest).sum(axis=1) + 1)
    return np.concatenate(parts)


Curve = list[tuple[int, float, float, float]]


def early_curves(record: ResultRecord) -> dict[str, dict[str, Curve]]:
    """Reads the curves of a result.

    Args:
      record: result of `early_drawings`.

    Returns:
      {layer, and "chance": {"found in K": [(percent drawn, value, low, high)]}}.

    Raises:
      ValueError: for a result of another protocol.
    """
    if record.protocol != PROTOCOL:
        raise ValueError(
            f"the result is of the protocol {record.protocol}, expected {PROTOCOL}; name one that "
            f"launch.evaluate --what={PROTOCOL} made"
        )
    curves: dict[str, Curve] = {}
    for name, measure in record.numbers.items():
        what, _, share = name.partition("/")
        if what != RANK and share != CHANCE:
            curves.setdefault(what, []).append((int(share.removesuffix(" %")), *measure))
    chance = {
        what: [(percent, *record.numbers[f"{what}/{CHANCE}"]) for percent, *_ in curve]
        for what, curve in curves.items()
    }
    return {str(record.configuration.get("layer", "")): curves, CHANCE: chance}
