"""Groups, the unit that travels to the device: arrays over the examples of one kind. NumPy alone.

A group holds "points" [b, p, 2] uint16 (drawings that the device resizes), "drawing" [b, h, w]
uint8 (drawings that are resized already) or "photo" [b, 256, 256, 3] uint8, and "label" [b] int32,
"weight" [b] float32 (0 for padding), "example" [b] int32: the number of the example within the
whole batch, from which its random numbers are derived.
A batch is {"drawings": group, "photos": group}; either may be absent.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from dsf_jax.images.points import pad_points

CONTENTS = ("points", "drawing", "photo")
Group = dict[str, np.ndarray]
Batch = dict[str, Group]


def collate(
    examples: Sequence[dict[str, Any]], *, first: int = 0, points_length: int | None = None
) -> Group:
    """Stacks examples of one kind.

    Args:
      examples: b examples of `Examples`.
      first: number of the first one within the whole batch.
      points_length: p that point lists are padded to, by default that of the longest; of no
        meaning for other contents.

    Returns:
      A group.
    """
    (kind,) = (name for name in CONTENTS if name in examples[0])
    contents = [e[kind] for e in examples]
    padded = pad_points(contents, points_length) if kind == "points" else np.stack(contents)
    return {
        kind: padded,
        "label": np.array([e["label"] for e in examples], np.int32),
        "weight": np.ones(len(examples), np.float32),
        "example": np.arange(first, first + len(examples), dtype=np.int32),
    }


def content(group: Group) -> Group:
    """Returns a group's points, drawing or photo alone: what views are made of."""
    return {name: group[name] for name in CONTENTS if name in group}


def evaluation_groups(
    examples: Sequence[dict[str, Any]], batch_size: int, *, numbers: Iterable[int] | None = None
) -> Iterator[Group]:
    """Goes once through examples in order; the last group is padded with weight 0, so that all hold
    the same number.

    Args:
      examples: drawings or photos.
      batch_size: b.
      numbers: of the groups wanted, from 0; all by default.

    Yields:
      Groups of `batch_size` examples.
    """
    for number in range(-(-len(examples) // batch_size)) if numbers is None else numbers:
        first = number * batch_size
        group = collate(
            [examples[i] for i in range(first, min(first + batch_size, len(examples)))], first=first
        )
        yield pad_group(group, batch_size)


def pad_group(group: Group, size: int) -> Group:
    """Repeats a group's last example with weight 0 until it holds `size`.

    Args:
      group: of b <= size examples.
      size: wanted.

    Returns:
      A group of `size` examples.
    """
    missing = size - len(group["label"])
    padded = {
        name: np.concatenate([x, np.repeat(x[-1:], missing, axis=0)]) for name, x in group.items()
    }
    if missing:
        padded["weight"][-missing:] = 0.0
    return padded
