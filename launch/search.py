"""Finds the pictures of a folder, or of a gallery, that look like a drawing.

python -m launch.search --checkpoint=runs/quickstart --sketch=drawing.png --photos=my_photos

With --gallery=my_gallery instead of --photos, the pictures are those that launch.index has put there:
only the drawing's features are computed. --labels and --folder choose among them.
"""

import pathlib
from typing import cast, get_args

from absl import flags

from dsf_jax.data.drawings import Query
from dsf_jax.data.pictures import picture_files, read_picture
from dsf_jax.images.points import Polarity
from dsf_jax.insight.plots import ranked_results, save_figure
from dsf_jax.retrieval.picture_search import (
    FoundPicture,
    read_sketch,
    search_pictures,
    sketch_features,
)
from dsf_jax.training.checkpoints import load_model
from launch import common

_CHECKPOINT = common.define_checkpoint()
_SKETCH = flags.DEFINE_string("sketch", None, "Picture file of the drawing.", required=True)
_PHOTOS = common.define_photos(required=False)
_GALLERY = common.define_gallery(required=False)
_LABELS = flags.DEFINE_list(
    "labels", [], "With --gallery: only pictures with one of these labels, names of their folders."
)
_FOLDER = flags.DEFINE_string(
    "folder",
    None,
    "With --gallery: only pictures in this folder or below, relative to the one that was indexed.",
)
_TOP = common.define_top()
_LAYER = common.define_layer()
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
    if _GALLERY.value:
        found = _search_gallery(_GALLERY.value, sketch.query)
    else:
        paths = picture_files(_PHOTOS.value or "")
        model = load_model(_CHECKPOINT.value)
        layer = _LAYER.value or model.backbone.default_feature
        found = search_pictures(model, sketch.query, paths, _TOP.value, layer=layer)
    for rank, (distance, path) in enumerate(found, start=1):
        print(f"{rank:3d}  {distance:.4f}  {path}")
    if figure:
        pictures = [read_picture(path) for _, path in found]
        save_figure(ranked_results([sketch.image], [pictures]), figure)


def _search_gallery(uri: str, query: Query) -> list[FoundPicture]:
    """Returns a gallery's nearest pictures."""
    # They need LanceDB, which a folder does not.
    from dsf_jax.gallery.embedder import network_embedder
    from dsf_jax.gallery.gallery import Gallery
    from dsf_jax.gallery.store import open_store

    layer = _LAYER.value or open_store(uri).config.layer
    model = load_model(_CHECKPOINT.value)
    gallery = Gallery.open(uri, network_embedder(model, layer=layer))
    features = sketch_features(model, query, layer=layer)
    (neighbours,) = gallery.search(features, _TOP.value, labels=_LABELS.value, folder=_FOLDER.value)
    return [FoundPicture(distance, pathlib.Path(picture.path)) for picture, distance in neighbours]


if __name__ == "__main__":
    common.run(main)
