"""The stages of evaluation, glued together: a checkpoint and prepared data -> result records, each
made once and kept; no flags here.
"""

import functools
import hashlib
import json
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dsf_jax.data.datasets import open_datasets
from dsf_jax.data.files import only_writer
from dsf_jax.data.mixtures import ClassMap, Examples, Mixture, mix, names_in_mixture
from dsf_jax.data.records import Records
from dsf_jax.evaluation.baselines import (
    BATCH_SIZE,
    describe_blocks,
    described_size,
    fit_linear,
)
from dsf_jax.evaluation.protocols.category_retrieval import category_retrieval
from dsf_jax.evaluation.protocols.eitz_sbir import eitz_sbir
from dsf_jax.evaluation.protocols.tu_berlin import accuracies, tu_berlin
from dsf_jax.evaluation.protocols.voc_retrieval import shown_classes, voc_retrieval
from dsf_jax.evaluation.results import ResultRecord, read_result, write_result
from dsf_jax.images.descriptors import Descriptor
from dsf_jax.models.alexnet import Params
from dsf_jax.retrieval.feature_files import extract_to_files, open_features, write_blocks
from dsf_jax.retrieval.features import PAPER_LAYERS
from dsf_jax.training.checkpoints import ModelCard, fingerprint

METHOD = 2  # raised when a change of the code changes results: those made before are made again
ALONE = ""  # the layer of what has no layers
VOC_NEGATIVES = (0, 1000, 5000)  # beside all: the points of Fig. 4


class HandMade(NamedTuple):
    """A hand-made descriptor, evaluated as a `Network` is; its features have one layer, `ALONE`."""

    descriptor: Descriptor

    @property
    def name(self) -> str:
        """Returns what results call it."""
        return self.descriptor

    def configuration(self) -> dict[str, Any]:
        """Describes it for a result's configuration."""
        return {"descriptor": self.descriptor}

    def mixture(
        self,
        sets: Sequence[Records],
        class_names: Sequence[str],
        class_map: ClassMap | None = None,
    ) -> Mixture:
        """Mixes data sets as it is to see them."""
        return mix(sets, class_names, class_map=class_map)

    def features(
        self, examples: Examples, layers: tuple[str, ...], label: str, progress: pathlib.Path
    ) -> Mapping[str, np.ndarray]:
        """Computes features of drawings or photos, {ALONE: [n, d]}, block by block into files of a folder."""
        del layers  # it has one
        folder = progress / label
        write_blocks(
            folder,
            functools.partial(describe_blocks, examples, self.descriptor, label=label),
            {self.descriptor: described_size(self.descriptor)},
            list(map(str, range(len(examples)))),
            configuration={},  # the folder is this evaluation's own
            batch_size=BATCH_SIZE,
        )
        return {ALONE: open_features(folder).features[self.descriptor]}


class Network(NamedTuple):
    """A checkpoint that is evaluated."""

    name: str  # as results call it
    card: ModelCard
    params: Params

    def identity(self) -> dict[str, Any]:
        """Describes the checkpoint for a result's configuration; another's differs."""
        return {
            "name": self.name,
            "fingerprint": fingerprint(self.params),
            "variant": self.card.variant,
            "size": self.card.size,
            "resizing": self.card.resizing,
        }

    def configuration(self) -> dict[str, Any]:
        """Describes it for a result's configuration."""
        return {"checkpoint": self.identity()}

    def mixture(
        self,
        sets: Sequence[Records],
        class_names: Sequence[str],
        class_map: ClassMap | None = None,
    ) -> Mixture:
        """Mixes data sets as it is to see them: see `shown_to`."""
        return shown_to(self.card, sets, class_names, class_map)

    def features(
        self, examples: Examples, layers: tuple[str, ...], label: str, progress: pathlib.Path
    ) -> Mapping[str, np.ndarray]:
        """Computes features of drawings or photos, {layer: [n, d]}, block by block into files of a folder."""
        folder = progress / label
        extract_to_files(
            folder,
            self.card.network(),
            self.params,
            examples,
            list(map(str, range(len(examples)))),
            configuration={},  # the folder is this evaluation's own
            layers=layers,
            size=self.card.size,
            label=label,
        )
        return open_features(folder).features


