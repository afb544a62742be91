"""The SBIR benchmark of Eitz et al.: do near images match the sketch, as people see it (Table 3 of
the paper)?

For each sketch, Kendall's tau-b between the closeness of its own images and their mean ratings, ties
among the ratings kept; the mean over the sketches. Images of other sketches are never compared. Sketches with fewer than two
images, or whose ratings are all equal, have no correlation. One whose distances are all equal counts as 0.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dsf_jax.evaluation.correlation import kendall_tau
from dsf_jax.evaluation.results import ResultRecord, own_configuration
from dsf_jax.evaluation.statistics import bootstrap, describe_bootstrap
from dsf_jax.retrieval.distances import paired_distances

PROTOCOL = "eitz_sbir"
DEFINITIONS = {
    "tau-b": "Kendall's tau-b of -distance and mean rating within a sketch's own images, averaged over "
    "the sketches; 0 where all distances are equal",
    "tau-a": "the same without the correction for ties: concordant minus discordant over all pairs",
}


def eitz_sbir(
    queries: np.ndarray,
    query_labels: np.ndarray,
    gallery: np.ndarray,
    gallery_labels: np.ndarray,
    *,
    ratings: np.ndarray,
    class_names: Sequence[str],
    configuration: Mapping[str, Any],
) -> ResultRecord:
    """Correlates the closeness of each sketch's images with their ratings.

    Args:
      queries: [q, d] float32, L2-normalised features of the sketches.
      query_labels: [q] int, the sketch's own class.
      gallery: [n, d] float32, L2-normalised features of the images; may be a mapped file.
      gallery_labels: [n] int, the sketch that each was rated against.
      ratings: [n] float64, the mean rating; the higher, the better the match.
      class_names: names of the sketches, by label.
      configuration: everything else that the result depends on, for the record: layer, data, ...

    Returns:
      Numbers "tau-b" and "tau-a", with bootstrap intervals over the sketches; details "per_sketch".
      Sketches without a correlation are omitted and counted.

    Raises:
      ValueError: when no sketch has a correlation, shapes do not fit, a sketch is given twice, or a
        number is not finite.
    """
    _check(queries, query_labels, gallery, gallery_labels, ratings)
    items = _items(query_labels, gallery_labels)
    mask = items >= 0
    names = [class_names[label] for label in query_labels]
    closeness = -_distances(queries, gallery, items, names)
    rated = np.where(mask, ratings[items], 0.0) if mask.size else np.zeros(mask.shape)
    tau_b, tau_a = kendall_tau(rated, closeness, mask=mask)
    used, separated = _differ(rated, mask), _differ(closeness, mask)
    _check_used(used)
    taus = {"tau-b": np.where(separated, tau_b, 0.0), "tau-a": tau_a}
    return ResultRecord(
        PROTOCOL,
        {name: bootstrap(tau[used]) for name, tau in taus.items()},
        own_configuration(configuration, definitions=DEFINITIONS),
        _counts(mask, used, separated) | {"gallery": len(gallery)},
        describe_bootstrap("sketches"),
        {"per_sketch": {names[i]: _sketch(i, mask, taus) for i in np.flatnonzero(used).tolist()}},
    )


def _sketch(i: int, mask: np.ndarray, taus: Mapping[str, np.ndarray]) -> dict[str, Any]:
    return {"images": int(mask[i].sum())} | {name: float(tau[i]) for name, tau in taus.items()}


def _check_used(used: np.ndarray) -> None:
    if not used.any():
        raise ValueError(
            f"none of {len(used)} sketches has two images that are rated differently; "
            "look at the ratings"
        )


def _items(query_labels: np.ndarray, gallery_labels: np.ndarray) -> np.ndarray:
    """Returns the gallery rows of each query's own images [q, m], filled up with -1."""
    own = [np.flatnonzero(gallery_labels == label) for label in query_labels]
    items = np.full((len(own), max(map(len, own), default=0)), -1)
    for row, rows in zip(items, own, strict=True):
        row[: len(rows)] = rows
    return items


def _distances(
    queries: np.ndarray, gallery: np.ndarray, items: np.ndarray, names: Sequence[str]
) -> np.ndarray:
    """Returns the squared distance of each query to its own images [q, m] float32, 0 for none.

    They are those of `retrieval.euclidean.search`: equal images have equal distances and tie.
    """
    owner, place = np.nonzero(items >= 0)
    distances = np.zeros(items.shape, np.float32)
    if not len(owner):
        return distances
    found = np.asarray(
        paired_distances(
            np.asarray(queries, np.float32),
            owner.astype(np.int32),
            np.asarray(gallery[items[owner, place]], np.float32),
        )
    )
    if (bad := np.flatnonzero(~np.isfinite(found))).size:
        raise ValueError(
            f"the distances of sketch {names[owner[bad[0]]]!r} are not all finite; "
            "look at the pictures that the features came from"
        )
    distances[owner, place] = found
    return distances


def _counts(mask: np.ndarray, used: np.ndarray, separated: np.ndarray) -> dict[str, int]:
    return {
        "queries": int(used.sum()),
        "queries_without_correlation": int((~used).sum()),
        "queries_with_equal_distances": int((used & ~separated).sum()),
        "pairs": int(mask[used].sum()),
    }


def _differ(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Returns which rows [q] hold at least two different values where the mask [q, n] is True."""
    pairs = zip(values, mask, strict=True)
    return np.array([len(np.unique(row[used])) > 1 for row, used in pairs], bool)


def _check(
    queries: np.ndarray,
    query_labels: np.ndarray,
    gallery: np.ndarray,
    gallery_labels: np.ndarray,
    ratings: np.ndarray,
) -> None:
    q, n = len(queries), len(gallery)
    if query_labels.shape != (q,) or gallery_labels.shape != (n,) or ratings.shape != (n,):
        raise ValueError(
            f"{q} sketches and {n} images need labels ({q},) and labels and ratings ({n},), got "
            f"{query_labels.shape}, {gallery_labels.shape} and {ratings.shape}"
        )
    if queries.shape[1:] != gallery.shape[1:]:
        raise ValueError(
            f"sketches have features of {queries.shape[1:]}, images of {gallery.shape[1:]}; "
            "extract both with the same layers"
        )
    if (bad := np.flatnonzero(~np.isfinite(ratings))).size:
        raise ValueError(f"the rating of image {bad[0]} is {ratings[bad[0]]}; leave the image out")
    if len(np.unique(query_labels)) < q:
        raise ValueError(
            f"{q} sketches have {len(np.unique(query_labels))} labels; give each sketch once"
        )
