"""Hand-crafted descriptors that the network's features are compared with: HOG, raw pixels and dense SIFT.

A sketch enters as its edge-preserving map, a photo in grey. HOG sees where brightness changes, and
takes both as they are. Raw pixels are compared as lines: the ink of a sketch, the strength of the
gradient of a photo, which needs no edge detector.
"""

from typing import Literal, get_args

import numpy as np
from PIL import Image
from scipy.ndimage import uniform_filter
from skimage.feature import hog

SIDE = 128  # h = w of the pictures that are described
SIDE_PEN = 2.0  # width of the pen that draws what is described, in pixels of that side
CELL = 16  # pixels per side of HOG's cells
BLOCK = 4  # pixels per side that are one raw pixel
ORIENTATIONS = 9  # number of directions of a gradient without sign: dark on light is light on dark

SIFT_CELLS = (4, 8, 12)  # pixels per side of SIFT's cells; a patch is 4 x 4 of them
SIFT_STEP = 4  # pixels between the centres of patches
SIFT_DIRECTIONS = 8
SIFT_SIZE = 16 * SIFT_DIRECTIONS
FAINT = 0.1  # of the strongest patch: what is fainter shows nothing
CLIPPED = 0.2  # the most that one number of a patch counts, as in Lowe's

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


def dense_sift(picture: np.ndarray) -> np.ndarray:
    """Describes patches of three sizes all over a picture by SIFT (Lowe 2004), without turning them.

    scikit-image's SIFT looks for points of interest, of which a drawing has few; what was published of
    sketches (Schneider and Tuytelaars 2014) is of patches on a grid.

    Args:
      picture: [SIDE, SIDE] uint8, grey.

    Returns:
      [m, 130] float32: SIFT of length 1, and x and y of the patch's centre from -0.5 to 0.5. Patches that
      show nothing are omitted.
    """
    maps = _direction_maps(picture)
    patches = np.concatenate([_patches(maps, cell) for cell in SIFT_CELLS])
    length = np.linalg.norm(patches[:, :SIFT_SIZE], axis=1)
    shown = length > FAINT * length.max(initial=0.0)
    sift = np.minimum(patches[shown, :SIFT_SIZE] / length[shown, None], CLIPPED)
    sift /= np.linalg.norm(sift, axis=1, keepdims=True)
    return np.concatenate([sift, patches[shown, SIFT_SIZE:]], axis=1).astype(np.float32)


def _direction_maps(picture: np.ndarray) -> np.ndarray:
    """Shares each gradient between the two directions next to its own: [8, h, w] float32."""
    down, right = np.gradient(picture.astype(np.float32))
    strength = np.hypot(down, right)
    direction = np.arctan2(down, right) % (2 * np.pi) * (SIFT_DIRECTIONS / (2 * np.pi))
    offset = direction - np.arange(SIFT_DIRECTIONS)[:, None, None]
    distance = np.abs((offset + SIFT_DIRECTIONS / 2) % SIFT_DIRECTIONS - SIFT_DIRECTIONS / 2)
    shares: np.ndarray = strength * np.maximum(1 - distance, 0)
    return shares


def _patches(maps: np.ndarray, cell: int) -> np.ndarray:
    """Describes patches of 4 x 4 cells on a grid: [m, 128] directions by cells, and [m, 2] centres."""
    # Twice the mean over a cell: gradients count the less for it the further they are from its middle.
    blurred = maps
    for _ in range(2):
        blurred = uniform_filter(blurred, (0, cell, cell), mode="constant")
    side = maps.shape[1]
    centres = np.arange(2 * cell, side - 2 * cell + 1, SIFT_STEP)
    cells = centres[:, None] + ((np.arange(4) - 1.5) * cell).astype(int)  # [n, 4]
    found = blurred[:, cells[:, None, :, None], cells[None, :, None, :]]  # [8, n, n, 4, 4]
    sift = found.transpose(1, 2, 3, 4, 0).reshape(-1, SIFT_SIZE)
    y, x = np.meshgrid(centres, centres, indexing="ij")
    return np.concatenate([sift, np.stack([x, y], axis=-1).reshape(-1, 2) / side - 0.5], axis=1)
