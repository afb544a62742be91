"""Lines and strokes -> the parts of them that lie in an upright box."""

import numpy as np


def clipped_segments(
    starts: np.ndarray, ends: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Cuts line segments down to an upright box and drops those that miss it.

    Args:
      starts: [n, d] float64; a segment holds the points `start + t (end - start)`, t in [0, 1].
      ends: [n, d] float64.
      low: [d] the box's corner nearest to the origin; it belongs to the box.
      high: [d] the opposite one; it belongs to it too.

    Returns:
      The starts and ends [m, d] of what is left.
    """
    delta = ends - starts
    still = delta == 0
    slope = np.where(still, 1.0, delta)
    # A coordinate that stands still bounds t not at all, or leaves nothing.
    with np.errstate(over="ignore"):  # one that hardly moves reaches no edge: infinity is right
        one = np.where(still, -np.inf, (low - starts) / slope)
        other = np.where(still, np.inf, (high - starts) / slope)
    inside = (starts >= low) & (starts <= high)
    enter = np.maximum(np.minimum(one, other).max(axis=1), 0.0)[:, None]
    leave = np.minimum(np.maximum(one, other).min(axis=1), 1.0)[:, None]
    seen = (enter <= leave)[:, 0] & (inside | ~still).all(axis=1)
    starts, delta, enter, leave = starts[seen], delta[seen], enter[seen], leave[seen]
    return starts + enter * delta, starts + leave * delta


def clipped_stroke(stroke: np.ndarray, low: np.ndarray, high: np.ndarray) -> list[np.ndarray]:
    """Cuts a stroke down to an upright box; where it leaves the box it is lifted.

    Args:
      stroke: [n, 2] or [n, 3] float64, x, y and the pressure, if it has one: that changes evenly along
        a segment, cut or not.
      low: [2] x and y of the box's corner nearest to the origin; it belongs to the box.
      high: [2] the opposite one; it belongs to it too.

    Returns:
      The pieces in order, arrays [m, 2] or [m, 3]; none of a stroke without points.
    """
    within = (stroke[:, :2] >= low) & (stroke[:, :2] <= high)
    inside = within[:, 0] & within[:, 1]
    if inside.all() or len(stroke) == 1:
        return [stroke] if inside.any() else []
    # A segment that begins outside of the box begins a piece: its number stays the same along it.
    rows = np.insert(stroke[:-1], stroke.shape[1], np.cumsum(~inside[:-1]), axis=1)
    ends = np.insert(stroke[1:], stroke.shape[1], rows[:, -1], axis=1)
    beyond = np.full(stroke.shape[1] - 1, np.inf)  # pressure and number are not bounded
    starts, ends = clipped_segments(rows, ends, np.append(low, -beyond), np.append(high, beyond))
    # Rounding is to pass neither the stroke's own extent nor the box.
    least, most = stroke.min(axis=0), stroke.max(axis=0)
    least[:2], most[:2] = np.maximum(least[:2], low), np.minimum(most[:2], high)
    first = np.flatnonzero(np.diff(starts[:, -1], prepend=-1.0))
    return [
        np.clip(np.concatenate([start[None], piece])[:, :-1], least, most)
        for start, piece in zip(starts[first], np.split(ends, first)[1:], strict=True)
    ]
