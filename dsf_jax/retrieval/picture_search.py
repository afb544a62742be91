"""A drawing and picture files -> the pictures that look most like it."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from dsf_jax.data.batches import collate, content
from dsf_jax.data.drawings import Query, query_from_pixels
from dsf_jax.data.mixtures import EDGE_PRESERVING, small_drawing, square_photo
from dsf_jax.data.pictures import read_picture
from dsf_jax.images.points import Polarity
from dsf_jax.models.model import Model
from dsf_jax.retrieval.euclidean import search
from dsf_jax.retrieval.features import embed, extract


class Sketch(NamedTuple):
    """What was read from a picture file that is searched by.

    Attributes:
      image: [h, w, 3] uint8, the picture as it is.
      query: what the network is shown of it: a drawing, or a photo.
    """

    image: np.ndarray
    query: Query


class FoundPicture(NamedTuple):
    """A picture file, and its Euclidean distance from the drawing."""

    distance: float
    path: pathlib.Path


class PictureFiles(Sequence[dict[str, Any]]):
    """Picture files as examples, read on access."""

    def __init__(self, paths: Sequence[pathlib.Path]) -> None:
        """Keeps the paths."""
        self._paths = paths

    def __len__(self) -> int:
        """Returns the number of files."""
        return len(self._paths)

    def __getitem__(self, index: Any) -> dict[str, Any]:  # type: ignore[override]
        """Reads one picture."""
        return {"photo": square_photo(read_picture(self._paths[index])), "label": 0}


def read_sketch(path: str | os.PathLike[str], polarity: Polarity | None = None) -> Sketch:
    """Reads a picture file to search by, as the page does; see `query_from_pixels`.

    Args:
      path: path of the file.
      polarity: strokes on paper; it is then a drawing. None finds out, and whether it is a photo.

    Raises:
      FileNotFoundError: when there is no such file.
      ValueError: when it cannot be read, or shows no strokes.
    """
    image = read_picture(path)
    try:
        query = query_from_pixels(image, "drawing" if polarity else "auto", polarity)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return Sketch(image, query)


def sketch_features(model: Model, query: Query, *, layer: str) -> np.ndarray:
    """Computes the features of what is searched by, resized as the model was trained.

    Args:
      model: network with its parameters.
      query: a drawing or a photo.
      layer: name of a feature of the model's backbone.

    Returns:
      [1, d] float32 of length 1.

    Raises:
      ValueError: for an unknown feature.
    """
    resizing = model.config.resizing
    example: dict[str, Any]
    if query.photo is not None:
        example = {"photo": query.photo}
    elif resizing != EDGE_PRESERVING and query.drawing is not None:
        example = {"drawing": small_drawing(query.drawing, resizing=resizing, size=model.size)}
    else:
        example = {"points": query.points}
    batch = content(collate([example | {"label": 0}]))
    return np.asarray(embed(model, batch, layer=layer))


def search_pictures(
    model: Model, query: Query, paths: Sequence[pathlib.Path], k: int, *, layer: str
) -> list[FoundPicture]:
    """Finds the picture files that look most like a drawing or a photo; all of them are read.

    Args:
      model: network with its parameters.
      query: what is searched by.
      paths: paths of the picture files.
      k: number of pictures.
      layer: name of a feature of the model's backbone.

    Returns:
      At most k pictures, nearest first.

    Raises:
      ValueError: for an unknown feature, or a file that cannot be read.
    """
    features = sketch_features(model, query, layer=layer)
    gallery = extract(model, PictureFiles(paths), layers=(layer,), label="pictures")[layer]
    nearest = search(features, gallery, k)
    distances = np.sqrt(nearest.squared_distances[0])
    return [
        FoundPicture(float(distance), paths[i])
        for distance, i in zip(distances, nearest.indices[0], strict=True)
    ]
