"""Examples to host batches for training: shuffled, in fixed proportions, random access by step (grain)."""

from collections.abc import Iterator

import grain
import numpy as np

from dsf_jax.data.batches import TrainingBatch, collate, pad_batch
from dsf_jax.data.mixtures import Examples, Mixture
from dsf_jax.images.points import padded_length


def drawings_per_batch(mixture: Mixture, batch_size: int) -> int:
    """Returns how many of a batch's examples are drawings: their share of the mixture, so that shapes
    never change.
    """
    drawings, photos = len(mixture.drawings), len(mixture.photos)
    if not drawings or not photos:
        return batch_size if drawings else 0
    if batch_size < 2:
        raise ValueError(
            f"batch_size={batch_size} cannot hold both drawings and photos; take at least 2"
        )
    return min(max(round(batch_size * drawings / (drawings + photos)), 1), batch_size - 1)


def training_batches(
    mixture: Mixture, *, batch_size: int, seed: int, process: int = 0, processes: int = 1
) -> grain.MapDataset:
    """Lists the batches of an endless training run: batch `step` depends on (seed, step) alone, so
    that a run resumes anywhere.

    Drawings and photos are shuffled apart, each anew in every one of its epochs, and stand in every
    batch in the same proportion. Every process reads its own part of a batch and no other; parts
    are padded with weight 0 to one size.

    Args:
      mixture: the examples.
      batch_size: examples of a batch over all devices and processes.
      seed: of the order.
      process: which part to read, from 0.
      processes: number of parts.

    Returns:
      A random-access data set of batches.

    Raises:
      ValueError: when a batch has fewer drawings or photos than there are processes.
    """
    drawn = drawings_per_batch(mixture, batch_size)
    length = longest_list(mixture.drawings)
    kinds = {
        "drawings": (mixture.drawings, 0, drawn),
        "photos": (mixture.photos, drawn, batch_size - drawn),
    }
    orders = {}
    for number, (kind, (examples, _, count)) in enumerate(kinds.items()):
        if 0 < count < processes:
            raise ValueError(
                f"batch_size={batch_size} gives {count} {kind} to {processes} processes; raise it"
            )
        if count:
            # Each kind has a seed of its own: kinds of one size would come in one order otherwise.
            own_seed = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
            rows = grain.MapDataset.range(len(examples)).seed(own_seed).shuffle().repeat()
            orders[kind] = rows.batch(count, batch_fn=list)

    def read(step: int) -> TrainingBatch:
        batch = {}
        for kind, order in orders.items():
            examples, first, count = kinds[kind]
            start, stop = (count * part // processes for part in (process, process + 1))
            own = [examples[row] for row in order[step][start:stop]]
            points_length = length if kind == "drawings" else None
            group = collate(own, first=first + start, points_length=points_length)
            batch[kind] = pad_batch(group, -(-count // processes))
        return batch

    return grain.MapDataset.range(2**31 - 1).map(read)


def held_out_batches(
    mixture: Mixture, *, batch_size: int, process: int = 0, processes: int = 1
) -> grain.MapDataset:
    """Lists the batches that show every example once, in order: drawings, then photos.

    Args:
      mixture: the examples.
      batch_size: examples of a batch over all devices and processes, a multiple of `processes`; the
        last batch of each kind is padded with weight 0.
      process: which part to read, from 0.
      processes: number of parts.

    Returns:
      A random-access data set of batches of one kind each.
    """
    length = longest_list(mixture.drawings)
    each = -(-batch_size // processes)
    parts = [
        (kind, examples, first)
        for kind, examples in (("drawings", mixture.drawings), ("photos", mixture.photos))
        for first in range(0, len(examples), each * processes)
    ]

    def read(number: int) -> TrainingBatch:
        kind, examples, first = parts[number]
        start = first + process * each
        own = [examples[row] for row in range(start, min(start + each, len(examples)))]
        # A process that has nothing left shows the last example, with weight 0.
        group = collate(
            own or [examples[len(examples) - 1]],
            first=start,
            points_length=length if kind == "drawings" else None,
        )
        if not own:
            group["weight"][:] = 0.0
        return {kind: pad_batch(group, each)}

    return grain.MapDataset.range(len(parts)).map(read)


def longest_list(drawings: Examples) -> int:
    """Returns the length that all point lists of `drawings` fit into: one shape, one compilation, the
    same on every process; 0 where drawings do not travel as points.
    """
    if not len(drawings) or "points" not in drawings[0]:
        return 0
    return padded_length(max(len(example["points"]) for example in drawings))


def prefetch(
    batches: grain.MapDataset, start: int, stop: int, *, threads: int = 4
) -> Iterator[TrainingBatch]:
    """Reads batches `start` to `stop` - 1 in order, some ahead of their use, on threads.

    Args:
      batches: from `training_batches`.
      start: first step.
      stop: step to end before.
      threads: that read and decode.

    Yields:
      Host batches.
    """
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    yield from batches[start:stop].to_iter_dataset(options)
