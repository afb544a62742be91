"""Finds the pictures of a folder that look like a drawing.

python -m launch.search --checkpoint=runs/quickstart --sketch=drawing.png --photos=my_photos
"""

import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, cast, get_args

from absl import flags

from dsf_jax.data.mixtures import EDGE_PRESERVING, small_drawing, square_photo
from dsf_jax.data.pictures import picture_files, read_picture
from dsf_jax.images.points import Polarity, points_from_image
from dsf_jax.insight.figures import ranked_results, save_figure
from dsf_jax.retrieval.euclidean import search
from dsf_jax.retrieval.features import PAPER_LAYERS, extract
from dsf_jax.training.checkpoints import load_model
from launch import command

_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Run or checkpoint folder.", required=True)
_SKETCH = flags.DEFINE_string("sketch", None, "Picture file of the drawing.", required=True)
_PHOTOS = flags.DEFINE_string("photos", None, "Folder of pictures to search.", required=True)
_TOP = flags.DEFINE_integer("top", 10, "How many pictures to list.", lower_bound=1)
_LAYER = flags.DEFINE_enum("layer", "L6+L7", list(PAPER_LAYERS), "Feature that is compared.")
_POLARITY = flags.DEFINE_enum(
    "polarity", "black_on_white", get_args(Polarity), "Of the drawing: strokes on paper."
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
    """Ranks the folder's pictures and prints the nearest."""
    figure = command.new_file(_FIGURE.value)
    sketch = read_picture(_SKETCH.value)
    points = points_from_image(sketch, polarity=cast(Polarity, _POLARITY.value))
    if not len(points):
        raise ValueError(
            f"{_SKETCH.value} shows no strokes; draw some, or try the other --polarity"
        )
    files = picture_files(_PHOTOS.value)
    card, params = load_model(_CHECKPOINT.value)
    query = {"points": points, "label": 0}
    if card.resizing != EDGE_PRESERVING:
        drawn = sketch if _POLARITY.value == "black_on_white" else 255 - sketch
        small = small_drawing(drawn, resizing=card.resizing, size=card.size)
        query = {"drawing": small, "label": 0}
    model, layer = card.network(), _LAYER.value
    features = [
        extract(model, params, examples, layers=(layer,), size=card.size, label=label)[layer]
        for examples, label in (
            ([query], "drawing"),
            (Photos(files), "pictures"),
        )
    ]
    nearest = search(features[0], features[1], _TOP.value)
    for line in listing(
        nearest.squared_distances[0] ** 0.5, [files[i] for i in nearest.indices[0]]
    ):
        print(line)
    if figure:
        pictures = [read_picture(files[i]) for i in nearest.indices[0]]
        save_figure(ranked_results([sketch], [pictures]), figure)


def listing(distances: Sequence[float], files: Sequence[pathlib.Path]) -> Iterator[str]:
    """Words a ranking: rank, distance (0 to 1.41 for features without negative values), path."""
    for rank, (distance, path) in enumerate(zip(distances, files, strict=True), start=1):
        yield f"{rank:3d}  {distance:.4f}  {path}"


if __name__ == "__main__":
    command.run(main)
