"""Features on disk, written block by block: memory does not grow with their number, and a killed
extraction goes on at the first block that is missing.

A folder holds one LAYER.npy [n, d] float32 a layer, labels.npy [n] int32, source_ids.json (n texts)
and features.json: what the features were made from. It is complete when features.json is there, and
not before; until then unfinished.json says the same, and done.npy which blocks are there.
"""

import contextlib
import functools
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

from dsf_jax.data.files import only_writer, write_whole
from dsf_jax.images.resize import SIZE
from dsf_jax.models.alexnet import AlexNet, Params
from dsf_jax.retrieval.features import (
    PAPER_LAYERS,
    FeatureBlock,
    block_count,
    check_layers,
    feature_blocks,
    feature_sizes,
)
from dsf_jax.training.checkpoints import fingerprint
from dsf_jax.training.parallel import is_primary

FORMAT = 1
COMPLETE, UNFINISHED = "features.json", "unfinished.json"
LABELS, SOURCES, DONE = "labels.npy", "source_ids.json", "done.npy"
_AGAIN = "remove the folder and extract again"


class FeatureFiles(NamedTuple):
    """A complete folder.

    Attributes:
      configuration: what the features were made from.
      features: {layer: [n, d] float32}, mapped: rows are read when they are asked for.
      labels: [n] int32, mapped.
      source_ids: [n] where each example came from.
    """

    configuration: dict[str, Any]
    features: dict[str, np.ndarray]
    labels: np.ndarray
    source_ids: list[str]


def extract_to_files(
    folder: str | os.PathLike[str],
    model: AlexNet,
    params: Params,
    examples: Sequence[dict[str, Any]],
    source_ids: Sequence[str],
    *,
    configuration: Mapping[str, Any],
    layers: tuple[str, ...] = PAPER_LAYERS,
    batch_size: int = 64,
    size: int = SIZE,
    label: str = "features",
) -> None:
    """Computes features of all examples into a folder; does nothing where they are all there.

    Several processes, joined by `jax.distributed`, call it together with a folder that all of them
    see: block k is computed by process k modulo their number. Another number of processes may go
    on with what they leave.

    Args:
      folder: new, or one that an extraction of the same configuration left.
      model: the network.
      params: its parameters.
      examples: n drawings or photos.
      source_ids: [n] where each came from.
      configuration: what else the features depend on, JSON values: data set, split, ...
      layers: of `dsf_jax.retrieval.features.LAYERS`.
      batch_size: examples of a block.
      size: h = w of the network's input.
      label: of the progress bar.

    Raises:
      FileExistsError: when the folder holds something else.
      ValueError: when it holds features of another configuration, or damaged ones.
      ConnectionError: when another process is gone.
      OSError: when another extraction writes to it, or the disk has too little space.
    """
    check_layers(layers)
    if len(source_ids) != len(examples):
        raise ValueError(
            f"{len(source_ids)} source ids do not fit {len(examples)} examples; give each one"
        )
    made_of = {
        **configuration,
        "parameters": fingerprint(params),
        "size": size,
        "backend": jax.default_backend(),
    }
    blocks = functools.partial(
        feature_blocks,
        model,
        params,
        examples,
        layers=layers,
        batch_size=batch_size,
        size=size,
        label=label,
    )
    sizes = feature_sizes(model, params, layers, size=size)
    write_blocks(folder, blocks, sizes, source_ids, configuration=made_of, batch_size=batch_size)