Describer = Network | HandMade


def open_sets(
    data_dir: str, datasets: Sequence[str], split: str, domains: Sequence[str]
) -> list[Records]:
    """Opens data sets that must be of certain domains.

    Args:
      data_dir: of prepared records.
      datasets: NAME or NAME:SPLIT.
      split: of those that name none.
      domains: allowed.

    Returns:
      Their records.

    Raises:
      ValueError: when one is of another domain.
    """
    return open_datasets(data_dir, datasets, split, domains)


def data_identity(sets: Sequence[Records]) -> list[dict[str, Any]]:
    """Describes data sets for a result's configuration; sets of other content differ."""
    return [
        {
            "name": records.name,
            "version": records.folder.name,
            "split": records.split,
            "records": len(records),
            "digest": records.digest,
        }
        for records in sets
    ]


def _digest_of(value: Any) -> str:
    """Digests JSON values: equal values, equal text."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def map_identity(class_map: ClassMap | None) -> str | None:
    """Describes a class map for a result's configuration."""
    return _digest_of(class_map) if class_map else None


def stored(
    folder: pathlib.Path | None,
    wanted: Mapping[str, Mapping[str, Any]],
    make: Callable[[pathlib.Path], Mapping[str, ResultRecord]],
) -> dict[str, ResultRecord]:
    """Takes results from a folder or, where one is not there, makes them and puts them there.

    Args:
      folder: of results, each in a file of its own that is never overwritten: its name ends in a
        digest of its configuration. None keeps nothing.
      wanted: {name: configuration}; what the results depend on.
      make: makes all of them, {name: result}; its argument is a folder for what memory need not hold,
        and for what it wants to find there when it is killed and called again; removed in the end.

    Returns:
      {name: result}.

    Raises:
      OSError: when another process is making the same results.
      ValueError: when a file is damaged or holds the result of another configuration.
    """
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="dsf_jax_") as name:
            return dict(make(pathlib.Path(name)))
    paths = {
        name: folder
        / f"{name.replace('/', '-').replace(' ', '_')}-{_digest_of(configuration)}.json"
        for name, configuration in wanted.items()
    }
    if not all(path.exists() for path in paths.values()):
        progress = folder / "progress" / _digest_of(wanted)
        with only_writer(progress):
            made = make(progress)
            for name, path in paths.items():
                if not path.exists():
                    write_result(path, made[name])
            shutil.rmtree(progress, ignore_errors=True)
    results = {name: read_result(path) for name, path in paths.items()}
    for name, configuration in wanted.items():
        there = results[name].configuration
        if differing := [key for key, value in configuration.items() if there.get(key) != value]:
            raise ValueError(
                f"{paths[name]} is the result of another {' and '.join(differing)}; "
                "move it elsewhere, and it is made again"
            )
    return results


def all_classes(sets: Sequence[Records], class_map: ClassMap | None) -> list[str]:
    """All classes that data sets have, by the names that a class map gives them: a photo whose class
    no sketch shows stays in the gallery, and a sketch without photos is counted.
    """
    names: set[str] = set()
    for records in sets:
        names.update(names_in_mixture(records, class_map or {}))
    return sorted(names)


def shown_to(
    card: ModelCard,
    sets: Sequence[Records],
    class_names: Sequence[str],
    class_map: ClassMap | None = None,
) -> Mixture:
    """Mixes data sets as a network is to see them: what its card says of its input goes in here."""
    return mix(sets, class_names, class_map=class_map, resizing=card.resizing, size=card.size)


