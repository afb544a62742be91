"""A drawing coarser than the canvas -> the same on the canvas, still grey, no stroke torn."""

import math

import numpy as np

from dsf_jax.images.thinning import centre_lines


def enlarged(strength: np.ndarray, side: int) -> np.ndarray:
    """Enlarges a drawing to a square, centred on it.

    Linear interpolation keeps strokes apart where a row or column of paper lies between them, and makes
    nothing darker than it is.

    Args:
      strength: [h, w] uint8, from paper (0) to full ink (255).
      side: pixels per side of the square, at least h and w.

    Returns:
      [side, side] uint8.
    """
    from PIL import Image  # points of strokes need none of it

    longer = max(strength.shape)
    margin = [(longer - n) / 2 for n in strength.shape]
    padded = np.pad(strength, [(math.ceil(m), math.ceil(m)) for m in margin])
    top, left = (math.ceil(m) - m for m in margin)  # half a pixel, or none
    box = (left, top, left + longer, top + longer)
    picture = Image.fromarray(padded).resize((side, side), Image.Resampling.BILINEAR, box)
    return np.asarray(picture)


def with_firm_lines(strength: np.ndarray, level: int, side: int) -> np.ndarray:
    """Makes the centre lines of faint strokes so strong that `enlarged` leaves them above the level, and so
    in one piece.

    Half way between two pixels that touch at a corner, half of their strength is left; and all of a pixel's
    strength is seen only where a pixel of the square has the same middle.

    Args:
      strength: [h, w] uint8, from paper (0) to full ink (255).
      level: least strength of ink.
      side: pixels per side of the square that it will be enlarged to.

    Returns:
      [h, w] uint8; of strokes that are strong enough, what was given.
    """
    off = max(strength.shape) / (
        2 * side
    )  # how far the nearest middle may be, in pixels of the drawing
    firm = min(math.ceil(2 * level / (1 - off)), 255)
    ink = strength >= level
    if not (ink & (strength < firm)).any():
        return strength
    return np.where(centre_lines(ink), np.maximum(strength, np.uint8(firm)), strength)
