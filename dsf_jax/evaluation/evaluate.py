"""A model or descriptor and prepared data sets -> result records, each made once and kept."""

import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dsf_jax.data.class_maps import ClassMap, check_class_map
from dsf_jax.data.datasets import all_classes
from dsf_jax.data.mixtures import Examples, Mixture, mix
from dsf_jax.data.partial_drawings import partial_drawings
from dsf_jax.data.records import Records
from dsf_jax.evaluation.baselines import fit_linear
from dsf_jax.evaluation.extractors import (
    NO_LAYER,
    FeatureExtractor,
    NamedModel,
    class_probabilities,
)
from dsf_jax.evaluation.protocols.category_retrieval import (
    AT_CUTOFFS,
    BOUNDED,
    category_retrieval,
)
from dsf_jax.evaluation.protocols.early_drawings import SHARES, early_drawings
from dsf_jax.evaluation.protocols.eitz_sbir import eitz_sbir
from dsf_jax.evaluation.protocols.instance_retrieval import instance_retrieval
from dsf_jax.evaluation.protocols.tu_berlin import accuracies, tu_berlin
from dsf_jax.evaluation.protocols.voc_retrieval import shown_classes, voc_retrieval
from dsf_jax.evaluation.results import ResultRecord
from dsf_jax.evaluation.store import METHOD, data_identity, map_identity, stored
from dsf_jax.evaluation.zero_shot import ZeroShot
from dsf_jax.images.views import QueryViews, check_query_views

VOC_NEGATIVES = (0, 1000, 5000)  # besides all: the points of Fig. 4


class Protocol(NamedTuple):
    """A protocol of retrieval, and what it needs of prepared data besides features.

    Attributes:
      score: (queries, query_labels, gallery, gallery_labels, *, configuration, **options) -> result.
      options: function that reads gallery_labels and the options of `score` from the data sets.
      by_name: whether classes of any data sets are matched by name; otherwise there is one data set of
        each, with the same classes.
      bounded: whether mAP@K comes with chosen K.
      shares: parts of the sketches that are asked with, one array of features each; empty for whole ones.
    """

    score: Callable[..., ResultRecord]
    options: Callable[[Mixture, Sequence[Records], Sequence[Records]], dict[str, Any]]
    by_name: bool = False
    bounded: bool = False
    shares: tuple[float, ...] = ()


def _labels(
    mixture: Mixture, sketches: Sequence[Records], photos: Sequence[Records]
) -> dict[str, Any]:
    del sketches, photos
    return {"gallery_labels": mixture.photos.labels}


def _own_photos(
    mixture: Mixture, sketches: Sequence[Records], photos: Sequence[Records]
) -> dict[str, Any]:
    """Reads which photo each sketch was drawn from, from what sketchy prepares."""
    return {
        **_labels(mixture, sketches, photos),
        "query_photos": _names(mixture.drawings, "photo_id"),
        "gallery_photos": _names(mixture.photos, "source_id"),
    }


def _names(examples: Examples, field: str) -> list[str]:
    """Names examples by a field and their data set, sketch and photo of one set alike."""
    return [f"{name.partition('/')[0]}/{value}" for name, value in examples.values(field)]


def _ratings(
    mixture: Mixture, sketches: Sequence[Records], photos: Sequence[Records]
) -> dict[str, Any]:
    """Reads people's ratings from what eitz_sbir prepares."""
    (photo,) = photos
    rated = Records(photo.folder, photo.split, fields=("rating",))
    return {
        "gallery_labels": mixture.photos.labels,
        "ratings": np.array([record["rating"] for record in rated], np.float64),
        "class_names": sketches[0].class_names,
    }


def _shown(
    mixture: Mixture, sketches: Sequence[Records], photos: Sequence[Records]
) -> dict[str, Any]:
    """Reads the classes that photos show from what pascal_voc_sbir prepares. Of the paper's sizes those
    are omitted that have more negatives than there are.
    """
    (photo,) = photos
    fields = ("object_labels", "object_difficult")
    shown = shown_classes(Records(photo.folder, photo.split, fields=fields), len(photo.class_names))
    asked = np.unique(mixture.drawings.labels)
    fewest = int((~(shown.easy | shown.difficult))[:, asked].sum(axis=0).min())
    return {
        "gallery_labels": shown,
        "class_names": sketches[0].class_names,
        "negatives": [*(size for size in VOC_NEGATIVES if size <= fewest), None],
    }


PROTOCOLS = {
    "category_retrieval": Protocol(category_retrieval, _labels, by_name=True, bounded=True),
    "early_drawings": Protocol(early_drawings, _labels, by_name=True, shares=SHARES),
    "instance_retrieval": Protocol(instance_retrieval, _own_photos, by_name=True),
    "eitz_sbir": Protocol(eitz_sbir, _ratings),
    "voc_retrieval": Protocol(voc_retrieval, _shown),
}


