"""Makes a gallery of folders of pictures, or brings it up to date; run again to go on.

python -m launch.index --photos=my_photos --gallery=my_gallery --checkpoint=runs/quickstart
python -m launch.index --photos=my_photos --gallery=my_gallery --checkpoint=runs/quickstart --watch
python -m launch.index --gallery=my_gallery --info
python -m launch.index --gallery=my_gallery --remove=old_photos

Only new and changed files are read. Several processes may run at once, on one folder or on several:
they share the work. What cannot be read is named on standard error, and tried again the next time.
Pictures of a sub-folder that holds none any more stay, for its disk may be off, until --prune. Those
that --exclude names leave the gallery.
"""

import contextlib
import pathlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from absl import flags

from dsf_jax.data.picture_folders import (
    check_apart,
    missed_pictures,
    printable,
    summary,
)
from dsf_jax.gallery.crawl import CrawlResult, crawl
from launch import common, shared_flags

if TYPE_CHECKING:
    from dsf_jax.gallery.contents import Contents
    from dsf_jax.gallery.gallery import Gallery
    from dsf_jax.gallery.synchroniser import Changes

COPIES_NAMED = 5  # pictures whose copies are listed after every run

_PHOTOS = shared_flags.define_photos()
_EXCLUDE = shared_flags.define_exclude()
_GALLERY = shared_flags.define_gallery()
_CHECKPOINT = shared_flags.define_checkpoint(required=False)
_LAYER = shared_flags.define_layer()
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
_BATCH_SIZE = shared_flags.define_batch_size()
_PRUNE = flags.DEFINE_boolean(
    "prune",
    False,
    "With --photos: removes the pictures of sub-folders that hold none any more; otherwise they stay, for "
    "their disk may be off.",
)
_WATCH = flags.DEFINE_boolean(
    "watch",
    False,
    "With --photos: goes on until it is interrupted, and brings the gallery up to date whenever the folders "
    "change.",
)
_REMOVE = flags.DEFINE_string(
    "remove",
    None,
    "Folder whose pictures are removed from the gallery, whether it exists or not; its files stay.",
)
_INFO = flags.DEFINE_boolean(
    "info", False, "Prints what the gallery holds: network, folders, copies."
)


def _check_flags(values: dict[str, Any]) -> bool:
    """Raises ValidationError for flags that do not belong together."""
    works = [f"--{name}" for name in ("photos", "remove", "info") if values[name]]
    if len(works) != 1:
        given = f"not {' and '.join(works)} together" if works else "none is"
        raise flags.ValidationError(f"one of --photos, --remove and --info must be given, {given}")
    if values["photos"] and not values["checkpoint"]:
        raise flags.ValidationError("with --photos, --checkpoint must be given")
    for name in ("prune", "exclude", "watch"):
        if values[name] and not values["photos"]:
            raise flags.ValidationError(f"--{name} is for --photos only")
    return True


flags.register_multi_flags_validator(
    ["photos", "remove", "info", "checkpoint", "prune", "exclude", "watch"], _check_flags
)


def main() -> None:
    """Brings the gallery up to date, takes a folder out of it, or describes it."""
    if _INFO.value:
        _describe()
    elif _REMOVE.value:
        _remove(_REMOVE.value)
    else:
        _index()


def _index() -> None:
    """Opens or makes the gallery, syncs it, and prints what has changed."""
    # They need LanceDB and Orbax, which --help does not.
    from dsf_jax.gallery.embedder import network_embedder
    from dsf_jax.gallery.gallery import Gallery
    from dsf_jax.training.model_sources import open_model

    if _WATCH.value:
        import dsf_jax.gallery.watch  # noqa: F401  # first, for it may not be installed

    layer = _layer()
    found = _crawled()  # first, so that nothing is made for a folder without pictures
    model = common.told(open_model(_CHECKPOINT.value), _CHECKPOINT.value)
    gallery = Gallery.open_or_create(
        _GALLERY.value,
        network_embedder(model, layer=layer, batch_size=_BATCH_SIZE.value, name=_CHECKPOINT.value),
        dimensions=_DIMENSIONS.value or 0,
        dtype=_DTYPE.value or "float32",
    )
    for one in found:
        _print_outcome(gallery, gallery.sync(one, report=print, prune=_PRUNE.value), one)
    contents = gallery.contents()
    for line in _copy_lines(contents, COPIES_NAMED):
        print(line)
    for folder, files in contents.folders.items():
        if not pathlib.Path(folder).is_dir():
            print(
                f"{printable(folder)} is not there: {files} files of it stay in the gallery, for its disk may "
                f"be off; if it was moved, --remove={printable(folder)} removes them",
                file=sys.stderr,
            )
    if not len(gallery):
        raise ValueError(
            f"{_GALLERY.value} holds no picture: none of {sum(len(one.files) for one in found)} files could "
            "be read; see above"
        )
    if _WATCH.value:
        with contextlib.suppress(KeyboardInterrupt):  # whether it comes in a sync or between two
            _keep_current(gallery, [one.root for one in found])


