"""Drawings whose lines are known by formula, and what the tests of points measure on them."""

import numpy as np

from dsf_jax.images.points import CANVAS


def inked(distance, side, width):
    """Draws what lies within half a width of a line, anti-aliased: [side, side] uint8, black on white.

    `distance` is a function of x and y in fractions of the side, and so is `width`.
    """
    place = (np.arange(side) + 0.5) / side
    covered = np.clip((width / 2 - distance(place[None], place[:, None])) * side + 0.5, 0, 1)
    return np.round(255 * (1 - covered)).astype(np.uint8)


def segment_to(start, end):
    """The distance to a straight line, and points of it [n, 2]."""
    delta = end - start

    def distance(x, y):
        t = ((x - start[0]) * delta[0] + (y - start[1]) * delta[1]) / (delta @ delta)
        t = np.clip(t, 0, 1)
        return np.hypot(x - start[0] - t * delta[0], y - start[1] - t * delta[1])

    return distance, start + np.linspace(0, 1, 1500)[:, None] * delta


def circle_to(centre, radius, sweep=2 * np.pi):
    """The distance to a circle or to an arc of it, and points of it [n, 2]."""
    turn = np.linspace(0, sweep, 1500)
    path = centre + radius * np.stack([np.cos(turn), np.sin(turn)], axis=1)

    def distance(x, y):
        x, y = x - centre[0], y - centre[1]
        ring = np.abs(np.hypot(x, y) - radius)
        ends = [np.hypot(x - px, y - py) for px, py in path[[0, -1]] - centre]
        return np.where(np.arctan2(y, x) % (2 * np.pi) <= sweep, ring, np.minimum(*ends))

    return distance, path


def gaps(points, path):
    """How far each place of a path [n, 2] is from the nearest point, in canvas sides: [n]."""
    from scipy.ndimage import distance_transform_edt  # here: processes of runs need no `gaps`

    empty = np.ones((CANVAS, CANVAS), bool)
    empty[points[:, 1], points[:, 0]] = False
    x, y = np.clip(path * CANVAS, 0, CANVAS - 1).astype(int).T
    return distance_transform_edt(empty)[y, x] / CANVAS


def random_points(rng, count, low=0, high=CANVAS):
    """Points anywhere between two cells, of any darkness: [p, 3] uint16, in raster order."""
    cells = np.unique(rng.integers(low, high, (count, 2)), axis=0)[:, ::-1]
    return np.insert(cells, 2, rng.integers(1, 256, len(cells)), axis=1).astype(np.uint16)
