"""Examples to host batches for training: in fixed proportions, random access by step (grain)."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import grain
import numpy as np

from dsf_jax.data.batch_orders import by_class, shuffled
from dsf_jax.data.batches import TrainingBatch, collate, pad_batch
from dsf_jax.data.mixtures import Examples, Mixture
from dsf_jax.data.stroke_dropout import StrokeDropout
from dsf_jax.images.points import padded_length


def drawings_per_batch(mixture: Mixture, batch_size: int) -> int:
    """Returns the number of drawings per batch: in the mixture's proportion, so that shapes never
    change.
    """
    drawings, photos = len(mixture.drawings), len(mixture.photos)
    if not drawings or not photos:
        return batch_size if drawings else 0
    if batch_size < 2:
        raise ValueError(
            f"batch_size={batch_size} cannot hold both drawings and photos; take at least 2"
        )
    return min(max(round(batch_size * drawings / (drawings + photos)), 1), batch_size - 1)


class _Kind(NamedTuple):
    """Drawings or photos, and their place in each batch."""

    # (row, number of the step, number within the batch) -> example
    read: Callable[[int, int, int], dict[str, Any]]
    first: int  # number of the first one within the batch
    size: int  # examples per batch
    points_length: int | None


def training_batches(
    mixture: Mixture,
    *,
    batch_size: int,
    seed: int,
    per_class: int = 0,
    strokes_left_out: float = 0.0,
    process: int = 0,
    processes: int = 1,
) -> grain.MapDataset:
    """Lists the batches of an endless training run: batch `step` depends on (seed, step) only, so
    that a run resumes anywhere.

    Drawings and photos are shuffled separately, in every epoch again, and stand in every batch in one
    proportion; or, with `per_class`, classes are drawn for each batch. Every process reads only its own
    shard; shards are padded with weight 0 to one size.

    Args:
      mixture: drawings and photos.
      batch_size: examples per batch over all devices and processes.
      seed: seed of the order.
      per_class: examples of a class from each domain that a batch holds; 0 for any number.
      strokes_left_out: probability of a stroke to be left out, where a drawing's record has strokes.
      process: number of the shard to read, from 0.
      processes: number of shards.

    Returns:
      A random-access data set of batches.

    Raises:
      ValueError: when a process gets no drawing or no photo; see `by_class` and `StrokeDropout`.
    """
    order = _order_of_kinds(mixture, batch_size, seed, per_class)
    kinds = _kinds(mixture, {name: len(rows) for name, rows in order(0).items()})
    if strokes_left_out and "drawings" in kinds:
        some = StrokeDropout(mixture.drawings, share=strokes_left_out, seed=seed)
        kinds["drawings"] = kinds["drawings"]._replace(read=some.read)
    _check_shards(kinds, batch_size, processes)

    def read(step: int) -> TrainingBatch:
        batch, rows = {}, order(step)
        for name, kind in kinds.items():
            start, stop = (kind.size * shard // processes for shard in (process, process + 1))
            numbered = enumerate(rows[name][start:stop].tolist(), kind.first + start)
            own = [kind.read(row, step, number) for number, row in numbered]
            collated = collate(own, first=kind.first + start, points_length=kind.points_length)
            batch[name] = pad_batch(collated, -(-kind.size // processes))
        return batch

    return grain.MapDataset.range(2**31 - 1).map(read)


# Number of a step -> rows of each kind, {"drawings": [n], "photos": [m]}; only kinds that there are.
_OrderOfKinds = Callable[[int], dict[str, np.ndarray]]


def _order_of_kinds(mixture: Mixture, batch_size: int, seed: int, per_class: int) -> _OrderOfKinds:
    if per_class:
        return _by_class(mixture, batch_size, seed, per_class)
    return _shuffled(mixture, batch_size, seed)


def _check_shards(kinds: Mapping[str, _Kind], batch_size: int, processes: int) -> None:
    """Raises ValueError when some process would get nothing of a kind."""
    for name, kind in kinds.items():
        if kind.size < processes:
            raise ValueError(
                f"batch_size={batch_size} gives {kind.size} {name} to {processes} processes; raise it"
            )


def _shuffled(mixture: Mixture, batch_size: int, seed: int) -> _OrderOfKinds:
    drawn = drawings_per_batch(mixture, batch_size)
    sizes = {"drawings": drawn, "photos": batch_size - drawn}
    # Each kind has a seed of its own: kinds of one size would come in one order otherwise.
    seeds = np.random.SeedSequence([seed, 0]), np.random.SeedSequence([seed, 1])
    orders = {
        name: shuffled(len(examples), size=sizes[name], seed=int(own.generate_state(1)[0]))
        for (name, examples), own in zip(_examples(mixture).items(), seeds, strict=True)
        if sizes[name]
    }
    return lambda step: {name: order(step) for name, order in orders.items()}


def _by_class(mixture: Mixture, batch_size: int, seed: int, per_class: int) -> _OrderOfKinds:
    order = by_class(
        mixture.labels(), mixture.domains(), per_class=per_class, batch_size=batch_size, seed=seed
    )
    drawings = len(mixture.drawings)

    def of_kinds(step: int) -> dict[str, np.ndarray]:
        rows = order(step)
        drawn = rows < drawings
        kinds = {"drawings": rows[drawn], "photos": rows[~drawn] - drawings}
        return {name: own for name, own in kinds.items() if len(own)}

    return of_kinds


def _examples(mixture: Mixture) -> dict[str, Examples]:
    return {"drawings": mixture.drawings, "photos": mixture.photos}


def _reader(examples: Examples) -> Callable[[int, int, int], dict[str, Any]]:
    return lambda row, step, number: examples[row]


def _kinds(mixture: Mixture, sizes: Mapping[str, int]) -> dict[str, _Kind]:
    """Places the kinds of examples one after the other in a batch."""
    lengths = {"drawings": longest_list(mixture.drawings), "photos": None}
    firsts = {"drawings": 0, "photos": sizes.get("drawings", 0)}
    return {
        name: _Kind(_reader(examples), firsts[name], sizes[name], lengths[name])
        for name, examples in _examples(mixture).items()
        if name in sizes
    }


def held_out_batches(
    mixture: Mixture, *, batch_size: int, process: int = 0, processes: int = 1
) -> grain.MapDataset:
    """Lists the batches that show every example once, in order: drawings, then photos.

    Args:
      mixture: drawings and photos.
      batch_size: examples per batch over all devices and processes, a multiple of `processes`; the
        last batch of each kind is padded with weight 0.
      process: number of the shard to read, from 0.
      processes: number of shards.

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
        batch = collate(
            own or [examples[len(examples) - 1]],
            first=start,
            points_length=length if kind == "drawings" else None,
        )
        if not own:
            batch["weight"][:] = 0.0
        return {kind: pad_batch(batch, each)}

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
      batches: data set of `training_batches`.
      start: first step.
      stop: step to end before.
      threads: number of threads that read and decode.

    Yields:
      Host batches.
    """
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    yield from batches[start:stop].to_iter_dataset(options)
