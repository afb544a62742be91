"""Finds the pictures of a folder, or of a gallery, that look like a drawing.

python -m launch.search --checkpoint=runs/quickstart --sketch=drawing.png --photos=my_photos

With --gallery=my_gallery instead of --photos, the pictures are those that launch.index has put there:
only the drawing's features are computed. --labels and --folder choose among them.
"""

import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, cast, get_args

import numpy as np
from absl import flags

from dsf_jax.data.mixtures import EDGE_PRESERVING, small_drawing, square_photo
from dsf_jax.data.pictures import picture_files, read_picture
from dsf_jax.images.points import Polarity, points_from_image
from dsf_jax.insight.plots import ranked_results, save_figure
from dsf_jax.models.alexnet import Params
from dsf_jax.retrieval.euclidean import search
from dsf_jax.retrieval.features import PAPER_LAYERS, extract
from dsf_jax.training.checkpoints import ModelCard, fingerprint, load_model
from launch import common

_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Run or checkpoint folder.", required=True)
_SKETCH = flags.DEFINE_string("sketch", None, "Picture file of the drawing.", required=True)
_PHOTOS = flags.DEFINE_string("photos", None, "Folder of pictures to search.")
_GALLERY = flags.DEFINE_string("gallery", None, "Gallery of launch.index to search instead.")
_LABELS = flags.DEFINE_list(
    "labels", [], "With --gallery: only pictures with one of these labels, names of their folders."
)
_FOLDER = flags.DEFINE_string(
    "folder",
    None,
    "With --gallery: only pictures in this folder or below, relative to the one that was indexed.",
)
_TOP = flags.DEFINE_integer("top", 10, "Number of pictures to list.", lower_bound=1)
_LAYER = flags.DEFINE_enum(
    "layer",
    None,
    list(PAPER_LAYERS),
    "Feature that is compared; by default the gallery's, or L6+L7.",
)
_POLARITY = flags.DEFINE_enum(
    "polarity", "black_on_white", get_args(Polarity), "Strokes on paper in the drawing."
)
_FIGURE = flags.DEFINE_string(
    "figure", None, "PNG file to draw the ranking into; never overwritten."
)
flags.register_validator(
    "figure", lambda path: path is None or path.lower().endswith(".png"), "must end in .png"
)


class Photos(Sequence[dict[str, Any]]):
    """Picture files as examples, read when they are asked for."""

    def __init__(self, files: Sequence[pathlib.Path]) -> None:
        """Keeps the paths."""
        self._files = files

    def __len__(self) -> int:
        """Returns the number of files."""
        return len(self._files)

    def __getitem__(self, index: Any) -> dict[str, Any]:  # type: ignore[override]
        """Reads one picture."""
        return {"photo": square_photo(read_picture(self._files[index])), "label": 0}


def main() -> None:
    """Ranks the pictures and prints the nearest."""
    figure = common.new_file(_FIGURE.value)
    if (_PHOTOS.value is None) == (_GALLERY.value is None):
        raise ValueError("one of --photos and --gallery must be given, and only one; choose")
    if _PHOTOS.value and (_LABELS.value or _FOLDER.value):
        raise ValueError(
            "--labels and --folder are for a --gallery; name the folder itself with --photos"
        )
    sketch = read_picture(_SKETCH.value)
    points = points_from_image(sketch, polarity=cast(Polarity, _POLARITY.value))
    if not len(points):
        raise ValueError(
            f"{_SKETCH.value} shows no strokes; draw some, or try the other --polarity"
        )
    found = (
        _in_gallery(_GALLERY.value, sketch, points)
        if _GALLERY.value
        else _in_folder(_PHOTOS.value or "", sketch, points)
    )
    for line in listing(*zip(*found, strict=True)) if found else ():
        print(line)
    if figure:
        save_figure(ranked_results([sketch], [[read_picture(path) for _, path in found]]), figure)


def _in_folder(
    folder: str, sketch: np.ndarray, points: np.ndarray
) -> list[tuple[float, pathlib.Path]]:
    """Computes the features of a folder's pictures; returns the nearest, with their distances."""
    files = picture_files(folder)
    card, params = load_model(_CHECKPOINT.value)
    layer = _LAYER.value or PAPER_LAYERS[-1]
    nearest = search(
        _features(card, params, layer, [_example(card, sketch, points)], "drawing"),
        _features(card, params, layer, Photos(files), "pictures"),
        _TOP.value,
    )
    distances = np.sqrt(nearest.squared_distances[0])
    return [(distance, files[i]) for distance, i in zip(distances, nearest.indices[0], strict=True)]


def _in_gallery(
    uri: str, sketch: np.ndarray, points: np.ndarray
) -> list[tuple[float, pathlib.Path]]:
    """Returns a gallery's nearest pictures, with their distances."""
    from dsf_jax.gallery.gallery import Gallery  # needs LanceDB, which a folder does not

    gallery = Gallery.open(uri)
    card, params = load_model(_CHECKPOINT.value)
    layer = _LAYER.value or gallery.config.layer
    gallery.check(fingerprint(params), layer)
    drawn = _features(card, params, layer, [_example(card, sketch, points)], "drawing")
    (neighbours,) = gallery.search(drawn, _TOP.value, labels=_LABELS.value, folder=_FOLDER.value)
    return [(distance, pathlib.Path(picture.path)) for picture, distance in neighbours]


def _features(
    card: ModelCard, params: Params, layer: str, examples: Sequence[dict[str, Any]], label: str
) -> np.ndarray:
    model = card.network()
    return extract(model, params, examples, layers=(layer,), size=card.size, label=label)[layer]


def _example(card: ModelCard, sketch: np.ndarray, points: np.ndarray) -> dict[str, Any]:
    """Makes an example of the drawing, resized as the network was trained."""
    if card.resizing == EDGE_PRESERVING:
        return {"points": points, "label": 0}
    drawn = sketch if _POLARITY.value == "black_on_white" else 255 - sketch
    small = small_drawing(drawn, resizing=card.resizing, size=card.size)
    return {"drawing": small, "label": 0}


def listing(distances: Sequence[float], files: Sequence[pathlib.Path]) -> Iterator[str]:
    """Formats a ranking: rank, distance (0 to 1.41 for features without negative values), path."""
    for rank, (distance, path) in enumerate(zip(distances, files, strict=True), start=1):
        yield f"{rank:3d}  {distance:.4f}  {path}"


if __name__ == "__main__":
    common.run(main)
