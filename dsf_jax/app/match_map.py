"""Where two pictures agree, by a network's maps."""

from typing import NamedTuple

import numpy as np


class MatchMap(NamedTuple):
    """What the network sees of one of two pictures, and where it sees the same in the other.

    Attributes:
      view: [size, size] or [size, size, 3] uint8.
      strength: [h, w] float32, 0..1.
    """

    view: np.ndarray
    strength: np.ndarray


def match_strengths(
    first: np.ndarray, second: np.ndarray, paper: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Compares two pictures' activations place by place.

    The agreement of two places is the inner product of their activations beyond those of white paper
    there, so that empty places and the picture's border agree with none. A place's strength is its
    best agreement.

    Args:
      first: [h, w, c] float32.
      second: [h, w, c] float32.
      paper: [h, w, c] float32, activations of white paper.

    Returns:
      Strength [h, w] of the first and of the second; the largest is 1, or all are 0.
    """
    flat = [np.maximum(x - paper, 0.0).reshape(-1, x.shape[-1]) for x in (first, second)]
    agreement = flat[0] @ flat[1].T
    largest = agreement.max() or 1.0
    return (
        (agreement.max(axis=1) / largest).reshape(first.shape[:2]),
        (agreement.max(axis=0) / largest).reshape(second.shape[:2]),
    )
