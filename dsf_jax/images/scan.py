"""Pictures of drawings on paper, scanned or photographed -> how dark the pen was at each place; told
apart from photos.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from dsf_jax.images.points import THRESHOLD, Polarity, check_polarity

SCANNED = 1000  # pixels of a scan's longer side: more do not change its centre lines
WINDOW = 20  # of a scan's longer side: wider than a stroke, narrower than a band of shadow
COARSE = 4  # pixels of a scan: the light changes slowly
DEEPEST_SHADOW = 0.35  # of the lit paper's brightness; what is wide and darker is ink
MIN_CONTRAST = 0.05  # of the paper's brightness: below that, what differs from paper is its grain
GRAIN = 5.0  # deviations of the paper's grain that ink is darker by
MIN_INK, MAX_INK = 1e-5, 0.5  # of the pixels
DUST = 250  # of the longer side: what is not larger is no stroke, unless it is all that there is

# A drawing, shrunk to this longer side, has at most this fraction of pixels whose channels differ by
# more than so much of the paper's brightness, at least this fraction of paper, and at most this
# fraction of pixels in the middle of dark squares of this width. What these take for drawings is in
# docs/experiments.md, "Pictures taken for drawings".
DRAWN_SIDE, SMALLEST_SIDE = 256, 64
COLOUR_LEVELS, MAX_COLOURED, MIN_PAPER = 0.24, 0.15, 0.7
AREA_WIDTH, MAX_AREA = 9, 0.01
PAPER_TONE, MAX_OFF_TONE = 0.12, 0.1
DEEPEST_FALL, MAX_DEEP = 0.22, 0.05

# Rulings are parallel lines from border to border at equal distances.
RULED_SIDE, MAX_TILT, MIN_RULINGS = 400, 8, 4
FAINTEST, DARKEST = 0.1, 0.8  # darkness of rulings, 1 being the ink's
EDGE = 2  # pixels of `RULED_SIDE` within which a line runs off the picture
REACH, SPACING = (
    0.8,
    0.2,
)  # of the side that a ruling covers; of the distance that distances differ by


class Scan(NamedTuple):
    """What a picture of a drawing shows.

    Attributes:
      darkness: [h, w] float32, 0 for paper, 1 for the darkest ink that there can be; above `THRESHOLD`
        where there is ink, and only there.
      ink: [h, w] bool.
      notes: what was left out or decided, one short sentence each; for people to read.
    """

    darkness: np.ndarray
    ink: np.ndarray
    notes: tuple[str, ...] = ()


def polarity_of(picture: np.ndarray) -> Polarity:
    """Returns whether the strokes are darker or lighter than the paper around them.

    Args:
      picture: [h, w, 3] uint8.
    """
    import scipy.ndimage  # imported here: strokes from the page need none of it

    small = shrunk(picture, SMALLEST_SIDE).astype(np.float32)
    window = max(small.shape) // 4 | 1
    deviation = small - scipy.ndimage.median_filter(small, (window, window, 1))
    # At the picture's border a slanting shadow is a wedge, which a median does not follow.
    edge = min(window, *small.shape[:2]) // 2
    inner = deviation[edge : len(small) - edge, edge : small.shape[1] - edge]
    shown = inner if inner.size and np.abs(inner).max() > 255 * MIN_CONTRAST else deviation
    # The cube lets strokes count, not the grain.
    return "black_on_white" if float((shown**3).sum()) <= 0 else "white_on_black"


def looks_drawn(picture: np.ndarray) -> bool:
    """Returns whether a picture is a drawing on paper: paper of one tone, hardly any colour, lines, no
    areas.

    Args:
      picture: [h, w, 3] uint8.
    """
    small = shrunk(picture, DRAWN_SIDE)
    light = _smooth(small if polarity_of(small) == "black_on_white" else 255 - small)
    paper = _paper(light)
    relative = np.clip(light / np.maximum(paper, 1.0), 0.0, 1.0)
    colour = relative.max(axis=-1) - relative.min(axis=-1)
    brightness = relative.min(axis=-1)
    areas = Image.fromarray(np.uint8(255) * (brightness < 0.7))
    middles = np.asarray(areas.filter(ImageFilter.MinFilter(AREA_WIDTH)))
    return bool(
        (colour > COLOUR_LEVELS).mean() < MAX_COLOURED
        and (brightness > 0.9).mean() > MIN_PAPER
        and middles.astype(bool).mean() < MAX_AREA
        and _is_paper(paper)
    )


def is_blank(picture: np.ndarray) -> bool:
    """Returns whether a picture [h, w, 3] uint8 is of one level, but for its grain."""
    smooth = _smooth(shrunk(picture, DRAWN_SIDE))
    low, high = np.percentile(smooth, (1, 99), axis=(0, 1))
    return bool((high - low).max() < 255 * MIN_CONTRAST)


def _is_paper(paper: np.ndarray) -> bool:
    """Returns whether what lies between the strokes, [h, w, 3], may be paper of one tone in some light."""
    level = paper.max(axis=-1)
    tone = paper / np.maximum(level[..., None], 1.0)
    usual = np.median(tone.reshape(-1, 3), axis=0)
    off_tone = np.abs(tone - usual).max(axis=-1) > PAPER_TONE
    deep = level < DEEPEST_FALL * np.percentile(level, 95)
    return bool(off_tone.mean() < MAX_OFF_TONE and deep.mean() < MAX_DEEP)


def scanned(picture: np.ndarray, polarity: Polarity | None = None) -> Scan:
    """Finds the ink of a drawing that was scanned or photographed: on paper of any colour, in uneven
    light or partly in shadow, with pens of any colour, dark on light or light on dark, plain or ruled.

    Args:
      picture: [h, w, 3] uint8.
      polarity: strokes on paper; None finds out.

    Raises:
      ValueError: when the picture shows no strokes, no paper, or rulings that cannot be told from
        strokes.
    """
    polarity = polarity or polarity_of(picture)
    check_polarity(polarity)
    smooth = _smooth(picture if polarity == "black_on_white" else 255 - picture)
    # The channel that the ink takes most of: a yellow pen takes only blue.
    brightness = np.clip(smooth / np.maximum(_paper(smooth), 1.0), 0.0, 1.0).min(axis=-1)
    paper, ink = _levels(brightness)
    darkness = np.clip((paper - brightness) / (paper - ink), 0.0, 1.0)
    notes = [] if polarity == "black_on_white" else ["light strokes on dark paper"]
    if (rulings := _darkest_rulings(darkness)) is not None:
        notes.append("ruled paper, whose lines are left out")
    found = _without_specks(darkness > max(THRESHOLD, rulings or 0.0))
    _check_amount(found)
    # Soft edges say where within a pixel a line lies; they are no ink by themselves.
    edges = np.asarray(Image.fromarray(found).filter(ImageFilter.MaxFilter(3)))
    soft = np.where(edges, np.minimum(darkness, 0.9 * THRESHOLD), 0)
    return Scan(np.where(found, darkness, soft).astype(np.float32), found, tuple(notes))


def shrunk(picture: np.ndarray, side: int) -> np.ndarray:
    """Shrinks a picture's longer side to `side`, if it is longer."""
    image = Image.fromarray(picture)
    image.thumbnail((side, side), Image.Resampling.BOX)
    return np.asarray(image)