def _by_layer(
    describer: Describer,
    sketches: Sequence[Records],
    photos: Sequence[Records],
    layers: Sequence[str],
    kind: str,
    **more: Any,
) -> dict[str, dict[str, Any]]:
    """The configuration of a retrieval result by its name, one a layer."""
    whole = {
        "method": METHOD,
        **describer.configuration(),
        "data": {"sketches": data_identity(sketches), "photos": data_identity(photos)},
        **more,
    }
    return {
        "-".join(filter(None, (kind, describer.name, layer))): {"layer": layer, **whole}
        for layer in layers
    }


def retrieval(
    describer: Describer,
    sketches: Sequence[Records],
    photos: Sequence[Records],
    *,
    class_map: ClassMap | None = None,
    layers: tuple[str, ...] = PAPER_LAYERS,
    results: pathlib.Path | None = None,
) -> dict[str, ResultRecord]:
    """Scores sketches as queries against photos; classes are matched by name.

    Args:
      describer: to evaluate.
      sketches: data sets of queries.
      photos: data sets of the gallery.
      class_map: see `mix`.
      layers: of `dsf_jax.retrieval.features`, or (ALONE,).
      results: folder, see `stored`.

    Returns:
      {layer: result}. A sketch whose class no photo shows is left out and counted.
    """
    wanted = _by_layer(
        describer, sketches, photos, layers, "retrieval", class_map=map_identity(class_map)
    )

    def make(progress: pathlib.Path) -> dict[str, ResultRecord]:
        sets = [*sketches, *photos]
        mixture = describer.mixture(sets, all_classes(sets, class_map), class_map)
        queries = describer.features(mixture.drawings, layers, "sketches", progress)
        gallery = describer.features(mixture.photos, layers, "photos", progress)
        return {
            name: category_retrieval(
                queries[configuration["layer"]],
                mixture.drawings.labels,
                gallery[configuration["layer"]],
                mixture.photos.labels,
                configuration=configuration,
            )
            for name, configuration in wanted.items()
        }

    made = stored(results, wanted, make)
    return {configuration["layer"]: made[name] for name, configuration in wanted.items()}


def recognise(
    network: Network,
    sketches: Sequence[Records],
    *,
    class_map: ClassMap | None = None,
    results: pathlib.Path | None = None,
    **more: Any,
) -> ResultRecord:
    """Scores single angle and voting on the sketches whose class the checkpoint knows.

    Args:
      network: to evaluate.
      sketches: data sets.
      class_map: see `mix`.
      results: folder, see `stored`.
      **more: entries of the configuration, fold or the like.

    Returns:
      The result.
    """
    configuration = {
        "method": METHOD,
        "checkpoint": network.identity(),
        "data": data_identity(sketches),
        "class_map": map_identity(class_map),
        **more,
    }
    name = f"recognition-{network.name}"

    def make(progress: pathlib.Path) -> dict[str, ResultRecord]:
        card = network.card
        mixture = shown_to(card, sketches, card.class_names, class_map)
        print(mixture, file=sys.stderr)  # standard output is for the result
        result = tu_berlin(
            card.network(),
            network.params,
            mixture.drawings,
            class_names=card.class_names,
            size=card.size,
            configuration=configuration,
            progress=progress,
        )
        return {name: result}

    return stored(results, {name: configuration}, make)[name]


def rated_retrieval(
    describer: Describer,
    sketches: Records,
    photos: Records,
    *,
    layers: tuple[str, ...] = PAPER_LAYERS,
    results: pathlib.Path | None = None,
) -> dict[str, ResultRecord]:
    """Correlates distances with people's ratings, on what eitz_sbir prepares.

    Args:
      describer: to evaluate.
      sketches: of eitz_sbir/sketch.
      photos: of eitz_sbir/photo.
      layers: of `dsf_jax.retrieval.features`, or (ALONE,).
      results: folder, see `stored`.

    Returns:
      {layer: result}.
    """
    wanted = _by_layer(describer, [sketches], [photos], layers, "eitz_sbir")

    def make(progress: pathlib.Path) -> dict[str, ResultRecord]:
        mixture = describer.mixture([sketches, photos], sketches.class_names)
        queries = describer.features(mixture.drawings, layers, "sketches", progress)
        gallery = describer.features(mixture.photos, layers, "photos", progress)
        ratings = [r["rating"] for r in Records(photos.folder, photos.split, fields=("rating",))]
        return {
            name: eitz_sbir(
                queries[configuration["layer"]],
                mixture.drawings.labels,
                gallery[configuration["layer"]],
                mixture.photos.labels,
                np.array(ratings, np.float64),
                names=sketches.class_names,
                configuration=configuration,
            )
            for name, configuration in wanted.items()
        }

    made = stored(results, wanted, make)
    return {configuration["layer"]: made[name] for name, configuration in wanted.items()}


