"""Pictures of drawings on paper, scanned or photographed -> where the ink is; told apart from photos."""

import numpy as np
from PIL import Image, ImageFilter

SCANNED = 1000  # pixels of a scan's longer side: more do not change its centre lines
PAPER_CELLS = 16  # of a scan's side: the light on the paper is measured in each
THRESHOLD = 0.25  # between paper and ink, as a fraction of their difference
MIN_CONTRAST = 0.05  # of the paper's brightness: below that, what differs from paper is its grain

# A drawing, shrunk to this longer side, has at most this fraction of pixels whose channels differ by
# more than so many levels, at least this fraction of paper, and at most this fraction of pixels in the
# middle of dark squares of this width. BUILD_NOTES.md has what these take for drawings.
DRAWN_SIDE, DRAWN_CELLS = 256, 8
COLOUR_LEVELS, MAX_COLOURED, MIN_PAPER = 60, 0.15, 0.7
AREA_WIDTH, MAX_AREA = 9, 0.005


def looks_drawn(picture: np.ndarray) -> bool:
    """Returns whether a picture is a drawing on paper: mostly paper, hardly any colour, lines, no areas.

    Args:
      picture: [h, w, 3] uint8.
    """
    small = shrunk(picture, DRAWN_SIDE)
    colour = small.max(axis=-1).astype(np.int16) - small.min(axis=-1)
    brightness = _relative_to_paper(_grey(small), DRAWN_CELLS)
    paper, ink = _two_levels(brightness)
    dark = Image.fromarray(np.uint8(255) * (brightness < (paper + ink) / 2))
    areas = np.asarray(dark.filter(ImageFilter.MinFilter(AREA_WIDTH)))
    return bool(
        (colour > COLOUR_LEVELS).mean() < MAX_COLOURED
        and (np.abs(brightness - paper) < 0.1).mean() > MIN_PAPER
        and areas.astype(bool).mean() < MAX_AREA
    )


def scanned_ink(picture: np.ndarray) -> np.ndarray:
    """Finds the ink of a drawing that was scanned or photographed, in uneven light, dark on light or
    light on dark.

    Args:
      picture: [h, w, 3] uint8.

    Returns:
      [h, w] bool.

    Raises:
      ValueError: when the picture shows no strokes.
    """
    # A mean of 3 x 3 removes two thirds of the grain.
    padded = np.pad(_grey(picture), 1, mode="edge")
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    brightness = _relative_to_paper((rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9, PAPER_CELLS)
    paper, ink = _two_levels(brightness)
    if paper - ink < MIN_CONTRAST:
        raise ValueError(
            f"the picture shows no strokes: its darkest parts are {paper - ink:.0%} darker than the "
            f"paper, at least {MIN_CONTRAST:.0%} are needed; use a darker pen, or search with it as a photo"
        )
    return brightness < paper - THRESHOLD * (paper - ink)


def shrunk(picture: np.ndarray, side: int) -> np.ndarray:
    """Shrinks a picture's longer side to `side`, if it is longer."""
    image = Image.fromarray(picture)
    image.thumbnail((side, side), Image.Resampling.BOX)
    return np.asarray(image)


def _grey(picture: np.ndarray) -> np.ndarray:
    return picture @ np.array([0.299, 0.587, 0.114], np.float32)


def _relative_to_paper(grey: np.ndarray, cells: int) -> np.ndarray:
    """Returns the brightness [h, w] relative to the paper around it: about 1 for paper, less for ink."""
    if np.median(grey) < 128:
        grey = 255.0 - grey
    bounds = [np.linspace(0, n, min(n, cells) + 1).astype(int) for n in grey.shape]
    bright = [
        [np.percentile(grey[a:b, c:d], 90) for c, d in zip(bounds[1], bounds[1][1:], strict=False)]
        for a, b in zip(bounds[0], bounds[0][1:], strict=False)
    ]
    light = Image.fromarray(np.array(bright, np.float32))
    paper = np.asarray(light.resize(grey.shape[::-1], Image.Resampling.BILINEAR))
    return np.clip(grey / np.maximum(paper, 1.0), 0.0, 1.0)


def _two_levels(brightness: np.ndarray) -> tuple[float, float]:
    """Returns the means of the two classes of values in 0..1 that are best separated (Otsu's method):
    the brighter, the darker.
    """
    count = np.bincount((brightness * 255).astype(np.uint8).ravel(), minlength=256).astype(float)
    level = np.arange(256) / 255
    below, mass = np.cumsum(count), np.cumsum(count * level)
    above, rest = below[-1] - below, mass[-1] - mass
    both = (below > 0) & (above > 0)
    dark = np.divide(mass, below, out=np.zeros(256), where=both)
    bright = np.divide(rest, above, out=np.zeros(256), where=both)
    best = int(np.argmax(below * above * (bright - dark) ** 2))
    if not both[best]:  # a single level
        return (mass[-1] / below[-1],) * 2
    return float(bright[best]), float(dark[best])