def retrieval(
    extractor: FeatureExtractor,
    sketches: Sequence[Records],
    photos: Sequence[Records],
    *,
    protocol: str = "category_retrieval",
    class_map: ClassMap | None = None,
    zero_shot: ZeroShot | None = None,
    layers: tuple[str, ...] | None = None,
    ks: tuple[int, ...] | None = None,
    query_views: QueryViews = "one",
    results: pathlib.Path | None = None,
) -> dict[str, ResultRecord]:
    """Scores sketches as queries against photos.

    Args:
      extractor: what is evaluated.
      sketches: data sets of queries.
      photos: data sets of the gallery.
      protocol: name of one of `PROTOCOLS`.
      class_map: synonyms, see `mix`; for protocols that match classes by name.
      zero_shot: classes to ask for alone, for such protocols; None asks for all.
      layers: names of features; None takes those that the extractor compares.
      ks: each K of P@K, acc@K and the like, for such protocols; None takes their own, without mAP@K.
      query_views: views of each sketch, see `retrieval.features.embed`; photos are seen by one.
      results: folder, see `stored`.

    Returns:
      {layer: result}. A sketch whose class no photo shows is omitted and counted.
    """
    _check_asked(extractor, class_map, zero_shot, query_views)
    layers = layers or extractor.layers
    score, options, by_name, bounded, shares = PROTOCOLS[protocol]
    names = {layer: "-".join(filter(None, (protocol, extractor.name, layer))) for layer in layers}
    shared = _shared_configuration(extractor, sketches, photos, class_map, by_name)
    shared |= _cutoffs(ks, bounded) | _asked(zero_shot, query_views)
    wanted = {name: {"layer": layer, **shared} for layer, name in names.items()}

    def make(progress: pathlib.Path) -> dict[str, ResultRecord]:
        mixture = _mixture_of(extractor, sketches, photos, class_map, by_name, zero_shot)
        given = {"query_labels": mixture.drawings.labels, **options(mixture, sketches, photos)}
        given |= _checked_ks(ks, len(mixture.photos), bounded)
        queries, gallery = _features(extractor, mixture, layers, shares, query_views, progress)
        return {
            name: score(queries[layer], gallery=gallery[layer], configuration=wanted[name], **given)
            for layer, name in names.items()
        }

    made = stored(results, wanted, make)
    return {layer: made[name] for layer, name in names.items()}


def _mixture_of(
    extractor: FeatureExtractor,
    sketches: Sequence[Records],
    photos: Sequence[Records],
    class_map: ClassMap | None,
    by_name: bool,
    zero_shot: ZeroShot | None,
) -> Mixture:
    """Mixes queries and gallery, with all of their classes; of zero-shot retrieval what it takes of them."""
    sets = [*sketches, *photos]
    check_class_map(class_map, sets)
    classes = all_classes(sets, class_map) if by_name else sketches[0].class_names
    mixture = extractor.mixture(sets, classes, class_map)
    return zero_shot.of(mixture, class_map) if zero_shot else mixture


def _features(
    extractor: FeatureExtractor,
    mixture: Mixture,
    layers: tuple[str, ...],
    shares: Sequence[float],
    query_views: QueryViews,
    progress: pathlib.Path,
) -> tuple[Mapping[str, Any], Mapping[str, np.ndarray]]:
    """Computes the features of queries and gallery, {layer: [n, d]}, by an extractor fitted to them; where
    parts of drawings are asked with, of queries {layer: [q, d] per share}.
    """
    extractor = extractor.fitted_to(mixture)
    if shares:
        parts = [
            extractor.features(part, layers, f"sketches, {share:.0%}", progress, query_views)
            for share, part in zip(shares, partial_drawings(mixture.drawings, shares), strict=True)
        ]
        queries: Mapping[str, Any] = {layer: [part[layer] for part in parts] for layer in layers}
    else:
        queries = extractor.features(mixture.drawings, layers, "sketches", progress, query_views)
    return queries, extractor.features(mixture.photos, layers, "photos", progress)


def _shared_configuration(
    extractor: FeatureExtractor,
    sketches: Sequence[Records],
    photos: Sequence[Records],
    class_map: ClassMap | None,
    by_name: bool,
) -> dict[str, Any]:
    """Returns what the results of all layers depend on."""
    return {
        "method": METHOD,
        **extractor.configuration(),
        "data": {"sketches": data_identity(sketches), "photos": data_identity(photos)},
    } | ({"class_map": map_identity(class_map)} if by_name else {})


def _cutoffs(ks: Sequence[int] | None, bounded: bool) -> dict[str, Any]:
    """Returns what results depend on besides, where K are chosen."""
    if ks is None:
        return {}
    return {"cutoffs": {"ks": [*ks]} | ({"metrics": [*BOUNDED, *AT_CUTOFFS]} if bounded else {})}