def _darkest_rulings(darkness: np.ndarray) -> float | None:
    """Returns a darkness that the lines of squared or lined paper do not reach; None for plain paper.

    Args:
      darkness: [h, w].

    Raises:
      ValueError: when the lines are as dark as the strokes, and run off the picture.
    """
    image = Image.fromarray(darkness.astype(np.float32))
    image.thumbnail((RULED_SIDE, RULED_SIDE), Image.Resampling.BOX)
    small = np.asarray(image)
    tilts = np.arange(-MAX_TILT, MAX_TILT + 0.25, 0.25)
    found = [_ruled_tilts(side > FAINTEST, tilts) for side in (small, small.T)]
    if not any(found):
        return None
    for level in np.arange(FAINTEST, 1.0, 0.05):
        sides = zip((small, small.T), found, strict=True)
        if not any(_ruled_tilts(side > level, tilts) for side, tilts in sides):
            break
    # Lines fade in before they are gone, and a pixel of them is narrower here than it was.
    above = float(level) * 1.5 + 0.1
    if above > DARKEST:
        if not any(_run_off(side > FAINTEST) for side in (small, small.T)):
            return None  # a ladder, a shelf: as dark as the strokes, and as they within the picture
        raise ValueError(
            "the paper is ruled, and its lines are as dark as the strokes; draw on plain paper, or with a "
            "darker pen"
        )
    return above


