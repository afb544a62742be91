"""What is evaluated: a model, a hand-crafted descriptor or Fisher vectors, each a `FeatureExtractor`."""

import abc
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dsf_jax.data.batches import Block, content, mapped
from dsf_jax.data.class_maps import ClassMap
from dsf_jax.data.mixtures import Mixture, mix
from dsf_jax.data.records import Records
from dsf_jax.evaluation import fisher_vectors
from dsf_jax.evaluation.baselines import BATCH_SIZE, describe_blocks, described_size
from dsf_jax.evaluation.fisher_vectors import FISHER, Vocabulary
from dsf_jax.images.descriptors import Descriptor
from dsf_jax.images.views import QueryViews
from dsf_jax.models.model import Model
from dsf_jax.recognition.voting import single_angle, vote
from dsf_jax.retrieval.block_files import open_blocks, write_blocks
from dsf_jax.retrieval.feature_files import extract_to_files, model_identity, open_features

NO_LAYER = ""  # the layer of what has no layers
CLASSIFIERS = {"single_angle": single_angle, "voting": vote}
CLASSIFIED_AT_ONCE = 32


@dataclasses.dataclass(frozen=True)
class _Descriptor(abc.ABC):
    """What describes pictures without a network: its features have one layer, `NO_LAYER`.

    Attributes:
      name: its name in results.
    """

    name: str

    @property
    def layers(self) -> tuple[str, ...]:
        """Returns the features that are compared by default."""
        return (NO_LAYER,)

    def mixture(
        self,
        sets: Sequence[Records],
        class_names: Sequence[str],
        class_map: ClassMap | None = None,
    ) -> Mixture:
        """Mixes data sets in the form that it describes."""
        return mix(sets, class_names, class_map=class_map)

    def features(
        self,
        examples: Sequence[dict[str, Any]],
        layers: tuple[str, ...],
        label: str,
        progress: pathlib.Path,
        views: QueryViews = "one",
    ) -> Mapping[str, np.ndarray]:
        """Computes features of drawings or photos, {NO_LAYER: [n, d]}, block by block into files of a
        folder.

        Raises:
          ValueError: for more views than one.
        """
        del layers  # it has one
        if views != "one":
            raise ValueError(
                f"{self.name} describes pictures by one view, views={views!r} are for networks; choose "
                "views='one'"
            )
        blocks, length = self._described(examples, label)
        folder = progress / label
        write_blocks(
            folder,
            blocks,
            {self.name: length},
            _numbers(examples),
            configuration={},  # the folder is this evaluation's own
            batch_size=BATCH_SIZE,
        )
        return {NO_LAYER: open_features(folder).features[self.name]}

    @abc.abstractmethod
    def _described(
        self, examples: Sequence[dict[str, Any]], label: str
    ) -> tuple[Callable[..., Iterator[Block]], int]:
        """Returns the function that yields blocks of descriptions, and how long each is."""


class HandCrafted(_Descriptor):
    """A hand-crafted descriptor, one of `images.descriptors`."""

    name: Descriptor

    def configuration(self) -> dict[str, Any]:
        """Describes it for a result's configuration."""
        return {"descriptor": self.name}

    def fitted_to(self, mixture: Mixture) -> "HandCrafted":
        """Returns itself: it learns nothing."""
        del mixture
        return self

    def _described(
        self, examples: Sequence[dict[str, Any]], label: str
    ) -> tuple[Callable[..., Iterator[Block]], int]:
        blocks = functools.partial(describe_blocks, examples, self.name, label=label)
        return blocks, described_size(self.name)


