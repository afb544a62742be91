"""The SBIR benchmark of Eitz et al.: do near images match the sketch, as people see it (Table 3 of
the paper)?

For each sketch, Kendall's tau-b between the closeness of its own images and their mean ratings, ties
among the ratings kept; the mean over the sketches. Images of other sketches are never compared.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dsf_jax.evaluation.ranking import kendall_tau
from dsf_jax.evaluation.results import (
    ResultRecord,
    bootstrap,
    bootstrap_interval,
    own_configuration,
)

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
    ratings: np.ndarray,
    *,
    names: Sequence[str],
    configuration: Mapping[str, Any],
) -> ResultRecord:
    """Correlates the closeness of each sketch's images with their ratings.

    Args:
      queries: [q, d] float32, L2-normalised features of the sketches.
      query_labels: [q] int, which sketch each is.
      gallery: [n, d] float32, L2-normalised features of the images.
      gallery_labels: [n] int, which sketch each was rated against.
      ratings: [n] float64, the mean rating; the higher, the better the match.
      names: of the sketches, by label.
      configuration: what the result depends on, for the record: layer, checkpoint, data, ...

    Returns:
      Numbers "tau-b" and "tau-a", with bootstrap intervals over the sketches; details "per_sketch".
      Sketches with fewer than two images, or whose ratings are all equal, have no correlation: they
      are left out and counted. A sketch whose distances are all equal counts as 0.

    Raises:
      ValueError: when no sketch has a correlation, shapes do not fit, a sketch is given twice, or a
        number is not finite.
    """
    _check(queries, query_labels, gallery, gallery_labels, ratings)
    own = [np.flatnonzero(gallery_labels == label) for label in query_labels]
    most = max((len(items) for items in own), default=0)
    closeness, rated = (np.zeros((len(queries), most)) for _ in range(2))
    mask = np.zeros((len(queries), most), bool)
    for i, items in enumerate(own):
        # The plain formula gives equal images equal distances, so that they tie as they should.
        difference = np.asarray(gallery[items], np.float64) - np.asarray(queries[i], np.float64)
        places = slice(0, len(items))
        closeness[i, places] = -np.square(difference).sum(axis=1)
        rated[i, places], mask[i, places] = ratings[items], True
    if not np.isfinite(closeness).all():
        i = int(np.argwhere(~np.isfinite(closeness))[0][0])
        raise ValueError(
            f"the distances of sketch {names[query_labels[i]]!r} are not all finite; "
            "look at the pictures that the features came from"
        )
    tau_b, tau_a = kendall_tau(rated, closeness, mask=mask)
    used, told_apart = (_differ(x, mask) for x in (rated, closeness))
    if not used.any():
        raise ValueError(
            f"none of {len(queries)} sketches has two images that are rated differently; "
            "look at the ratings"
        )
    tau_b = np.where(told_apart, tau_b, 0.0)
    return ResultRecord(
        PROTOCOL,
        {"tau-b": bootstrap(tau_b[used]), "tau-a": bootstrap(tau_a[used])},
        own_configuration(configuration, definitions=DEFINITIONS),
        {
            "queries": int(used.sum()),
            "queries_without_correlation": int((~used).sum()),
            "queries_with_equal_distances": int((used & ~told_apart).sum()),
            "gallery": len(gallery),
            "pairs": int(mask[used].sum()),
        },
        bootstrap_interval("sketches"),
        {
            "per_sketch": {
                names[query_labels[i]]: {
                    "images": int(mask[i].sum()),
                    "tau-b": float(tau_b[i]),
                    "tau-a": float(tau_a[i]),
                }
                for i in np.flatnonzero(used)
            }
        },
    )


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
