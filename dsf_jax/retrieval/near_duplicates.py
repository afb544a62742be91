"""Near-duplicates: pictures that are one, resized or saved again, told by their pixels.

Pictures are shrunk to 16 x 16 and correlated. A network's features will not do: they are made to bring
different pictures of one kind together, and bring two houses nearer than a house and its half-size copy.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

Duplicates = Literal["grouped", "separate"]  # results of a search

SIDE = 16
SAME = 0.99  # correlation from which on two pictures are one


def shrink(picture: np.ndarray) -> np.ndarray:
    """Shrinks a picture to what near-duplicates are told by.

    Args:
      picture: [h, w, 3] uint8, of any shape.

    Returns:
      [16, 16, 3] uint8, means of areas.
    """
    from PIL import Image  # flags name `Duplicates`, also where there are no pictures

    image = Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(image)


def group(shrunk: np.ndarray | Sequence[np.ndarray]) -> list[list[int]]:
    """Puts each picture to the first one that it is a near-duplicate of, or begins a group with it.

    Args:
      shrunk: [n, 16, 16, 3] uint8, of `shrink`, in rank order.

    Returns:
      Places of the members of each group: first the one that all others are near-duplicates of.

    Example:
      >>> day = np.arange(768).reshape(16, 16, 3) % 251
      >>> group([day, day.max() - day, day + 1])
      [[0, 2], [1]]
    """
    groups: list[list[int]] = []
    patterns = _patterns(np.asarray(shrunk))
    firsts = np.empty_like(patterns)
    for place, pattern in enumerate(patterns):
        (same,) = np.nonzero(firsts[: len(groups)] @ pattern >= SAME)
        if len(same):
            groups[same[0]].append(place)
        else:
            firsts[len(groups)] = pattern
            groups.append([place])
    return groups


def _patterns(shrunk: np.ndarray) -> np.ndarray:
    """Brings pictures [n, 16, 16, 3] to a mean of 0 and a length of 1, [n, 768]; one without any contrast
    becomes zeros, which are like nothing.
    """
    values = shrunk.reshape(len(shrunk), SIDE * SIDE * 3).astype(np.float32)
    values -= values.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return np.divide(values, lengths, out=np.zeros_like(values), where=lengths > 0)