def _crawled() -> list[CrawlResult]:
    """Looks through all folders of --photos."""
    folders = _PHOTOS.value or []
    check_apart(folders)
    return [crawl(folder, exclude=_EXCLUDE.value) for folder in folders]


def _keep_current(gallery: "Gallery", roots: list[pathlib.Path]) -> None:
    """Syncs the gallery whenever its folders change. What keeps a sync from its work is named, as a disk
    that is off; the next one tries again.
    """
    from dsf_jax.gallery.watch import watch_folders

    known: dict[pathlib.Path, object] = {}  # what was said of what stays as it is
    for looks, _ in enumerate(watch_folders(roots, exclude=_EXCLUDE.value)):
        for root in roots:
            try:
                found = crawl(root, exclude=_EXCLUDE.value)
                changes = gallery.sync(found, report=print, prune=_PRUNE.value)
            except (OSError, ValueError) as error:
                print(f"error: {common.explain(error) or error}", file=sys.stderr, flush=True)
                continue
            state = (changes.failed, changes.absent, found.passed_over)
            if any(changes[:3]) or known.get(root, state) != state:
                _print_outcome(gallery, changes, found)
                sys.stdout.flush()
            known[root] = state
        if not looks:
            print(f"watching {', '.join(map(printable, roots))}; Ctrl-C ends it", flush=True)


def _print_outcome(gallery: "Gallery", changes: "Changes", found: CrawlResult) -> None:
    """Prints what a sync has changed, and names what could not be read."""
    for line in (*changes.failed, *missed_pictures(found.passed_over, found.root)):
        print(line, file=sys.stderr)
    for folder, files in changes.absent:
        print(
            f"{printable(folder)} holds no picture any more: {files} files of it stay in the gallery, for its "
            "disk may be off; --prune removes them",
            file=sys.stderr,
        )
    _print_changes(gallery, changes, found)


def _print_changes(gallery: "Gallery", changes: "Changes", found: CrawlResult) -> None:
    passed_over = sum(map(len, found.passed_over.values()))
    contents = gallery.contents()
    copies = f" and {contents.extra} copies of them" if contents.copies else ""
    several = len(_PHOTOS.value or []) > 1
    files = f"files of {printable(found.root)}" if several else "files"
    print(
        f"{_GALLERY.value}: {len(gallery)} pictures{copies}; {files} added {changes.added}, changed "
        f"{changes.changed}, deleted {changes.deleted}, unchanged {changes.unchanged}, not readable "
        f"{len(changes.failed)}, passed over {passed_over}"
    )
    if passed_over:
        print(f"passed over: {summary(found.passed_over, found.root)}")


def _copy_lines(contents: "Contents", most: int | None) -> Iterator[str]:
    """Yields one line per picture that has several files, for the first few or all of them."""
    for paths in contents.copies[:most]:
        yield f"one picture, listed once: {', '.join(map(printable, paths))}"
    left = len(contents.copies[most:]) if most is not None else 0
    if left:
        yield f"and {left} more pictures with copies; --info lists all"


def _remove(folder: str) -> None:
    """Takes a folder out of the gallery; its files stay."""
    from dsf_jax.gallery.gallery import Gallery

    gallery = Gallery.open(_GALLERY.value)
    removed = gallery.remove(folder)
    if not removed:
        raise ValueError(
            f"{_GALLERY.value} holds no picture of {folder}; --info lists the folders that it has"
        )
    print(f"{_GALLERY.value}: {len(gallery)} pictures; {removed} files of {folder} removed")


def _describe() -> None:
    """Prints what the gallery holds."""
    from dsf_jax.gallery.gallery import Gallery

    gallery = Gallery.open(_GALLERY.value)
    config, contents = gallery.config, gallery.contents()
    print(
        f"{_GALLERY.value}: {len(gallery)} pictures, {contents.files} files\n"
        f"features: {config.layer} of the network {config.digest} ({config.backbone}), "
        f"{config.dimensions} of {config.features} dimensions, {config.dtype}"
    )
    for folder, files in contents.folders.items():
        is_there = pathlib.Path(folder).is_dir()
        print(
            f"{files} files of {printable(folder)}{'' if is_there else ', which is not there now'}"
        )
    for line in _copy_lines(contents, None):
        print(line)


def _layer() -> str | None:
    """Returns the layer to store, None for the network's own; an existing gallery's is its own, and the
    flags must not contradict it.
    """
    from dsf_jax.gallery.store import open_store

    try:
        store = open_store(_GALLERY.value)
    except FileNotFoundError:
        return _LAYER.value
    if not len(store):  # of a run that came to nothing: it is made again
        return _LAYER.value
    config = store.config
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
