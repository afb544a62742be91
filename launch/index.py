"""Makes a gallery of a folder of pictures, or brings it up to date; run again to go on.

python -m launch.index --photos=my_photos --gallery=my_gallery --checkpoint=runs/quickstart

Only new and changed files are read. Several may run at once, on one folder or on several: they share
the work. What cannot be read is named on standard error, and tried again the next time.
"""

import pathlib
import sys

from absl import flags

from dsf_jax.gallery.gallery import Embedder, Gallery, network_embedder
from dsf_jax.gallery.store import open_table
from dsf_jax.retrieval.features import PAPER_LAYERS
from dsf_jax.training.checkpoints import fingerprint, load_model
from launch import common

_PHOTOS = flags.DEFINE_string("photos", None, "Folder of pictures.", required=True)
_GALLERY = flags.DEFINE_string(
    "gallery",
    None,
    "Folder of the gallery, or what LanceDB takes: s3://BUCKET/PATH.",
    required=True,
)
_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Run or checkpoint folder.", required=True)
_LAYER = flags.DEFINE_enum(
    "layer", None, list(PAPER_LAYERS), "Of a new gallery: feature that is stored; L6+L7 by default."
)
_DIMENSIONS = flags.DEFINE_integer(
    "dimensions",
    None,
    "Of a new gallery: reduce features to so many, by components learned from its first pictures; 0, "
    "the default, keeps all.",
    lower_bound=0,
)
_WHITEN = flags.DEFINE_boolean(
    "whiten", None, "Of a new gallery: give all dimensions of reduced features the same variance."
)
_DTYPE = flags.DEFINE_enum(
    "dtype", None, ["float32", "float16"], "Of a new gallery: what is stored; float32 by default."
)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Pictures at a time.", lower_bound=1)


def main() -> None:
    """Opens or makes the gallery, syncs it, and prints what has changed."""
    if not pathlib.Path(_PHOTOS.value).expanduser().is_dir():
        raise FileNotFoundError(f"{_PHOTOS.value} is not a folder; name a folder of pictures")
    layer = _layer()
    card, params = load_model(_CHECKPOINT.value)
    embedder = network_embedder(
        card.network(),
        params,
        fingerprint=fingerprint(params),
        layer=layer,
        size=card.size,
        batch_size=_BATCH_SIZE.value,
    )
    gallery = _open_or_create(embedder)
    changes = gallery.sync(_PHOTOS.value, tell=print)
    for line in changes.failed:
        print(line, file=sys.stderr)
    print(
        f"{_GALLERY.value}: {len(gallery)} pictures; files added {changes.added}, changed "
        f"{changes.changed}, deleted {changes.deleted}, unchanged {changes.unchanged}, not readable "
        f"{len(changes.failed)}"
    )


def _layer() -> str:
    """Returns the layer to store; of a gallery that is there, if the flags ask for what it has."""
    try:
        there = open_table(_GALLERY.value).settings
    except FileNotFoundError:
        return _LAYER.value or PAPER_LAYERS[-1]
    kept = 0 if there.dimensions == there.features else there.dimensions
    made = ((_LAYER, there.layer), (_DIMENSIONS, kept), (_DTYPE, there.dtype))
    for flag, was in (*made, (_WHITEN, there.whitened)):
        if flag.value not in (None, was):
            raise ValueError(
                f"--{flag.name}={flag.value} differs from the {was} that {_GALLERY.value} was made with; "
                "leave the flag out, or name another gallery"
            )
    return there.layer


def _open_or_create(embedder: Embedder) -> Gallery:
    """Opens the gallery; makes it where there is none, unless another process is faster."""
    try:
        return Gallery.open(_GALLERY.value, embedder)
    except FileNotFoundError:
        try:
            return Gallery.create(
                _GALLERY.value,
                embedder,
                dimensions=_DIMENSIONS.value or 0,
                dtype=_DTYPE.value or "float32",
                whiten=bool(_WHITEN.value),
            )
        except FileExistsError:
            return Gallery.open(_GALLERY.value, embedder)


if __name__ == "__main__":
    common.run(main)
