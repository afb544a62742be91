"""A drawing and picture files -> the pictures that look most like it."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from dsf_jax.data.batches import collate, content
from dsf_jax.data.drawings import Query, decode_shown, query_from_pixels
from dsf_jax.data.mixtures import EDGE_PRESERVING, LEAST_SIDE, small_drawing, square_photo
from dsf_jax.data.picture_folders import printable
from dsf_jax.data.pictures import open_picture, read_shrunk
from dsf_jax.images.points import Polarity
from dsf_jax.images.views import QueryViews
from dsf_jax.models.model import Model
from dsf_jax.retrieval.euclidean import search
from dsf_jax.retrieval.features import embed, extract
from dsf_jax.retrieval.near_duplicates import Duplicates, group, shrink
from dsf_jax.retrieval.nearness import NUM_COMPARED, SAMPLE_SIZE, Nearness

LOOKED_THROUGH = 16  # times as many pictures as results, where near-duplicates are looked for


class Sketch(NamedTuple):
    """What was read from a picture file that is searched by.

    Attributes:
      image: [h, w, 3] uint8, the picture as it is.
      query: what the network is shown of it: a drawing, or a photo.
    """

    image: np.ndarray
    query: Query


class FoundPicture(NamedTuple):
    """A picture file, its Euclidean distance from the drawing, and its near-duplicates, nearest first."""

    distance: float
    path: pathlib.Path
    duplicates: tuple[pathlib.Path, ...] = ()


class Ranking(NamedTuple):
    """What a search in picture files gave.

    Attributes:
      found: the nearest pictures, nearest first.
      failed: one line per file that could not be read.
      nothing_near: whether those found most likely have nothing to do with the query.
    """

    found: list[FoundPicture]
    failed: list[str]
    nothing_near: bool


class PictureFiles(Sequence[dict[str, Any]]):
    """Picture files as examples, read on access.

    Attributes:
      failed: why a file could not be read, by its place; it is a blank example.
      shrunk: what near-duplicates are told by, of the files that were read, by their places.
    """

    def __init__(self, paths: Sequence[pathlib.Path]) -> None:
        """Keeps the paths."""
        self._paths = paths
        self.failed: dict[int, str] = {}
        self.shrunk: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        """Returns the number of files."""
        return len(self._paths)

    def __getitem__(self, index: Any) -> dict[str, Any]:  # type: ignore[override]
        """Reads one picture."""
        path = self._paths[index]
        try:
            picture = read_shrunk(path, least_side=LEAST_SIDE).pixels
        except (ValueError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else None
            self.failed[index] = (
                f"{printable(path)}: {reason}; fix it, or remove it" if reason else str(error)
            )
            picture = np.full((1, 1, 3), 255, np.uint8)
        photo = square_photo(picture)
        self.shrunk[index] = shrink(photo)
        return {"photo": photo, "label": 0}


def read_sketch(path: str | os.PathLike[str], polarity: Polarity | None = None) -> Sketch:
    """Reads a picture file to search by, as the page does; see `query_from_pixels`.

    Args:
      path: path of the file.
      polarity: strokes on paper; it is then a drawing. None finds out, and whether it is a photo.

    Raises:
      FileNotFoundError: when there is no such file.
      ValueError: when it cannot be read, or shows no strokes.
    """
    with open_picture(path) as file:
        image = decode_shown(file, str(path), polarity)
    try:
        query = query_from_pixels(image, "drawing" if polarity else "auto", polarity)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return Sketch(image, query)


def sketch_features(
    model: Model, query: Query, *, layer: str, views: QueryViews = "one"
) -> np.ndarray:
    """Computes the features of what is searched by, resized as the model was trained.

    Args:
      model: network with its parameters.
      query: a drawing or a photo.
      layer: name of a feature of the model's backbone.
      views: views of the query, see `features.embed`.

    Returns:
      [1, d] float32 of length 1.

    Raises:
      ValueError: for an unknown feature or choice of views.
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
    return np.asarray(embed(model, batch, layer=layer, views=views))


def search_pictures(
    model: Model,
    shown: np.ndarray,
    paths: Sequence[pathlib.Path],
    k: int,
    *,
    layer: str,
    duplicates: Duplicates = "grouped",
) -> Ranking:
    """Finds the picture files whose features are nearest; all of them are read.

    Args:
      model: network with its parameters.
      shown: [1, d] float32, features of the query.
      paths: paths of the picture files.
      k: number of results.
      layer: name of a feature of the model's backbone, which `shown` is of.
      duplicates: whether near-duplicates are one result or several.

    Returns:
      At most k results, whether they are near, and the files that cannot be read.

    Raises:
      ValueError: for an unknown feature, or when no file can be read.
    """
    pictures = PictureFiles(paths)
    features = extract(model, pictures, layers=(layer,), label="pictures")[layer]
    failed = [pictures.failed[i] for i in sorted(pictures.failed)]
    readable = [i for i in range(len(paths)) if i not in pictures.failed]
    if not readable:
        raise ValueError(f"none of {len(paths)} pictures can be read: {failed[0]}")
    features = features[readable]
    nearest = search(shown, features, k if duplicates == "separate" else LOOKED_THROUGH * k)
    places = nearest.indices[0].tolist()
    groups = [[rank] for rank in range(len(places))]
    if duplicates == "grouped":
        groups = group([pictures.shrunk[readable[place]] for place in places])[:k]
    distances = np.sqrt(nearest.squared_distances[0])
    ranked = [paths[readable[place]] for place in places]
    found = [
        FoundPicture(float(distances[first]), ranked[first], tuple(ranked[rank] for rank in others))
        for first, *others in groups
    ]
    nearest_vectors = features[[places[first] for first, *_ in groups[:NUM_COMPARED]]]
    far = _nearness(features).nothing_near(shown[0], nearest_vectors)
    return Ranking(found, failed, far)


def _nearness(features: np.ndarray) -> Nearness:
    """Calibrates what is near by pictures' features [n, d]."""
    order = np.random.default_rng(0).permutation(len(features))[:SAMPLE_SIZE]
    return Nearness.calibrated(
        features[order],
        len(features),
        lambda probes, k: [features[places] for places in search(probes, features, k).indices],
    )
