"""Makes a gallery of a folder of pictures, or brings it up to date; run again to go on.

python -m launch.index --photos=my_photos --gallery=my_gallery --checkpoint=runs/quickstart

Only new and changed files are read. Several processes may run at once, on one folder or on several:
they share the work. What cannot be read is named on standard error, and tried again the next time.
"""

import pathlib
import sys

from absl import flags

from dsf_jax.training.checkpoints import load_model
from launch import common

_PHOTOS = common.define_photos()
_GALLERY = common.define_gallery()
_CHECKPOINT = common.define_checkpoint()
_LAYER = common.define_layer()
_DIMENSIONS = flags.DEFINE_integer(
    "dimensions",
    None,
    "New gallery: number of principal components, learned from its first pictures, that features are "
    "reduced to; 0, the default, keeps all.",
    lower_bound=0,
)
_DTYPE = flags.DEFINE_enum(
    "dtype",
    None,
    ["float32", "float16"],
    "New gallery: type of the stored vectors; float32 by default.",
)
_BATCH_SIZE = common.define_batch_size()


def main() -> None:
    """Opens or makes the gallery, syncs it, and prints what has changed."""
    # They need LanceDB, which --help does not.
    from dsf_jax.gallery.embedder import network_embedder
    from dsf_jax.gallery.gallery import Gallery

    if not pathlib.Path(_PHOTOS.value).expanduser().is_dir():
        raise FileNotFoundError(f"{_PHOTOS.value} is not a folder; name a folder of pictures")
    layer = _layer()
    model = load_model(_CHECKPOINT.value)
    embedder = network_embedder(model, layer=layer, batch_size=_BATCH_SIZE.value)
    gallery = Gallery.open_or_create(
        _GALLERY.value,
        embedder,
        dimensions=_DIMENSIONS.value or 0,
        dtype=_DTYPE.value or "float32",
    )
    changes = gallery.sync(_PHOTOS.value, report=print)
    for line in changes.failed:
        print(line, file=sys.stderr)
    print(
        f"{_GALLERY.value}: {len(gallery)} pictures; files added {changes.added}, changed "
        f"{changes.changed}, deleted {changes.deleted}, unchanged {changes.unchanged}, not readable "
        f"{len(changes.failed)}"
    )


def _layer() -> str | None:
    """Returns the layer to store, None for the network's own; an existing gallery's is its own, and the
    flags must not contradict it.
    """
    from dsf_jax.gallery.store import open_store

    try:
        config = open_store(_GALLERY.value).config
    except FileNotFoundError:
        return _LAYER.value
    dimensions = config.dimensions if config.is_reduced else 0
    made_with = ((_LAYER, config.layer), (_DIMENSIONS, dimensions), (_DTYPE, config.dtype))
    for flag, value in made_with:
        if flag.value not in (None, value):
            raise ValueError(
                f"--{flag.name}={flag.value} differs from the {value} that {_GALLERY.value} was made with; "
                "omit the flag, or name another gallery"
            )
    return config.layer


if __name__ == "__main__":
    common.run(main)
