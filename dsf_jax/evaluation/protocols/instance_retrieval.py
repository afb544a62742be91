"""Sketch queries that were drawn from photos, against photos with these among them: acc@K, the share of
sketches whose own photo is among the first K.

By the definition of Sangkloy et al. (Sketchy, 2016; there called recall@K) the gallery is every photo, of
all classes: 1,250 test photos there. Papers on fine-grained retrieval (Yu et al. 2016, Pang et al. 2019)
look among the photos of the sketch's class only: "acc@K within class". Equal distances rank in gallery
order. A sketch whose own photo is not in the gallery is omitted and counted.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dsf_jax.evaluation.results import ResultRecord, own_configuration
from dsf_jax.evaluation.statistics import Measure, bootstrap, describe_bootstrap, exact
from dsf_jax.retrieval.distances import distance_blocks, ranks_before

PROTOCOL = "instance_retrieval"
WITHIN = " within class"
DEFINITIONS = {
    "acc@K": "share of sketches whose own photo is among the first K of all photos (recall@K of Sketchy's paper)",
    "acc@K within class": "the same among the photos of the sketch's class only",
    "chance": "what rankings at random score, of itself without an interval",
    "queries without photo": "a sketch whose own photo is not in the gallery is omitted, and counted",
}


def instance_retrieval(
    queries: np.ndarray,
    query_labels: np.ndarray,
    gallery: np.ndarray,
    gallery_labels: np.ndarray,
    *,
    query_photos: Sequence[str],
    gallery_photos: Sequence[str],
    configuration: Mapping[str, Any],
    ks: tuple[int, ...] = (1, 5),
) -> ResultRecord:
    """Ranks the gallery for each query by Euclidean distance and looks for the query's own photo.

    Args:
      queries: [q, d] float32, L2-normalised features of sketches.
      query_labels: [q] int.
      gallery: [n, d] float32, L2-normalised features of photos; may be a mapped file.
      gallery_labels: [n] int, in the same numbering.
      query_photos: [q] name of the photo that each sketch was drawn from.
      gallery_photos: [n] name of each photo, no two the same.
      configuration: everything else that the result depends on, for the record: layer, data, ...
      ks: the K of acc@K.

    Returns:
      Numbers "acc@K" and "acc@K within class", with bootstrap intervals over the queries, and what
      chance gives of each, "acc@K, chance".

    Raises:
      ValueError: when no query has its photo in the gallery, a photo is there twice or of another class
        than its sketch, or shapes do not fit.
    """
    own = _own_photos(query_photos, gallery_photos)
    used = own >= 0
    _check_labels(query_labels, gallery_labels, own, (len(queries), len(gallery)))
    ranks = own_photo_ranks(queries[used], query_labels[used], gallery, gallery_labels, own[used])
    same = np.bincount(gallery_labels)[query_labels[used]]  # photos of each query's class
    return ResultRecord(
        PROTOCOL,
        _numbers(ranks, len(gallery), same, ks),
        own_configuration(configuration, ks=list(ks), definitions=DEFINITIONS),
        {
            "queries": int(used.sum()),
            "queries_without_photo": int((~used).sum()),
            "gallery": len(gallery),
            "classes": len(np.unique(query_labels[used])),
        },
        describe_bootstrap("queries"),
        {},
    )


def _numbers(
    ranks: Mapping[str, np.ndarray], gallery: int, same: np.ndarray, ks: Sequence[int]
) -> dict[str, Measure]:
    """Scores ranks of `own_photo_ranks`, and ranks at random, among all and the [q] of the same class."""
    sizes = {"": np.full(len(same), gallery), WITHIN: same}
    numbers = {}
    for among, size in sizes.items():
        for k in ks:
            numbers[f"acc@{k}{among}"] = bootstrap(ranks[among] <= k)
            numbers[f"acc@{k}{among}, chance"] = exact(np.minimum(k / size, 1))
    return numbers


def own_photo_ranks(
    queries: np.ndarray,
    query_labels: np.ndarray,
    gallery: np.ndarray,
    gallery_labels: np.ndarray,
    own: np.ndarray,
) -> dict[str, np.ndarray]:
    """Finds the rank of each query's own photo, from 1.

    Args:
      queries: [q, d] float32.
      query_labels: [q] int.
      gallery: [n, d] float32.
      gallery_labels: [n] int.
      own: [q] int, gallery number of each query's photo.

    Returns:
      {"": [q] int among all photos, " within class": [q] int among those of the query's class}.
    """
    ranks: dict[str, list[np.ndarray]] = {"": [], WITHIN: []}
    for rows, distances in distance_blocks(queries, gallery):
        before = ranks_before(distances, own[rows])
        same = query_labels[rows, None] == gallery_labels
        ranks[""].append(before.sum(axis=1) + 1)
        ranks[WITHIN].append((before & same).sum(axis=1) + 1)
    return {among: np.concatenate(parts) for among, parts in ranks.items()}


def _own_photos(query_photos: Sequence[str], gallery_photos: Sequence[str]) -> np.ndarray:
    """Returns each query's gallery number, [q] int; -1 where its photo is not there."""
    places = {name: place for place, name in enumerate(gallery_photos)}
    if len(places) < len(gallery_photos):
        twice = next(name for i, name in enumerate(gallery_photos) if places[name] != i)
        raise ValueError(f"the photo {twice} is in the gallery twice; name each data set once")
    own = np.array([places.get(name, -1) for name in query_photos], int)
    if not (own >= 0).any():
        raise ValueError(
            f"none of {len(own)} sketches has its own photo among {len(gallery_photos)}; choose data sets and "
            "splits of the same photos: those that sketches were drawn from"
        )
    return own


def _check_labels(
    query_labels: np.ndarray,
    gallery_labels: np.ndarray,
    own: np.ndarray,
    sizes: tuple[int, int],
) -> None:
    """Raises ValueError unless labels and features fit, and photos have the classes of their sketches."""
    shapes = (query_labels.shape, own.shape, gallery_labels.shape)
    if shapes != ((sizes[0],), (sizes[0],), (sizes[1],)):
        raise ValueError(
            f"{sizes[0]} queries and {sizes[1]} photos need as many labels and names, got labels "
            f"{query_labels.shape} and {gallery_labels.shape}, names {own.shape}; give each one of both"
        )
    other = (own >= 0) & (gallery_labels[own] != query_labels)
    if other.any():
        raise ValueError(
            f"sketch {int(np.argmax(other))} is of another class than its own photo; correct the class map"
        )
