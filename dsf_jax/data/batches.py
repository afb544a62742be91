"""Batches, the unit that travels to the device: padded arrays over examples of one kind.

A batch holds "points" [b, p, 3] uint16 (drawings that the device resizes), "drawing" [b, h, w]
uint8 (drawings that are resized already) or "photo" [b, 256, 256, 3] uint8, and "label" [b] int32,
"weight" [b] float32 (0 for padding), "example" [b] int32: the number of the example within the
data or the whole step, from which its random numbers are derived.
A training batch is {"drawings": batch, "photos": batch}; either may be absent.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from dsf_jax.images.points import pad_points

CONTENTS = ("points", "drawing", "photo")
Batch = dict[str, np.ndarray]
TrainingBatch = dict[str, Batch]


class Block(NamedTuple):
    """What a function gave for some consecutive examples.

    Attributes:
      number: number of the block, from 0.
      first: number of its first example.
      labels: [b] int32.
      outputs: tree of arrays [b, ...], without padding.
    """

    number: int
    first: int
    labels: np.ndarray
    outputs: Any


def collate(
    examples: Sequence[dict[str, Any]], *, first: int = 0, points_length: int | None = None
) -> Batch:
    """Stacks examples of one kind.

    Args:
      examples: [b] examples of `Examples`.
      first: number of the first one within the whole step.
      points_length: length p that point lists are padded to, by default that of the longest; of no
        meaning for other contents.

    Returns:
      A batch.
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


def content(batch: Batch) -> Batch:
    """Returns the points, drawings or photos of a batch, without labels: what views are made of."""
    return {name: batch[name] for name in CONTENTS if name in batch}


def pad_batch(batch: Batch, size: int) -> Batch:
    """Repeats a batch's last example with weight 0 until it holds `size`.

    Args:
      batch: batch of b <= size examples.
      size: number of examples wanted.

    Returns:
      A batch of `size` examples.
    """
    missing = size - len(batch["label"])
    padded = {
        name: np.concatenate([x, np.repeat(x[-1:], missing, axis=0)]) for name, x in batch.items()
    }
    if missing:
        padded["weight"][-missing:] = 0.0
    return padded


def batch_count(examples: int, batch_size: int) -> int:
    """Returns how many batches hold this number of examples."""
    return -(-examples // batch_size)


def evaluation_batches(
    examples: Sequence[dict[str, Any]], batch_size: int, *, numbers: Iterable[int] | None = None
) -> Iterator[Batch]:
    """Goes once through examples in order; the last batch is padded with weight 0, so that all hold
    the same number.

    Args:
      examples: drawings or photos.
      batch_size: examples per batch.
      numbers: numbers of the batches wanted, from 0; all by default.

    Yields:
      Batches of `batch_size` examples.
    """
    if numbers is None:
        numbers = range(batch_count(len(examples), batch_size))
    for number in numbers:
        first = number * batch_size
        rows = range(first, min(first + batch_size, len(examples)))
        yield pad_batch(collate([examples[i] for i in rows], first=first), batch_size)


def mapped(
    examples: Sequence[dict[str, Any]],
    function: Callable[[Batch], Any],
    *,
    batch_size: int,
    label: str | tqdm,
    numbers: Sequence[int] | None = None,
) -> Iterator[Block]:
    """Applies a function to examples, batch by batch, with a progress bar: the one padded loop.

    A block does not depend on which others are computed.

    Args:
      examples: n drawings or photos.
      function: maps a batch of b examples to a tree of arrays [b, ...].
      batch_size: examples per batch, b; the last one is padded. Fewer examples are a batch of their own
        size.
      label: title of a progress bar, or a bar that counts the examples of several calls.
      numbers: numbers of the blocks wanted, in order; all by default.

    Yields:
      The blocks, their outputs NumPy arrays without padding.
    """
    batch_size = max(1, min(batch_size, len(examples)))
    if numbers is None:
        numbers = range(batch_count(len(examples), batch_size))
    total = sum(min(batch_size, len(examples) - number * batch_size) for number in numbers)
    own = tqdm(total=total, unit="image", desc=label) if isinstance(label, str) else None
    with own or contextlib.nullcontext(label) as bar:
        batches = evaluation_batches(examples, batch_size, numbers=numbers)
        for number, batch in zip(numbers, batches, strict=True):
            real = int(batch["weight"].sum())
            outputs = jax.tree.map(lambda x, n=real: np.asarray(x)[:n], function(batch))
            yield Block(number, number * batch_size, batch["label"][:real], outputs)
            bar.update(real)
