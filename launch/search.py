"""Finds the pictures of some folders, or of a gallery, that look like a drawing, or are of some words.

python -m launch.search --checkpoint=runs/quickstart --sketch=drawing.png --photos=my_photos

With --gallery=my_gallery instead of --photos, the pictures are those that launch.index has put there:
only the drawing's features are computed. --labels and --folder choose among them.

Near-duplicates are one line, with their number behind the path. Where nothing that was found seems to be
what is looked for, a line on standard error says so.

With a folder of SigLIP or CLIP for a checkpoint, words find pictures too, alone or with a drawing:

python -m launch.search --checkpoint=siglip --words="a red umbrella" --sketch=drawing.png --photos=my_photos
"""

import pathlib
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast, get_args

import numpy as np
from absl import flags

from dsf_jax.data.drawings import Query
from dsf_jax.data.files import expand_home
from dsf_jax.data.picture_folders import (
    check_apart,
    list_pictures,
    missed_pictures,
    printable,
    unreadable_line,
)
from dsf_jax.data.pictures import read_picture
from dsf_jax.images.points import Polarity
from dsf_jax.models.model import Model
from dsf_jax.retrieval.features import WORDS_SHARE, blended
from dsf_jax.retrieval.picture_search import (
    FoundPicture,
    read_sketch,
    search_pictures,
    sketch_features,
)
from dsf_jax.training.model_sources import fetched, open_model, open_words
from launch import common, shared_flags

_CHECKPOINT = shared_flags.define_checkpoint()
_SKETCH = flags.DEFINE_string("sketch", None, "Picture file of the drawing.")
_WORDS = flags.DEFINE_string(
    "words", None, "What the pictures show, in words; for a --checkpoint with a text tower."
)
_WORDS_SHARE = flags.DEFINE_float(
    "words_share",
    WORDS_SHARE,
    "With --sketch and --words: weight of the words against the drawing.",
    lower_bound=0.0,
    upper_bound=1.0,
)
_PHOTOS = shared_flags.define_photos()
_EXCLUDE = shared_flags.define_exclude()
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
_DUPLICATES = shared_flags.define_duplicates()
_WARN_FAR = shared_flags.define_warn_far()
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


def _check_query(values: dict[str, Any]) -> bool:
    """Raises ValidationError unless something is searched by."""
    if not values["sketch"] and values["words"] is None:
        raise flags.ValidationError("one of --sketch and --words must be given, or both")
    if values["figure"] and not values["sketch"]:
        raise flags.ValidationError("--figure shows the ranking of a --sketch; give one")
    for flag in (_POLARITY, _QUERY_VIEWS):
        if flag.present and not values["sketch"]:
            raise flags.ValidationError(f"--{flag.name} is of a --sketch; give one, or omit it")
    if _WORDS_SHARE.present and (not values["sketch"] or values["words"] is None):
        raise flags.ValidationError(
            "--words_share weighs --words against a --sketch; give both, or omit it"
        )
    return True


flags.register_multi_flags_validator(["sketch", "words", "figure"], _check_query)


def main() -> None:
    """Ranks the pictures and prints the nearest."""
    figure = common.new_file(_FIGURE.value)
    if (_PHOTOS.value is None) == (_GALLERY.value is None):
        raise ValueError("one of --photos and --gallery must be given, and only one; choose")
    if _PHOTOS.value and (_LABELS.value or _FOLDER.value):
        raise ValueError(
            "--labels and --folder are for a --gallery; name the folder itself with --photos"
        )
    if _GALLERY.value and _EXCLUDE.value:
        raise ValueError("--exclude is for --photos; give it to launch.index, or omit it")
    sketch = None
    if _SKETCH.value:
        sketch = read_sketch(_SKETCH.value, cast(Polarity | None, _POLARITY.value))
        for note in sketch.query.notes:
            common.note(f"{_SKETCH.value}: {note}")
    query = sketch and sketch.query
    found, far = _search_gallery(query) if _GALLERY.value else _search_folders(query)
    for rank, (distance, path, duplicates) in enumerate(found, start=1):
        more = (
            f"  (and {len(duplicates)} near-duplicate{'s' if len(duplicates) > 1 else ''})"
            if duplicates
            else ""
        )
        print(f"{rank:3d}  {distance:.4f}  {printable(path)}{more}")
    if far and _WARN_FAR.value:
        common.note("nothing near here: these are the least far")
    if figure and sketch:
        # It needs Matplotlib, which a search without a figure does not.
        from dsf_jax.insight.plots import ranked_results, save_figure

        pictures = [_picture_or_name(one.path) for one in found]
        save_figure(ranked_results([sketch.image], [pictures]), figure)


