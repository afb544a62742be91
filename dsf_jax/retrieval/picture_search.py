"""A drawing and picture files -> the pictures that look most like it."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from dsf_jax.data.mixtures import EDGE_PRESERVING, small_drawing, square_photo
from dsf_jax.data.picture_folders import printable
from dsf_jax.data.pictures import read_picture
from dsf_jax.images.points import Polarity, points_from_image
from dsf_jax.models.model import Model
from dsf_jax.retrieval.euclidean import search
from dsf_jax.retrieval.features import extract


class Drawing(NamedTuple):
    """A drawing that was read from a picture file.

    Attributes:
      image: [h, w, 3] uint8.
      points: [p, 2] uint16 points on the canvas lattice, at least one.
      polarity: strokes on paper in `image`.
    """

    image: np.ndarray
    points: np.ndarray
    polarity: Polarity


class FoundPicture(NamedTuple):
    """A picture file, and its Euclidean distance from the drawing."""

    distance: float
    path: pathlib.Path


class Ranking(NamedTuple):
    """What a search in picture files gave.

    Attributes:
      found: the nearest pictures, nearest first.
      failed: one line per file that could not be read.
    """

    found: list[FoundPicture]
    failed: list[str]


class PictureFiles(Sequence[dict[str, Any]]):
    """Picture files as examples, read on access.

    Attributes:
      failed: why a file could not be read, by its place; it is a blank example.
    """

    def __init__(self, paths: Sequence[pathlib.Path]) -> None:
        """Keeps the paths."""
        self._paths = paths
        self.failed: dict[int, str] = {}

    def __len__(self) -> int:
        """Returns the number of files."""
        return len(self._paths)

    def __getitem__(self, index: Any) -> dict[str, Any]:  # type: ignore[override]
        """Reads one picture."""
        path = self._paths[index]
        try:
            picture = read_picture(path)
        except (ValueError, OSError) as error:
            self.failed[index] = str(error)
            if isinstance(error, OSError) and error.errno is not None:
                self.failed[index] = f"{printable(path)}: {error.strerror}; fix it, or remove it"
            picture = np.full((1, 1, 3), 255, np.uint8)
        return {"photo": square_photo(picture), "label": 0}


def read_drawing(path: str | os.PathLike[str], polarity: Polarity = "black_on_white") -> Drawing:
    """Reads a drawing from a picture file.

    Args:
      path: path of the file.
      polarity: strokes on paper in the drawing.

    Raises:
      FileNotFoundError: when there is no such file.
      ValueError: when it cannot be read, or shows no strokes.
    """
    image = read_picture(path)
    points = points_from_image(image, polarity=polarity)
    if not len(points):
        raise ValueError(f"{path} shows no strokes; draw some, or try the other --polarity")
    return Drawing(image, points, polarity)


def drawing_features(model: Model, drawing: Drawing, *, layer: str) -> np.ndarray:
    """Computes the features of a drawing, resized as the model was trained.

    Args:
      model: network with its parameters.
      drawing: the drawing.
      layer: name of a feature of the model's backbone.

    Returns:
      [1, d] float32 of length 1.

    Raises:
      ValueError: for an unknown feature.
    """
    resizing, example = model.config.resizing, {"points": drawing.points, "label": 0}
    if resizing != EDGE_PRESERVING:
        dark_on_light = drawing.polarity == "black_on_white"
        image = drawing.image if dark_on_light else 255 - drawing.image
        small = small_drawing(image, resizing=resizing, size=model.size)
        example = {"drawing": small, "label": 0}
    return extract(model, [example], layers=(layer,), label="drawing")[layer]


def search_pictures(
    model: Model, drawing: Drawing, paths: Sequence[pathlib.Path], k: int, *, layer: str
) -> Ranking:
    """Finds the picture files that look most like a drawing; all of them are read.

    Args:
      model: network with its parameters.
      drawing: the drawing.
      paths: paths of the picture files.
      k: number of pictures.
      layer: name of a feature of the model's backbone.

    Returns:
      At most k pictures, and the files that cannot be read.

    Raises:
      ValueError: for an unknown feature, or when no file can be read.
    """
    query = drawing_features(model, drawing, layer=layer)
    pictures = PictureFiles(paths)
    features = extract(model, pictures, layers=(layer,), label="pictures")[layer]
    failed = [pictures.failed[i] for i in sorted(pictures.failed)]
    readable = [i for i in range(len(paths)) if i not in pictures.failed]
    if not readable:
        raise ValueError(f"none of {len(paths)} pictures can be read: {failed[0]}")
    nearest = search(query, features[readable], k)
    distances = np.sqrt(nearest.squared_distances[0])
    found = [
        FoundPicture(float(distance), paths[readable[i]])
        for distance, i in zip(distances, nearest.indices[0], strict=True)
    ]
    return Ranking(found, failed)
