"""Edge detectors: a photo becomes an edge map, which then is a sketch like any other.

Canny, through OpenCV, needs no weights. It marks every change of colour alike, texture and outline:
the weak one of the detectors, good for flat artwork.
"""

import cv2
import numpy as np


def canny_edges(
    photo: np.ndarray, *, sigma: float = 1.0, low: float = 50.0, high: float = 100.0
) -> np.ndarray:
    """Finds the edges of a photo with Canny's detector: lines one pixel wide.

    The gradient at a pixel is the strongest of the three colour channels', so that neighbouring
    colours of the same brightness part too.

    Args:
      photo: [h, w, 3] uint8, RGB.
      sigma: standard deviation of the Gaussian that smooths the photo first, in pixels; 0 smooths
        nothing.
      low: gradient above which a pixel continues an edge, at least 0; in grey levels a pixel times
        8, the gain of the 3x3 Sobel filter.
      high: gradient above which a pixel starts an edge, in the same unit, at least `low`.

    Returns:
      [h, w] bool, True on an edge.

    Raises:
      ValueError: for another dtype or shape, a negative sigma, or thresholds out of order.
    """
    if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3 or 0 in photo.shape:
        raise ValueError(
            f"a photo must be uint8 [h, w, 3], got {photo.dtype} {list(photo.shape)}; "
            "convert it first"
        )
    if not 0.0 <= sigma < float("inf"):
        raise ValueError(f"sigma={sigma} must be 0 or a positive number of pixels")
    if not 0.0 <= low <= high:
        raise ValueError(f"low={low}, high={high}: need 0 <= low <= high")
    smooth = cv2.GaussianBlur(photo, (0, 0), sigma) if sigma else photo
    return cv2.Canny(smooth, low, high, apertureSize=3, L2gradient=True) > 0