def _features(model: Model, layer: str, query: Query | None) -> np.ndarray:
    """Computes the features of what is shown, of the words, or of both, [1, d]."""
    words = None
    if _WORDS.value is not None:
        words = open_words(_CHECKPOINT.value, model, layer).embed(_WORDS.value)
    if query is None:
        return cast(np.ndarray, words)
    shown = sketch_features(model, query, layer=layer, views=_QUERY_VIEWS.value)
    return shown if words is None else blended(shown, words, _WORDS_SHARE.value)


def _search_folders(query: Query | None) -> tuple[list[FoundPicture], bool]:
    """Returns the nearest pictures of some folders, and whether none is near; names on standard error what
    could not be compared.
    """
    folders = _PHOTOS.value or []
    check_apart(folders)
    pictures = [path for folder in folders for path in _listed(folder)]
    model = common.told(open_model(_CHECKPOINT.value), _CHECKPOINT.value)
    layer = _LAYER.value or model.default_feature
    shown = _features(model, layer, query)
    found, failed, far = search_pictures(
        model, shown, pictures, _TOP.value, layer=layer, duplicates=_DUPLICATES.value
    )
    for line in failed:
        print(line, file=sys.stderr)
    return found, far


def _listed(folder: str) -> list[pathlib.Path]:
    """Lists the pictures of a folder, and names on standard error what is not read."""
    pictures, passed_over, unreadable = list_pictures(folder, exclude=_EXCLUDE.value)
    for path in unreadable:
        print(unreadable_line(path), file=sys.stderr)
    for line in missed_pictures(passed_over, expand_home(folder)):
        print(line, file=sys.stderr)
    return pictures


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


def _search_gallery(query: Query | None) -> tuple[list[FoundPicture], bool]:
    """Returns a gallery's nearest pictures, and whether none is near."""
    uri = _GALLERY.value
    with ThreadPoolExecutor(max_workers=1) as beside:
        # While the network is read and digested, LanceDB is imported: each takes more than a second.
        reading = beside.submit(open_model, fetched(_CHECKPOINT.value))
        # They need LanceDB, which a folder does not.
        from dsf_jax.gallery.embedder import network_embedder
        from dsf_jax.gallery.finder import Finder
        from dsf_jax.gallery.gallery import Gallery
        from dsf_jax.gallery.store import open_store

        store = open_store(uri)
    model = common.told(reading.result(), _CHECKPOINT.value)
    layer = _LAYER.value or store.config.layer
    gallery = Gallery.open(uri, network_embedder(model, layer=layer, name=_CHECKPOINT.value))
    if not len(gallery):
        raise ValueError(f"{uri} holds no picture yet; add some with python -m launch.index")
    (vector,) = gallery.project(_features(model, layer, query))
    finder = Finder(gallery, duplicates=_DUPLICATES.value)
    groups = finder.nearest(vector, _TOP.value, labels=_LABELS.value, folder=_FOLDER.value)
    if not groups:  # there are pictures of each, or that had been said
        raise ValueError(
            f"--folder={_FOLDER.value} holds no picture of {uri} with one of --labels="
            f"{','.join(_LABELS.value)}; omit one of the flags"
        )
    paths = [[pathlib.Path(one.picture.path) for one in members] for members in groups]
    found = [
        FoundPicture(members[0].distance, first, tuple(others))
        for members, (first, *others) in zip(groups, paths, strict=True)
    ]
    return found, _WARN_FAR.value and finder.nothing_near(vector, groups)


if __name__ == "__main__":
    common.run(main)
