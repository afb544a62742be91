"""Which examples a network is trained on: S, S+I, S+E or S+I+E, in one list of classes (section 3.2 of the paper)."""

import collections
import copy
import functools
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from dsf_jax.data.class_maps import ClassMap, check_mapped_classes, composed, names_in_mixture
from dsf_jax.data.records import DataSet, Records
from dsf_jax.images.resize import SIZE
from dsf_jax.images.views import PHOTO_SIZE, Resizing, check_resizing

MIXTURES = {
    "S": ("sketch",),
    "S+I": ("sketch", "photo"),
    "S+E": ("sketch", "edge"),
    "S+I+E": ("sketch", "photo", "edge"),
}

DRAWN = ("sketch", "edge")  # domains of drawings
EDGE_PRESERVING: Resizing = "edge_preserving"
# Sides that a photo is decoded to at least, before `square_photo`: features then lie 1 to 3 % of the distance
# between two photos from those of the whole picture.
LEAST_SIDE = 2 * PHOTO_SIZE
_PILLOW = {"bilinear": Image.Resampling.BILINEAR, "cubic": Image.Resampling.BICUBIC}


def domains_of(mixture: str) -> tuple[str, ...]:
    """Returns the domains that a mixture's name stands for; ValueError for an unknown name."""
    if mixture not in MIXTURES:
        raise ValueError(f"mixture={mixture!r} is unknown; choose one of {', '.join(MIXTURES)}")
    return MIXTURES[mixture]


