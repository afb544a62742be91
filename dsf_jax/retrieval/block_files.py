"""Arrays on disk, one row per example, written block by block: memory does not grow with their number,
and a killed run goes on at the first block that is missing.

A folder holds NAME.npy [n, d] float32 of each array, labels.npy [n] int32, source_ids.json (n texts)
and features.json: the configuration that the arrays depend on. It is complete when features.json is
there, and not before; until then unfinished.json holds the same, and done.npy which blocks are there.

Several processes, joined by `jax.distributed`, may write it together, in a folder that all of them see:
block k is computed by process k modulo their number. Another number of processes may go on with what
they leave.
"""

import contextlib
import hashlib
import io
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from dsf_jax.data.batches import Block, batch_count
from dsf_jax.data.files import directory_lock, write_atomic
from dsf_jax.training.parallel import is_primary

FORMAT = 1
COMPLETE, UNFINISHED = "features.json", "unfinished.json"
LABELS, SOURCES, DONE = "labels.npy", "source_ids.json", "done.npy"
_AGAIN = "remove the folder and run the command again"


class StoredArrays(NamedTuple):
    """A complete folder.

    Attributes:
      configuration: everything that the arrays depend on.
      arrays: {name: [n, d] float32}, mapped: rows are read when they are asked for.
      labels: [n] int32, mapped.
      source_ids: [n] where each example came from.
    """

    configuration: dict[str, Any]
    arrays: dict[str, np.ndarray]
    labels: np.ndarray
    source_ids: list[str]


def write_blocks(
    folder: str | os.PathLike[str],
    blocks: Callable[..., Iterable[Block]],
    widths: Mapping[str, int],
    source_ids: Sequence[str],
    *,
    configuration: Mapping[str, Any],
    batch_size: int,
) -> None:
    """Writes arrays into a folder, block by block; does nothing where all are there.

    Args:
      folder: new, or one that a call of the same configuration left.
      blocks: function that computes the blocks whose `numbers` it is given; their outputs are {name:
        [b, d]}, as those of `dsf_jax.data.batches.mapped`.
      widths: {name: d} of the arrays.
      source_ids: [n] where each example came from.
      configuration: everything that they depend on, JSON values.
      batch_size: examples per block.

    Raises:
      FileExistsError: when the folder holds something else.
      ValueError: when it holds arrays of another configuration, or damaged ones, or a number is not finite.
      ConnectionError: when another process is gone.
      OSError: when another run writes to it, or the disk has too little space.
    """
    folder, n = pathlib.Path(folder), len(source_ids)
    wanted = _wanted(configuration, widths, source_ids, batch_size)
    if _is_complete(folder, wanted):
        return
    count = batch_count(n, batch_size)
    with directory_lock(folder) if is_primary() else contextlib.nullcontext():
        # Another run may have completed it before this one got the lock.
        if is_primary() and not _is_complete(folder, wanted) and not (folder / DONE).exists():
            _begin(folder, wanted, source_ids, count)
        _barrier("begun")
        if _is_complete(folder, wanted):
            return
        done = _open_array(folder / DONE, (count,), np.bool_)
        own = range(jax.process_index(), count, jax.process_count())
        for block in blocks(numbers=[number for number in own if not done[number]]):
            _check_finite(block, source_ids)
            _write_block(folder, wanted, block, count)
        _barrier("written")
        if is_primary():
            (folder / UNFINISHED).rename(folder / COMPLETE)
            (folder / DONE).unlink()
        _barrier("complete")


def _wanted(
    configuration: Mapping[str, Any],
    widths: Mapping[str, int],
    source_ids: Sequence[str],
    batch_size: int,
) -> dict[str, Any]:
    """Returns the content of features.json, as it will be read again."""
    own_part = {
        "format": FORMAT,
        "examples": len(source_ids),
        "source_ids": hashlib.sha256(json.dumps(list(source_ids)).encode()).hexdigest()[:16],
        "layers": widths,
        "batch_size": batch_size,
    }
    wanted: dict[str, Any] = json.loads(json.dumps({**configuration, **own_part}))
    return wanted


def open_blocks(folder: str | os.PathLike[str]) -> StoredArrays:
    """Opens a complete folder; rows are read from disk when they are asked for.

    Args:
      folder: folder of `write_blocks`.

    Raises:
      FileNotFoundError: when it is not there or not complete.
      ValueError: when one of its files is missing or damaged.
    """
    folder = pathlib.Path(folder)
    if not (folder / COMPLETE).exists():
        what = "is not complete" if (folder / UNFINISHED).exists() else "holds no features"
        raise FileNotFoundError(
            f"{folder} {what}; run python -m launch.extract, which goes on where it stopped"
        )
    configuration = _read_configuration(folder / COMPLETE)
    n = configuration["examples"]
    arrays: dict[str, np.ndarray] = {
        name: _open_array(folder / f"{name}.npy", (n, d), np.float32)
        for name, d in configuration["layers"].items()
    }
    labels = _open_array(folder / LABELS, (n,), np.int32)
    return StoredArrays(configuration, arrays, labels, _read_json(folder / SOURCES))


