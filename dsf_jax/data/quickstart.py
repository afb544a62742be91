"""Where the quickstart keeps what: a run folder with its data, and the gallery that is served from it."""

import pathlib

FOLDER = "runs/quickstart"
DATASETS = SKETCHES, PHOTOS, EDGES = "openmoji/sketch", "openmoji/photo", "openmoji/edge"
SPLITS = ("train", "test")
SECOND = "efficientnet-lite0"  # within the run folder, which is that of the paper's network
_GALLERY = "gallery-"


def networks(run: pathlib.Path) -> list[pathlib.Path]:
    """Returns the run folders of the networks that were trained: the paper's, then the second one's."""
    second = run / SECOND
    return [run, second] if second.is_dir() else [run]


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
