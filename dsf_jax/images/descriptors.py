"""Hand-crafted descriptors that the network's features are compared with: HOG and raw pixels.

A sketch enters as its edge-preserving map, a photo in grey. HOG sees where brightness changes, and
takes both as they are. Raw pixels are compared as lines: the ink of a sketch, the strength of the
gradient of a photo, which needs no edge detector.
"""

from typing import Literal, get_args

import numpy as np
from PIL import Image
from skimage.feature import hog

SIDE = 128  # h = w of the pictures that are described
CELL = 16  # pixels per side of HOG's cells
BLOCK = 4  # pixels per side that are one raw pixel
ORIENTATIONS = 9  # number of directions of a gradient without sign: dark on light is light on dark

Descriptor = Literal["HOG", "raw pixels"]


def check_descriptor(descriptor: str) -> None:
    """Raises ValueError unless `descriptor` names one."""
    if descriptor not in get_args(Descriptor):
        raise ValueError(
            f"descriptor={descriptor!r} is unknown; choose one of {', '.join(get_args(Descriptor))}"
        )


def grey_picture(photo: np.ndarray) -> np.ndarray:
    """Shrinks a photo to what `describe` takes, averaging over areas.

    Args:
      photo: [h, w, 3] uint8.

    Returns:
      [SIDE, SIDE] uint8.
    """
    grey = Image.fromarray(photo).convert("L")
    return np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BOX))


def describe(picture: np.ndarray, descriptor: Descriptor, *, drawn: bool) -> np.ndarray:
    """Describes one picture.

    Args:
      picture: [SIDE, SIDE] uint8; drawings are black on white.
      descriptor: "HOG": 9 orientations in cells of 16 pixels, blocks of 2 x 2 cells, L2-Hys. "raw
        pixels": lines, averaged over 4 x 4 pixels.
      drawn: whether it is a drawing, or a photo.

    Returns:
      [d] float32 of length 1, or of zeros where the picture shows nothing; d is 1764 or 1024.

    Raises:
      ValueError: for another size or dtype, or an unknown descriptor.
    """
    check_descriptor(descriptor)
    if picture.shape != (SIDE, SIDE) or picture.dtype != np.uint8:
        raise ValueError(
            f"picture is {picture.dtype} {list(picture.shape)}, expected uint8 [{SIDE}, {SIDE}]; "
            "resize it first"
        )
    if descriptor == "HOG":
        vector = hog(
            picture,
            orientations=ORIENTATIONS,
            pixels_per_cell=(CELL, CELL),
            cells_per_block=(2, 2),
            block_norm="L2-Hys",
        )
    else:
        lines = 255.0 - picture if drawn else gradient_strength(picture)
        vector = lines.reshape(SIDE // BLOCK, BLOCK, SIDE // BLOCK, BLOCK).mean(axis=(1, 3)).ravel()
    norm = np.linalg.norm(vector)
    return (vector / (norm if norm > 0 else 1.0)).astype(np.float32)


def gradient_strength(picture: np.ndarray) -> np.ndarray:
    """Computes how strongly brightness changes, by central differences.

    Args:
      picture: [h, w] uint8.

    Returns:
      [h, w] float64.
    """
    return np.hypot(*np.gradient(picture.astype(np.float64)))