def write_blocks(
    folder: str | os.PathLike[str],
    blocks: Callable[..., Iterable[FeatureBlock]],
    sizes: Mapping[str, int],
    source_ids: Sequence[str],
    *,
    configuration: Mapping[str, Any],
    batch_size: int,
) -> None:
    """Writes features of any kind into a folder, block by block; see `extract_to_files`.

    Args:
      folder: new, or one that the same call left.
      blocks: computes those whose numbers it is given as `numbers`.
      sizes: {layer: d} of the features.
      source_ids: [n] where each example came from.
      configuration: what the features depend on, JSON values.
      batch_size: examples of a block.

    Raises:
      As `extract_to_files`.
    """
    folder, n = pathlib.Path(folder), len(source_ids)
    own_part = {
        "format": FORMAT,
        "examples": n,
        "source_ids": hashlib.sha256(json.dumps(list(source_ids)).encode()).hexdigest()[:16],
        "layers": sizes,
        "batch_size": batch_size,
    }
    wanted = json.loads(json.dumps({**configuration, **own_part}))  # as it will be read again
    if _is_complete(folder, wanted):
        return
    count = block_count(n, batch_size)
    with only_writer(folder) if is_primary() else contextlib.nullcontext():
        if is_primary() and not (folder / DONE).exists():
            _begin(folder, wanted, source_ids, count)
        _together("begun")
        done = _open_array(folder / DONE, (count,), np.bool_)
        own = range(jax.process_index(), count, jax.process_count())
        for block in blocks(numbers=[number for number in own if not done[number]]):
            _write_block(folder, wanted, block, count)
        _together("written")
        if is_primary():
            (folder / UNFINISHED).rename(folder / COMPLETE)
            (folder / DONE).unlink()
        _together("complete")


def open_features(folder: str | os.PathLike[str]) -> FeatureFiles:
    """Opens a complete folder of features; rows are read from disk when they are asked for.

    Args:
      folder: from `extract_to_files`.

    Returns:
      Its content.

    Raises:
      FileNotFoundError: when it is not there or not complete.
      ValueError: when one of its files is missing or not whole.
    """
    folder = pathlib.Path(folder)
    if not (folder / COMPLETE).exists():
        what = "is not complete" if (folder / UNFINISHED).exists() else "holds no features"
        raise FileNotFoundError(
            f"{folder} {what}; run python -m launch.extract, which goes on where it stopped"
        )
    configuration = _read_configuration(folder / COMPLETE)
    n = configuration["examples"]
    features: dict[str, np.ndarray] = {
        layer: _open_array(folder / f"{layer}.npy", (n, d), np.float32)
        for layer, d in configuration["layers"].items()
    }
    labels = _open_array(folder / LABELS, (n,), np.int32)
    return FeatureFiles(configuration, features, labels, _read_json(folder / SOURCES))


def _is_complete(folder: pathlib.Path, wanted: Mapping[str, Any]) -> bool:
    """Tells whether a folder is complete; refuses one that holds anything but the start of this
    extraction.
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
    # What is written at this moment has a hidden name.
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
    write_whole(folder / UNFINISHED, json.dumps(wanted, indent=1, ensure_ascii=False) + "\n")
    write_whole(folder / SOURCES, json.dumps(list(source_ids), ensure_ascii=False) + "\n")
    for name, (shape, dtype) in shapes.items():
        np.lib.format.open_memmap(folder / name, "w+", dtype, shape)  # sparse: no zero is written
    done = io.BytesIO()
    np.save(done, np.zeros(blocks, np.bool_))
    write_whole(folder / DONE, done.getvalue())


def _arrays(configuration: Mapping[str, Any]) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """The files that are written by rows: shapes and types."""
    n = configuration["examples"]
    features = {
        f"{layer}.npy": ((n, d), np.dtype(np.float32))
        for layer, d in configuration["layers"].items()
    }
    return features | {LABELS: ((n,), np.dtype(np.int32))}


def _write_block(
    folder: pathlib.Path, configuration: Mapping[str, Any], block: FeatureBlock, blocks: int
) -> None:
    """Writes a block's rows, and then that they are there."""
    rows = {f"{layer}.npy": x for layer, x in block.features.items()} | {LABELS: block.labels}
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
        mapped = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
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


def _together(point: str) -> None:
    """Waits until all processes have come to a point."""
    if jax.process_count() == 1:
        return
    try:
        multihost_utils.sync_global_devices(f"features {point}")
    except (RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ConnectionError(
            f"another process of this extraction is gone ({reason}); start all of them again"
        ) from error