def _check_asked(
    extractor: FeatureExtractor,
    class_map: ClassMap | None,
    zero_shot: ZeroShot | None,
    query_views: str,
) -> None:
    """Raises ValueError for an unknown choice of views, and for zero-shot classes that were trained on."""
    check_query_views(query_views)
    if zero_shot and isinstance(extractor, NamedModel):
        zero_shot.check_untrained(extractor.model, class_map)


def _asked(zero_shot: ZeroShot | None, query_views: QueryViews) -> dict[str, Any]:
    """Returns what results depend on besides, where not all classes are asked for by one view each."""
    # One view is not named: results from before there was a choice stay valid.
    chosen = {} if query_views == "one" else {"query_views": query_views}
    return (zero_shot.configuration() if zero_shot else {}) | chosen


def _checked_ks(ks: tuple[int, ...] | None, photos: int, bounded: bool) -> dict[str, Any]:
    """Returns the chosen K as options of a protocol."""
    if ks is None:
        return {}
    if max(ks) > photos:
        raise ValueError(
            f"K = {max(ks)} is above the {photos} photos of the gallery; choose a K of at most {photos}"
        )
    return {"ks": ks} | ({"bounded": True} if bounded else {})


def recognition(
    named: NamedModel,
    examples: Sequence[dict[str, Any]],
    labels: np.ndarray,
    *,
    configuration: Mapping[str, Any],
    progress: pathlib.Path,
) -> ResultRecord:
    """Scores single angle and voting on examples in the model's classes, by `tu_berlin`.

    Args:
      named: the model.
      examples: n drawings or photos.
      labels: [n] int.
      configuration: everything else that the result depends on, for the record.
      progress: folder from which a killed evaluation goes on.
    """
    model = named.model
    probabilities = class_probabilities(model, examples, progress / "probabilities")
    return tu_berlin(
        probabilities,
        labels,
        class_names=model.class_names,
        configuration={**configuration, "size": model.size},
    )


def recognise(
    named: NamedModel,
    sketches: Sequence[Records],
    *,
    class_map: ClassMap | None = None,
    results: pathlib.Path | None = None,
    **more: Any,
) -> ResultRecord:
    """Scores single angle and voting on the sketches whose class the model knows.

    Args:
      named: the model.
      sketches: data sets.
      class_map: synonyms, see `mix`.
      results: folder, see `stored`.
      **more: entries of the configuration, fold or the like.

    Returns:
      The result.
    """
    configuration = {
        "method": METHOD,
        **named.configuration(),
        "data": data_identity(sketches),
        "class_map": map_identity(class_map),
        **more,
    }
    name = f"recognition-{named.name}"

    def make(progress: pathlib.Path) -> dict[str, ResultRecord]:
        mixture = named.mixture(sketches, named.model.class_names, class_map)
        print(mixture, file=sys.stderr)  # standard output is for the result
        drawings = mixture.drawings
        result = recognition(
            named, drawings, drawings.labels, configuration=configuration, progress=progress
        )
        return {name: result}

    return stored(results, {name: configuration}, make)[name]


def linear_recognition(
    extractor: FeatureExtractor,
    train: Sequence[Records],
    test: Sequence[Records],
    *,
    layer: str = NO_LAYER,
    results: pathlib.Path | None = None,
    **more: Any,
) -> ResultRecord:
    """Scores a linear classifier of features that were not learned from sketches: accuracy "linear".

    Args:
      extractor: what computes the features.
      train: data sets that the classifier is fitted to.
      test: data sets that it is scored on.
      layer: name of the feature.
      results: folder, see `stored`.
      **more: entries of the configuration, fold or the like.

    Returns:
      The result.
    """
    name = f"recognition-{extractor.name}-{test[0].split}"
    configuration = {
        "method": METHOD,
        **extractor.configuration(),
        "layer": layer,
        "classifier": "ridge regression to class indicators, penalty by leave-one-out",
        "data": {"train": data_identity(train), "test": data_identity(test)},
        **more,
    }

    def make(progress: pathlib.Path) -> dict[str, ResultRecord]:
        class_names = mix(train).class_names
        mixture = extractor.mixture(train, class_names)
        known, unseen = mixture.drawings, extractor.mixture(test, class_names).drawings
        fitted = extractor.fitted_to(mixture)
        trained = fitted.features(known, (layer,), "training sketches", progress)[layer]
        classifier = fit_linear(trained, known.labels, classes=len(class_names))
        tested = fitted.features(unseen, (layer,), "test sketches", progress)[layer]
        result = accuracies(
            {"linear": classifier.classes(tested).astype(np.int32)},
            unseen.labels,
            class_names=class_names,
            configuration=configuration,
        )
        return {name: result}

    return stored(results, {name: configuration}, make)[name]