def _is_complete(folder: pathlib.Path, wanted: Mapping[str, Any]) -> bool:
    """Returns whether a folder is complete; refuses one that holds anything but the start of the same
    arrays.
    """
    for name in (COMPLETE, UNFINISHED):
        if (folder / name).exists():
            there = _read_configuration(folder / name)
            differing = [
                f"{key} is {there.get(key)!r:.60} there and {wanted.get(key)!r:.60} now"
                for key in sorted(there.keys() | wanted.keys())
                if there.get(key) != wanted.get(key)
            ]
            if differing:
                raise ValueError(
                    f"{folder} holds features of another configuration: {'; '.join(differing)}; "
                    "choose another folder"
                )
            return name == COMPLETE
    # A file that is being written has a hidden name.
    if folder.exists() and any(not path.name.startswith(".") for path in folder.iterdir()):
        raise FileExistsError(f"{folder} holds something else; choose another folder")
    return False


def _begin(
    folder: pathlib.Path, wanted: Mapping[str, Any], source_ids: Sequence[str], blocks: int
) -> None:
    """Makes the files at their full size; the list of what is done comes last."""
    shapes = _arrays(wanted)
    needed = sum(int(np.prod(shape)) * dtype.itemsize for shape, dtype in shapes.values())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            f"{folder} is to hold {needed >> 20} MiB of features, and {free >> 20} MiB are free; "
            "free some and run the command again"
        )
    write_atomic(folder / UNFINISHED, json.dumps(wanted, indent=1, ensure_ascii=False) + "\n")
    write_atomic(folder / SOURCES, json.dumps(list(source_ids), ensure_ascii=False) + "\n")
    for name, (shape, dtype) in shapes.items():
        np.lib.format.open_memmap(folder / name, "w+", dtype, shape)  # sparse: no zero is written
    done = io.BytesIO()
    np.save(done, np.zeros(blocks, np.bool_))
    write_atomic(folder / DONE, done.getvalue())


def _arrays(configuration: Mapping[str, Any]) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Returns shapes and types of the files that are written by rows."""
    n = configuration["examples"]
    arrays = {
        f"{name}.npy": ((n, d), np.dtype(np.float32)) for name, d in configuration["layers"].items()
    }
    return arrays | {LABELS: ((n,), np.dtype(np.int32))}


def _check_finite(block: Block, source_ids: Sequence[str]) -> None:
    """Raises ValueError for numbers that nothing can be ranked or classified by."""
    for name, x in block.outputs.items():
        if (bad := np.flatnonzero(~np.isfinite(x).all(axis=1))).size:
            example = source_ids[block.first + int(bad[0])]
            raise ValueError(
                f"{name} of the example {example!r} is not finite; look at its picture, and at where the "
                "network came from"
            )


def _write_block(
    folder: pathlib.Path, configuration: Mapping[str, Any], block: Block, blocks: int
) -> None:
    """Writes a block's rows, and then marks them as done."""
    rows = {f"{name}.npy": x for name, x in block.outputs.items()} | {LABELS: block.labels}
    for name, (shape, dtype) in _arrays(configuration).items():
        _write_rows(folder / name, shape, block.first, rows[name].astype(dtype, copy=False))
    _write_rows(folder / DONE, (blocks,), block.number, np.array([True]))


def _write_rows(path: pathlib.Path, shape: tuple[int, ...], first: int, rows: np.ndarray) -> None:
    """Writes rows of a .npy file. Not through a mapping, whose pages would count as memory of this
    process and, where machines share the folder, carry neighbouring rows of other processes.
    """
    mapped = _open_array(path, shape, rows.dtype.type)
    with path.open("r+b") as file:
        file.seek(mapped.offset + first * mapped.strides[0])
        file.write(np.ascontiguousarray(rows).data)
        file.flush()
        os.fsync(file.fileno())


def _open_array(path: pathlib.Path, shape: tuple[int, ...], dtype: type) -> np.memmap:
    try:
        mapped: np.memmap = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path} cannot be read ({reason}); {_AGAIN}") from error
    if mapped.shape != shape or mapped.dtype != dtype:
        raise ValueError(
            f"{path} is {mapped.dtype} {mapped.shape}, expected {np.dtype(dtype)} {shape}; {_AGAIN}"
        )
    return mapped


def _read_json(path: pathlib.Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error}); {_AGAIN}") from error


def _read_configuration(path: pathlib.Path) -> dict[str, Any]:
    configuration = _read_json(path)
    if not isinstance(configuration, dict) or configuration.get("format") != FORMAT:
        raise ValueError(f"{path} is of another program or format; {_AGAIN}")
    return configuration


def _barrier(point: str) -> None:
    """Waits until all processes have reached a point."""
    if jax.process_count() == 1:
        return
    try:
        multihost_utils.sync_global_devices(f"features {point}")
    except (RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ConnectionError(
            f"another process of this run is gone ({reason}); start all of them again"
        ) from error