class Examples(Sequence[dict[str, Any]]):
    """Records of one kind, drawings or photos, labelled with the classes of a mixture; random
    access.

    An example is {"photo": [256, 256, 3] uint8, "label": int} for a photo, {"points": [p, 3]
    uint16, "label": int} for a drawing, or {"drawing": [size, size] uint8, "label": int} where
    drawings are resized by interpolation.
    """

    def __init__(
        self,
        records: Sequence[Records],
        rows: Sequence[np.ndarray],
        labels: Sequence[np.ndarray],
        *,
        resize_drawing: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        """Joins the given rows of several records.

        Args:
          records: the sources.
          rows: [n_i] of each source, the records taken.
          labels: [n_i] of each source, their labels.
          resize_drawing: brings the image of a drawing to the network's size; None for photos, and
            for drawings that travel as points.
        """
        self._records, self._resize_drawing = list(records), resize_drawing
        self._source = np.repeat(np.arange(len(rows)), [len(r) for r in rows])
        self._row = _joined(rows, np.int64)
        self.labels = _joined(labels, np.int32)

    def resized_by(self, resize_drawing: Callable[[np.ndarray], np.ndarray]) -> "Examples":
        """Returns the same drawings, made from their images by another method.

        Args:
          resize_drawing: [h, w, 1] uint8, black on white -> [size, size] uint8.
        """
        other = copy.copy(self)
        other._resize_drawing = resize_drawing
        other._records = [records.read("image", "label") for records in self._records]
        return other

    def where(self, kept: np.ndarray) -> "Examples":
        """Returns the examples that a mask [n] bool keeps, in the same order."""
        other = copy.copy(self)
        other._source, other._row = self._source[kept], self._row[kept]
        other.labels = self.labels[kept]
        return other

    def values(self, field: str) -> list[tuple[str, Any]]:
        """Reads a field of each example's record that networks are not shown, `strokes` or the like.

        Args:
          field: name of the field; every source must have it.

        Returns:
          [n] pairs: the name of the example's data set, and the value.
        """
        readers = [records.read(field) for records in self._records]
        places = zip(self._source.tolist(), self._row.tolist(), strict=True)
        return [(readers[source].name, readers[source][row][field]) for source, row in places]

    def reader(self, field: str) -> Callable[[int], Any]:
        """Returns a function that reads a field of an example's record; None where the record lacks it."""
        readers = [r.read(field) if r.has(field) else None for r in self._records]

        def read(index: int) -> Any:
            records = readers[self._source[index]]
            return None if records is None else records[int(self._row[index])][field]

        return read

    def domains(self) -> np.ndarray:
        """Returns the domain of each example, [n] of "sketch", "photo" and "edge"."""
        return np.array([records.domain for records in self._records], "U6")[self._source]

    def __len__(self) -> int:
        """Returns the number of examples."""
        return len(self._row)

    def __getitem__(self, index: Any) -> dict[str, Any]:  # type: ignore[override]
        """Reads one example."""
        record = self._records[self._source[index]][int(self._row[index])]
        label = int(self.labels[index])
        if self._resize_drawing:
            return {"drawing": self._resize_drawing(record["image"]), "label": label}
        if "points" in record:
            return {"points": record["points"], "label": label}
        return {"photo": square_photo(record["image"]), "label": label}


def square_photo(photo: np.ndarray) -> np.ndarray:
    """Resizes a photo to 256 x 256 whatever its shape, as the paper does, with anti-aliased linear
    interpolation.

    Args:
      photo: [h, w, 3] uint8.

    Returns:
      [256, 256, 3] uint8.
    """
    if photo.shape == (PHOTO_SIZE, PHOTO_SIZE, 3):
        return photo
    return np.asarray(
        Image.fromarray(photo).resize((PHOTO_SIZE, PHOTO_SIZE), Image.Resampling.BILINEAR)
    )


def _joined(arrays: Sequence[np.ndarray], dtype: type[np.integer]) -> np.ndarray:
    """Joins arrays, of which there may be none."""
    return np.concatenate([np.zeros(0, dtype), *(np.asarray(x, dtype) for x in arrays)])


def small_drawing(image: np.ndarray, *, resizing: Resizing, size: int = SIZE) -> np.ndarray:
    """Resizes a drawing's pixels by interpolation, anti-aliased: what Table 1 compares with the
    resizing of its points.

    A drawing that is not square lies centred on a square of paper of its longer side, as its points
    do.

    Args:
      image: [h, w], [h, w, 1] or [h, w, 3] uint8, black on white.
      resizing: "bilinear" or "cubic".
      size: h = w of the result.

    Returns:
      [size, size] uint8, grey.

    Raises:
      ValueError: for another resizing.
    """
    if resizing not in _PILLOW:
        raise ValueError(
            f"resizing={resizing!r} does not interpolate; choose one of {', '.join(_PILLOW)}"
        )
    grey = Image.fromarray(image[..., 0] if image.shape[2:] == (1,) else image).convert("L")
    return np.asarray(_on_square(grey).resize((size, size), _PILLOW[resizing]))


def _on_square(grey: Image.Image) -> Image.Image:
    """Lays a drawing centred on a square of paper of its longer side."""
    side = max(grey.size)
    square = Image.new("L", (side, side), "white")
    square.paste(grey, ((side - grey.width) // 2, (side - grey.height) // 2))
    return square


class Count(NamedTuple):
    """What a mixture takes of one prepared data set, and what it leaves."""

    source: str  # "tu_berlin/sketch [fold0+fold1]"
    domain: str
    per_class: tuple[int, ...]  # [k]
    left_out: tuple[tuple[str, int], ...]  # classes that the mixture does not have, and how many
    digest: str = ""  # of the data set's files

    def __str__(self) -> str:
        """Returns one line."""
        line = f"{self.domain:>6}: {sum(self.per_class)} from {self.source}"
        if sum(self.per_class):
            present = [n for n in self.per_class if n]
            line += f", {_span(min(present), max(present))} a class"
        if empty := self.per_class.count(0):
            line += f", none of {empty} classes"
        if self.left_out:
            others = _listed([f"{name} ({n})" for name, n in self.left_out])
            left_out = sum(n for _, n in self.left_out)
            line += (
                f"; left out {left_out} of {len(self.left_out)} classes not trained on: {others}"
            )
        return line


def _span(least: int, most: int) -> str:
    return str(least) if least == most else f"{least} to {most}"


def _listed(names: Sequence[str], most: int = 5) -> str:
    return ", ".join([*names[:most], "..."] if len(names) > most else names)


class Mixture(NamedTuple):
    """Training data: drawings and photos of one list of classes."""

    class_names: tuple[str, ...]
    drawings: Examples
    photos: Examples
    counts: tuple[Count, ...]
    not_used: tuple[
        str, ...
    ] = ()  # data sets whose domain the mixture does not have, one line each

    def __str__(self) -> str:
        """Returns the counts as a table, one line per data set."""
        return "\n".join(self._lines())

    def labels(self) -> np.ndarray:
        """Returns the labels of all examples, drawings first, [n] int32."""
        return np.concatenate([self.drawings.labels, self.photos.labels])

    def domains(self) -> np.ndarray:
        """Returns the domains of all examples, drawings first, [n] names."""
        return np.concatenate([self.drawings.domains(), self.photos.domains()])

    def per_class(self) -> str:
        """Returns one line per class: how many examples of each data set it has."""
        return "\n".join(
            f"{name}: {', '.join(f'{c.per_class[k]} {c.domain}' for c in self.counts)}"
            for k, name in enumerate(self.class_names)
        )

    def _lines(self) -> Iterator[str]:
        yield f"{len(self.class_names)} classes"
        yield from map(str, self.counts)
        yield from self.not_used


def training_fields(domain: str, resizing: Resizing = EDGE_PRESERVING) -> tuple[str, ...]:
    """Returns the record fields that a network is shown: of drawings only the points or, where
    resizing interpolates, only the image.
    """
    points = domain in DRAWN and resizing == EDGE_PRESERVING
    return ("points", "label") if points else ("image", "label")


class _Part(NamedTuple):
    """A data set, and what a mixture takes of it."""

    data_set: DataSet
    rows: np.ndarray  # [n]
    labels: np.ndarray  # [n] in the mixture's numbering
    taken: Count


def mix(
    data_sets: Sequence[DataSet],
    class_names: Sequence[str] | None = None,
    *,
    class_map: ClassMap | None = None,
    without: Collection[str] = (),
    resizing: Resizing = EDGE_PRESERVING,
    size: int = SIZE,
) -> Mixture:
    """Joins prepared data sets into one mixture; classes are matched by name.

    Args:
      data_sets: the data sets, each of one domain; `training_fields` of them are read.
      class_names: the classes in label order; by default those that the sketches show (or, without
        sketches, all that are shown), sorted.
      class_map: synonyms, {class: {data set: [its names of the class]}}, the data set without its
        configuration: "sketchy", not "sketchy/photo". A name that is not in the map stands for
        itself.
      without: classes to omit all the same, by the mixture's names.
      resizing: how drawings get to the network's size, as the model's configuration has it.
      size: h = w of the network's input, for the resizings that interpolate.

    Returns:
      The mixture. Records of other classes are omitted and counted.

    Raises:
      ValueError: when nothing is left, a class is listed twice, or the map contradicts itself.
    """
    check_resizing(resizing)
    check_mapped_classes(class_map or {}, data_sets)
    labels = [_labels_of(data_set) for data_set in data_sets]
    names = [names_in_mixture(data_set, class_map or {}) for data_set in data_sets]
    if class_names is None:
        class_names = _shown_classes(data_sets, labels, names)
    class_names = [name for name in class_names if composed(name) not in without]
    _check_once(class_names)
    parts = [_take(*one, class_names) for one in zip(data_sets, labels, names, strict=True)]
    interpolate = None
    if resizing != EDGE_PRESERVING:
        interpolate = functools.partial(small_drawing, resizing=resizing, size=size)
    drawings = _examples([p for p in parts if p.taken.domain in DRAWN], resizing, interpolate)
    photos = _examples([p for p in parts if p.taken.domain not in DRAWN], resizing)
    counts = tuple(part.taken for part in parts)
    if not len(drawings) + len(photos):
        raise ValueError(
            f"none of the examples in {', '.join(count.source for count in counts)} is of the "
            f"{len(class_names)} classes wanted; choose data sets and classes that match"
        )
    return Mixture(tuple(class_names), drawings, photos, counts)


def _check_once(class_names: Sequence[str]) -> None:
    same = collections.Counter(map(composed, class_names))
    if repeated := [name for name in class_names if same[composed(name)] > 1]:
        raise ValueError(f"class {repeated[0]!r} is listed twice; list each class once")


def _labels_of(data_set: DataSet) -> np.ndarray:
    """Reads the labels of all records, [n] int32."""
    return np.array([record["label"] for record in data_set.read("label")], np.int32)


def _shown_classes(
    data_sets: Sequence[DataSet], labels: Sequence[np.ndarray], names: Sequence[list[str]]
) -> list[str]:
    """Returns the mixture's names of the classes that sketches show; without sketches, that any show."""
    shown = range(len(data_sets))
    sketches = [i for i in shown if data_sets[i].domain == "sketch"]
    return sorted({names[i][label] for i in sketches or shown for label in np.unique(labels[i])})


def _take(
    data_set: DataSet, labels: np.ndarray, names: Sequence[str], class_names: Sequence[str]
) -> _Part:
    """Takes the records of a mixture's classes from a data set, and counts them.

    Args:
      data_set: the data set.
      labels: [n] its labels.
      names: the mixture's name of each of its classes.
      class_names: the mixture's classes.
    """
    index = {composed(name): label for label, name in enumerate(class_names)}
    translated = np.array([index.get(name, -1) for name in names], np.int32)[labels]
    rows = np.flatnonzero(translated >= 0)
    others = collections.Counter(names[label] for label in labels[translated < 0])
    per_class = np.bincount(translated[rows], minlength=len(class_names))
    count = Count(
        f"{data_set.name} [{data_set.split}]",
        data_set.domain,
        tuple(per_class.tolist()),
        tuple(sorted(others.items())),
        data_set.digest,
    )
    return _Part(data_set, rows, translated[rows], count)


def _examples(
    parts: Sequence[_Part],
    resizing: Resizing,
    resize_drawing: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Examples:
    return Examples(
        [part.data_set.read(*training_fields(part.taken.domain, resizing)) for part in parts],
        [part.rows for part in parts],
        [part.labels for part in parts],
        resize_drawing=resize_drawing,
    )
