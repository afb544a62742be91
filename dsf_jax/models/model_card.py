"""What a network was trained on and how well it retrieves: what may be expected of it."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

_PLURALS = {"sketch": "sketches", "photo": "photos", "edge": "edge maps"}
_ALL = "all"  # TFDS's name of all splits together
_SLICE = re.compile(r"(?P<split>[^\[]+)\[(?P<first>\d*%?):(?P<last>\d*%?)\]")


class TrainingSet(NamedTuple):
    """A data set that a network was trained on.

    Attributes:
      source: name and split, "openmoji/sketch [train]".
      domain: "sketch", "photo" or "edge".
      examples: number of its examples.
    """

    source: str
    domain: str
    examples: int


class FeatureScore(NamedTuple):
    """How well one feature retrieves.

    Attributes:
      feature: name of the feature.
      mean_average_precision: mAP, non-interpolated, over the whole gallery.
      precision_at_10: P@10; None for a gallery of fewer photos.
    """

    feature: str
    mean_average_precision: float
    precision_at_10: float | None


class RetrievalScore(NamedTuple):
    """How well photos were found by sketches.

    Attributes:
      sketches: names and splits of the data sets of queries.
      photos: those of the gallery.
      queries: number of queries.
      gallery: number of photos.
      classes: number of the queries' classes.
      features: score of each feature.
    """

    sketches: tuple[str, ...]
    photos: tuple[str, ...]
    queries: int
    gallery: int
    classes: int
    features: tuple[FeatureScore, ...]

    @property
    def best(self) -> FeatureScore:
        """Returns the score of the feature that retrieves best; the first of equals."""
        return max(self.features, key=lambda score: score.mean_average_precision)


class ModelCard(NamedTuple):
    """What is known of a network besides what it is; JSON in checkpoints. Of weights that were not trained
    here, and in checkpoints of earlier versions, nothing is.

    Attributes:
      training_sets: data sets that it was trained on.
      classes: number of classes that it was trained on.
      retrieval: how well it retrieves, by data.
      best_feature: the feature that retrieved best when features were first compared on data that it
        had not been trained on; empty until then.
    """

    training_sets: tuple[TrainingSet, ...] = ()
    classes: int = 0
    retrieval: tuple[RetrievalScore, ...] = ()
    best_feature: str = ""

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "ModelCard":
        """Reads a card; what it lacks is unknown."""
        return cls(
            tuple(TrainingSet(*entry) for entry in content.get("training_sets", ())),
            content.get("classes", 0),
            tuple(_score(entry) for entry in content.get("retrieval", ())),
            content.get("best_feature", ""),
        )

    def with_retrieval(self, score: RetrievalScore) -> "ModelCard":
        """Adds a score; it takes the place of that of the same data. The first comparison of several
        features on data that the network was not trained on decides which is best.
        """
        scores = {(own.sketches, own.photos): own for own in self.retrieval}
        scores[score.sketches, score.photos] = score
        best = self.best_feature
        if not best and len(score.features) > 1 and self.is_held_out(score):
            best = score.best.feature
        return self._replace(retrieval=tuple(scores.values()), best_feature=best)

    def is_held_out(self, score: RetrievalScore) -> bool:
        """Returns whether a score is of data none of which the network was trained on, as far as known."""
        trained = _parts([own.source for own in self.training_sets])
        scored = _parts([*score.sketches, *score.photos])
        return not any(_overlap(own, other) for own in trained for other in scored)

    def sentence(self, name: str) -> str:
        """Says what may be expected of the network, in one sentence.

        Args:
          name: the network's name, its run folder.
        """
        if not self.training_sets and not self.retrieval:
            return (
                f"nothing is known of what {name} was trained on, or of how well it finds pictures: look at "
                "what it finds before you rely on it"
            )
        return f"{name} {self._training()}, and {self._scores()}"

    def _training(self) -> str:
        if not self.training_sets:
            return "was trained on data that nothing is known of"
        count: dict[str, int] = {}
        for own in self.training_sets:
            count[own.domain] = count.get(own.domain, 0) + own.examples
        parts = [f"{n:,} {_PLURALS.get(domain, domain)}" for domain, n in count.items() if n]
        names = dict.fromkeys(own.source.partition("/")[0] for own in self.training_sets)
        no_photo = "" if count.get("photo") else ", no photo among them"
        return f"was trained on {_joined(parts)} of {self.classes:,} classes ({', '.join(names)}){no_photo}"

    def _scores(self) -> str:
        others = "of pictures of another kind expect less"
        if not self.retrieval:
            return f"how well it finds pictures was never measured; {others}"
        told = next((own for own in self.retrieval if self.is_held_out(own)), self.retrieval[0])
        score = told.best
        for own in told.features:
            if own.feature == self.best_feature:
                score = own
        held_out = "" if self.is_held_out(told) else " that it was trained on"
        precision = score.precision_at_10
        p10 = "" if precision is None else f", P@10 {_number(precision)}"
        return (
            f"finds photos of {', '.join(told.photos)}{held_out} with mAP "
            f"{_number(score.mean_average_precision)}{p10} ({score.feature}, {told.queries:,} sketches, "
            f"{told.gallery:,} photos of {told.classes:,} classes); {others}"
        )


def _score(content: Sequence[Any]) -> RetrievalScore:
    score = RetrievalScore(*content)
    return score._replace(
        sketches=tuple(score.sketches),
        photos=tuple(score.photos),
        features=tuple(FeatureScore(*own) for own in score.features),
    )


class _Part(NamedTuple):
    """Records of a data set: a split, or what lies between two places of it, in `unit`s."""

    name: str
    split: str
    first: float
    last: float
    unit: str


def _parts(sources: Sequence[str]) -> set[_Part]:
    """Cuts "NAME [SPLIT+SPLIT]" into parts of one split each."""
    cut = (source.removesuffix("]").partition(" [") for source in sources)
    return {_part(name, split.strip()) for name, _, splits in cut for split in splits.split("+")}


def _part(name: str, split: str) -> _Part:
    unit, found = "%" if "%" in split else "", _SLICE.fullmatch(split)
    if not found or not all(bound.endswith(unit) for bound in found.groups()[1:] if bound):
        return _Part(name, split.partition("[")[0], 0, math.inf, "")  # perhaps all of it
    first, last = (found[name].removesuffix("%") for name in ("first", "last"))
    return _Part(name, found["split"], float(first or 0), float(last or math.inf), unit)


def _overlap(part: _Part, other: _Part) -> bool:
    """Returns whether two parts may have records in common, as far as their names say."""
    if part.name != other.name:
        return False
    if part.split != other.split:
        return _ALL in (part.split, other.split)
    between = max(part.first, other.first) < min(part.last, other.last)
    return between or part.unit != other.unit


def _number(value: float) -> str:
    return f"{value:.3f}".removeprefix("0")


def _joined(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))