@dataclasses.dataclass(frozen=True)
class FisherSift(_Descriptor):
    """Fisher vectors of SIFT.

    Attributes:
      vocabulary: what `fitted_to` learned; None before.
    """

    name: str = FISHER
    vocabulary: Vocabulary | None = None

    def configuration(self) -> dict[str, Any]:
        """Describes it for a result's configuration."""
        return fisher_vectors.configuration()

    def fitted_to(self, mixture: Mixture) -> "FisherSift":
        """Returns it with a vocabulary of a mixture's pictures."""
        domains = [mixture.drawings, mixture.photos]
        return FisherSift(vocabulary=fisher_vectors.fit_vocabulary(domains))

    def _described(
        self, examples: Sequence[dict[str, Any]], label: str
    ) -> tuple[Callable[..., Iterator[Block]], int]:
        if self.vocabulary is None:
            raise ValueError(f"{FISHER} has no vocabulary; call fitted_to first")
        blocks = functools.partial(
            fisher_vectors.fisher_blocks, examples, self.vocabulary, label=label
        )
        return blocks, fisher_vectors.LENGTH


class NamedModel(NamedTuple):
    """A model and its name in results."""

    name: str
    model: Model

    @property
    def layers(self) -> tuple[str, ...]:
        """Returns the features that are compared by default."""
        return self.model.backbone.compared_features

    def identity(self) -> dict[str, Any]:
        """Describes the checkpoint for a result's configuration; that of another checkpoint differs."""
        return {
            "name": self.name,
            "digest": self.model.digest(),
            "backbone": self.model.config.backbone,
            "size": self.model.size,
            "resizing": self.model.config.resizing,
            "pen": self.model.config.pen,
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
        """Mixes data sets in the form that the model is shown: see `shown_to`."""
        return shown_to(self.model, sets, class_names, class_map)

    def features(
        self,
        examples: Sequence[dict[str, Any]],
        layers: tuple[str, ...],
        label: str,
        progress: pathlib.Path,
        views: QueryViews = "one",
    ) -> Mapping[str, np.ndarray]:
        """Computes features of drawings or photos, {layer: [n, d]}, block by block into files of a
        folder; by several views as `retrieval.features.embed` does.
        """
        folder = progress / label
        extract_to_files(
            folder,
            self.model,
            examples,
            _numbers(examples),
            configuration={},  # the folder is this evaluation's own
            layers=layers,
            label=label,
            views=views,
        )
        return open_features(folder).features

    def fitted_to(self, mixture: Mixture) -> "NamedModel":
        """Returns itself: it was trained before."""
        del mixture
        return self


FeatureExtractor = NamedModel | HandCrafted | FisherSift


def shown_to(
    model: Model,
    sets: Sequence[Records],
    class_names: Sequence[str],
    class_map: ClassMap | None = None,
) -> Mixture:
    """Mixes data sets in the form that a model is shown, as its configuration has it."""
    return mix(
        sets, class_names, class_map=class_map, resizing=model.config.resizing, size=model.size
    )


def class_probabilities(
    model: Model, examples: Sequence[dict[str, Any]], folder: pathlib.Path
) -> dict[str, np.ndarray]:
    """Classifies every example by one view and by vote, block by block into files of a folder, with a
    progress bar.

    Args:
      model: network with its parameters.
      examples: n drawings or photos.
      folder: new, or one that a call for the same model and examples left: it goes on there.

    Returns:
      {"single_angle": [n, k], "voting": [n, k]} float32, mapped files.

    Raises:
      ValueError: when there are no examples, the folder holds probabilities of another model, or a
        file is damaged.
    """
    if not len(examples):
        raise ValueError("there are no examples to classify; choose a split that has some")

    def classify(batch: dict[str, np.ndarray]) -> dict[str, Any]:
        return {name: classifier(model, content(batch)) for name, classifier in CLASSIFIERS.items()}

    write_blocks(
        folder,
        functools.partial(
            mapped, examples, classify, batch_size=CLASSIFIED_AT_ONCE, label="recognition"
        ),
        dict.fromkeys(CLASSIFIERS, len(model.class_names)),
        _numbers(examples),
        configuration=model_identity(model),
        batch_size=CLASSIFIED_AT_ONCE,
    )
    return open_blocks(folder).arrays


def _numbers(examples: Sequence[Any]) -> list[str]:
    """Names examples by their place, where a folder belongs to one evaluation."""
    return [str(number) for number in range(len(examples))]