def _run_off(dark: np.ndarray) -> bool:
    """Returns whether as many lines as rulings are run off the left or the right of a picture [h, w] bool."""
    for edge in (dark[:, :EDGE].any(axis=1), dark[:, -EDGE:].any(axis=1)):
        lines = np.count_nonzero(np.diff(edge.astype(np.int8), prepend=0) > 0)
        if lines >= MIN_RULINGS:
            return True
    return False


def _ruled_tilts(dark: np.ndarray, tilts: Iterable[float]) -> list[float]:
    """Returns the angles, of those given, under which lines at equal distances cross from left to right."""
    height, width = dark.shape
    across, rows = np.arange(width), np.arange(height)[:, None]
    ruled = []
    for tilt in tilts:
        place = rows + np.rint((across - width // 2) * np.tan(np.deg2rad(tilt))).astype(int)
        inside = (place >= 0) & (place < height)
        covered = dark[np.clip(place, 0, height - 1), across] & inside
        seen = inside.sum(axis=1)
        full = (covered.sum(axis=1) >= REACH * seen) & (seen > REACH * width)
        starts = np.flatnonzero(full & ~np.concatenate([[False], full[:-1]]))
        distances = np.diff(starts)
        if len(starts) >= MIN_RULINGS and np.ptp(distances) <= max(2, SPACING * distances.mean()):
            ruled.append(float(tilt))
    return ruled


def _without_specks(ink: np.ndarray) -> np.ndarray:
    """Removes from ink [h, w] what is small and touches the border, and dust; all that there is stays."""
    import scipy.ndimage  # imported here, as in `polarity_of`

    labels, count = scipy.ndimage.label(ink, np.ones((3, 3)))
    window, dust = _window(ink), max(1, max(ink.shape) // DUST)
    keep = np.zeros(count + 1, bool)
    for number, (rows, columns) in enumerate(scipy.ndimage.find_objects(labels), start=1):
        extent = max(rows.stop - rows.start, columns.stop - columns.start)
        at_border = (
            min(rows.start, columns.start) == 0
            or rows.stop == ink.shape[0]
            or columns.stop == ink.shape[1]
        )
        keep[number] = extent > (1.5 * window if at_border else dust)
    return keep[labels] if keep.any() else ink


def _smooth(picture: np.ndarray) -> np.ndarray:
    """Takes the mean of 3 x 3, [h, w, 3] float32: it removes two thirds of the grain."""
    padded = np.pad(picture.astype(np.float32), ((1, 1), (1, 1), (0, 0)), mode="edge")
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    return (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9


def _paper(smooth: np.ndarray) -> np.ndarray:
    """Returns the paper under the strokes, [h, w, 3]: the picture without what is dark and narrow, so
    that borders of shadows stay where they are.
    """
    import scipy.ndimage  # imported here, as in `polarity_of`

    closed = scipy.ndimage.grey_closing(smooth, (_window(smooth), _window(smooth), 1))
    coarse = closed[::COARSE, ::COARSE]
    around = max(coarse.shape) // 3 | 1
    lit = scipy.ndimage.maximum_filter(coarse, (around, around, 1))
    lit = lit.repeat(COARSE, axis=0).repeat(COARSE, axis=1)[: len(closed), : closed.shape[1]]
    return np.maximum(closed, DEEPEST_SHADOW * lit)


def _window(picture: np.ndarray) -> int:
    """Returns the width in pixels that strokes are narrower than."""
    return max(max(picture.shape) // WINDOW, 7) | 1


def _levels(brightness: np.ndarray) -> tuple[float, float]:
    """Returns how bright paper and ink are, of brightness [h, w] relative to the paper around."""
    paper = float(np.median(brightness))
    grain = 1.4826 * float(np.median(np.abs(brightness - paper)))
    darker = brightness[brightness < paper - max(MIN_CONTRAST, GRAIN * grain)]
    if len(darker) < max(3, MIN_INK * brightness.size):
        difference = paper - float(brightness.min())
        raise ValueError(
            f"the picture shows no strokes: its darkest parts are {difference:.0%} darker than the paper "
            f"around them, at least {max(MIN_CONTRAST, GRAIN * grain):.0%} are needed; use a darker pen, or "
            "search with it as a photo"
        )
    return paper, float(np.percentile(darker, 2))


def _check_amount(ink: np.ndarray) -> None:
    """Raises ValueError when there is too much ink for a drawing."""
    if ink.mean() > MAX_INK:
        raise ValueError(
            f"{ink.mean():.0%} of the picture would be ink, at most {MAX_INK:.0%} can be a drawing; draw lines "
            "on paper, or search with it as a photo"
        )
