"""Pictures to draw, and what figures hold."""

import numpy as np
from PIL import Image

from dsf_jax.insight.plots import png_bytes, save_figure


def pictures(count, seed=0):
    """Grey and colour, wide and tall."""
    rng = np.random.default_rng(seed)
    shapes = [(20, 20), (20, 30, 3), (35, 20, 3), (9, 9)]
    return [rng.integers(0, 256, shapes[i % 4]).astype(np.uint8) for i in range(count)]


def shown(figure):
    """The images of all panels, in order."""
    return [image.get_array() for axes in figure.axes for image in axes.images]


def check_equal_files(make, folder):
    """Equal figures are equal files, without a time or a version in them."""
    for file in ("a.png", "b.png"):
        save_figure(make(), folder / file)
    assert (folder / "a.png").read_bytes() == (folder / "b.png").read_bytes()
    assert (folder / "a.png").read_bytes() == png_bytes(make())
    with Image.open(folder / "a.png") as picture:
        assert picture.format == "PNG" and min(picture.size) > 50
        assert not {"Software", "Creation Time", "date"} & set(picture.info)
        assert len(np.unique(np.asarray(picture))) > 2
