"""Finds the pictures of a folder, or of a gallery, that look like a drawing.

python -m launch.search --checkpoint=runs/quickstart --sketch=drawing.png --photos=my_photos

With --gallery=my_gallery instead of --photos, the pictures are those that launch.index has put there:
only the drawing's features are computed. --labels and --folder choose among them.
"""

import pathlib
import sys
from typing import cast, get_args

import numpy as np
from absl import flags

from dsf_jax.data.drawings import Query
from dsf_jax.data.picture_folders import (
    list_pictures,
    missed_pictures,
    printable,
    unreadable_line,
)
from dsf_jax.data.pictures import read_picture
from dsf_jax.images.points import Polarity
from dsf_jax.insight.plots import ranked_results, save_figure
from dsf_jax.retrieval.picture_search import (
    FoundPicture,
    read_sketch,
    search_pictures,
    sketch_features,
)
from launch import common, shared_flags

_CHECKPOINT = shared_flags.define_checkpoint()
_SKETCH = flags.DEFINE_string("sketch", None, "Picture file of the drawing.", required=True)
_PHOTOS = shared_flags.define_photos(required=False)
_GALLERY = shared_flags.define_gallery(required=False)
_LABELS = flags.DEFINE_list(
    "labels", [], "With --gallery: only pictures with one of these labels, names of their folders."
)
_FOLDER = flags.DEFINE_string(
    "folder",
    None,
    "With --gallery: only pictures in this folder or below, relative to the one that was indexed.",
)
_TOP = shared_flags.define_top()
_LAYER = shared_flags.define_layer()
_QUERY_VIEWS = shared_flags.define_query_views()
_POLARITY = flags.DEFINE_enum(
    "polarity",
    None,
    get_args(Polarity),
    "Strokes on paper in the drawing, which is then never taken for a photo; by default found out.",
)
_FIGURE = flags.DEFINE_string(
    "figure", None, "PNG file to draw the ranking into; never overwritten."
)
flags.register_validator(
    "figure", lambda path: path is None or path.lower().endswith(".png"), "must end in .png"
)


def main() -> None:
    """Ranks the pictures and prints the nearest."""
    figure = common.new_file(_FIGURE.value)
    if (_PHOTOS.value is None) == (_GALLERY.value is None):
        raise ValueError("one of --photos and --gallery must be given, and only one; choose")
    if _PHOTOS.value and (_LABELS.value or _FOLDER.value):
        raise ValueError(
            "--labels and --folder are for a --gallery; name the folder itself with --photos"
        )
    sketch = read_sketch(_SKETCH.value, cast(Polarity | None, _POLARITY.value))
    for note in sketch.query.notes:
        common.note(f"{_SKETCH.value}: {note}")
    found = _search_gallery(sketch.query) if _GALLERY.value else _search_folder(sketch.query)
    for rank, (distance, path) in enumerate(found, start=1):
        print(f"{rank:3d}  {distance:.4f}  {path}")
    if figure:
        pictures = [_picture_or_name(path) for _, path in found]
        save_figure(ranked_results([sketch.image], [pictures]), figure)


def _search_folder(query: Query) -> list[FoundPicture]:
    """Returns a folder's nearest pictures, and names on standard error what could not be compared."""
    folder = _PHOTOS.value
    pictures, passed_over, unreadable = list_pictures(folder)
    for path in unreadable:
        print(unreadable_line(path), file=sys.stderr)
    for line in missed_pictures(passed_over, pathlib.Path(folder).expanduser()):
        print(line, file=sys.stderr)
    model = common.load_told(_CHECKPOINT.value)
    layer = _LAYER.value or model.default_feature
    found, failed = search_pictures(
        model, query, pictures, _TOP.value, layer=layer, views=_QUERY_VIEWS.value
    )
    for line in failed:
        print(line, file=sys.stderr)
    return found


def _picture_or_name(path: pathlib.Path) -> np.ndarray | str:
    """Reads a picture; of one that is gone since it was indexed, returns the name."""
    try:
        return read_picture(path)
    except (OSError, ValueError) as error:
        reason = "is gone" if isinstance(error, FileNotFoundError) else "cannot be read any more"
        print(
            f"{printable(path)} {reason}: the figure has its name; bring the gallery up to date with "
            "python -m launch.index",
            file=sys.stderr,
        )
        return printable(path.name)


def _search_gallery(query: Query) -> list[FoundPicture]:
    """Returns a gallery's nearest pictures."""
    uri = _GALLERY.value
    # They need LanceDB, which a folder does not.
    from dsf_jax.gallery.embedder import network_embedder
    from dsf_jax.gallery.gallery import Gallery
    from dsf_jax.gallery.store import open_store

    layer = _LAYER.value or open_store(uri).config.layer
    model = common.load_told(_CHECKPOINT.value)
    gallery = Gallery.open(uri, network_embedder(model, layer=layer, name=_CHECKPOINT.value))
    if not len(gallery):
        raise ValueError(f"{uri} holds no picture yet; add some with python -m launch.index")
    features = sketch_features(model, query, layer=layer, views=_QUERY_VIEWS.value)
    (neighbours,) = gallery.search(features, _TOP.value, labels=_LABELS.value, folder=_FOLDER.value)
    return [FoundPicture(distance, pathlib.Path(picture.path)) for picture, distance in neighbours]


if __name__ == "__main__":
    common.run(main)