def voc_curves(
    describer: Describer,
    sketches: Records,
    photos: Records,
    *,
    layer: str = "L6+L7",
    results: pathlib.Path | None = None,
) -> ResultRecord:
    """Scores queries among more and more negatives, on what pascal_voc_sbir prepares.

    Args:
      describer: to evaluate.
      sketches: of pascal_voc_sbir/sketch.
      photos: of pascal_voc_sbir/photo.
      layer: of `dsf_jax.retrieval.features`, or ALONE.
      results: folder, see `stored`.

    Returns:
      The result. Of the paper's sizes those are left out that have more negatives than there are.
    """
    ((name, configuration),) = _by_layer(describer, [sketches], [photos], [layer], "voc").items()

    def make(progress: pathlib.Path) -> dict[str, ResultRecord]:
        mixture = describer.mixture([sketches, photos], sketches.class_names)
        shown = shown_classes(
            Records(photos.folder, photos.split, fields=("object_labels", "object_difficult")),
            len(photos.class_names),
        )
        asked = np.unique(mixture.drawings.labels)
        fewest = int((~(shown.easy | shown.difficult))[:, asked].sum(axis=0).min())
        sizes = [size for size in VOC_NEGATIVES if size <= fewest]
        queries = describer.features(mixture.drawings, (layer,), "sketches", progress)
        gallery = describer.features(mixture.photos, (layer,), "photos", progress)
        result = voc_retrieval(
            queries[layer],
            mixture.drawings.labels,
            gallery[layer],
            shown,
            class_names=sketches.class_names,
            configuration=configuration,
            negatives=[*sizes, None],
        )
        return {name: result}

    return stored(results, {name: configuration}, make)[name]


def linear_recognition(
    describer: Describer,
    train: Sequence[Records],
    test: Sequence[Records],
    *,
    layer: str = ALONE,
    results: pathlib.Path | None = None,
    **more: Any,
) -> ResultRecord:
    """Scores a linear classifier of features that were not learned from sketches: accuracy "linear".

    Args:
      describer: whose features.
      train: data sets that the classifier is fitted to.
      test: data sets that it is scored on.
      layer: see `retrieval`.
      results: folder, see `stored`.
      **more: entries of the configuration, fold or the like.

    Returns:
      The result.
    """
    name = f"recognition-{describer.name}-{test[0].split}"
    configuration = {
        "method": METHOD,
        **describer.configuration(),
        "layer": layer,
        "classifier": "ridge regression to class indicators, penalty by leave-one-out",
        "data": {"train": data_identity(train), "test": data_identity(test)},
        **more,
    }

    def make(progress: pathlib.Path) -> dict[str, ResultRecord]:
        class_names = mix(train).class_names
        known = describer.mixture(train, class_names).drawings
        unseen = describer.mixture(test, class_names).drawings
        seen = describer.features(known, (layer,), "training sketches", progress)[layer]
        classifier = fit_linear(seen, known.labels, classes=len(class_names))
        asked = describer.features(unseen, (layer,), "test sketches", progress)[layer]
        result = accuracies(
            unseen.labels,
            {"linear": classifier.classes(asked).astype(np.int32)},
            class_names=class_names,
            configuration=configuration,
        )
        return {name: result}

    return stored(results, {name: configuration}, make)[name]
