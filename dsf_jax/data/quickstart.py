"""Where the quickstart keeps what: a run folder with its data, and the gallery that is served from it."""

import pathlib

FOLDER = "runs/quickstart"
DATASETS = SKETCHES, PHOTOS, EDGES = "openmoji/sketch", "openmoji/photo", "openmoji/edge"
SPLITS = ("train", "test")
_GALLERY = "gallery-"


def data_dir(run: pathlib.Path) -> pathlib.Path:
    """Returns the folder of the prepared records."""
    return run / "data"


def pictures(run: pathlib.Path) -> pathlib.Path:
    """Returns the folder of the photos as files, LABEL/NAME.png."""
    return run / "pictures"


def gallery(run: pathlib.Path, digest: str) -> pathlib.Path:
    """Returns the gallery of these pictures; trained further, a network has another."""
    return run / f"{_GALLERY}{digest}"


def galleries(run: pathlib.Path) -> dict[str, pathlib.Path]:
    """Returns the galleries that have been made, by the digests of their networks."""
    return {path.name.removeprefix(_GALLERY): path for path in sorted(run.glob(f"{_GALLERY}*"))}
