"""Reads ``.pth`` files: torch.save of a state dict, as a zip or as the older stream."""

import collections
import dataclasses
import io
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dsf_jax.models.weight_files.efficientnet_lite import FIRST_CONVOLUTION, architecture_of, folded
from dsf_jax.models.weight_files.source_weights import LEAVES, SourceWeights, collect
from dsf_jax.models.weight_files.unpickling import Storage, are_numbers, unpickle
from dsf_jax.models.weight_files.zip_entries import read_entry

COUNTS = "i8"
STEPS = "num_batches_tracked"  # a batch norm's counter, the only integers that are no error

# What pickle protocol 2 makes of torch's first record, the number 0x1950a86a20f9469cfc6c.
STREAM_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


@dataclasses.dataclass(frozen=True, eq=False, repr=False)  # its parts may be anything
class _TensorRecord:
    """Stands in for a torch tensor: a strided view of a storage, in elements."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def _new_tensor(
    storage: Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object
) -> _TensorRecord:
    return _TensorRecord(storage, offset, size, stride)


def _same_tensor(tensor: Any, *_: object) -> _TensorRecord:
    if not isinstance(tensor, _TensorRecord):
        raise ValueError(f"it has a {type(tensor).__name__} in place of a tensor")
    return tensor


_TORCH_NAMES: dict[str, object] = {
    "collections.OrderedDict": collections.OrderedDict,
    "torch._utils._rebuild_tensor": _new_tensor,
    "torch._utils._rebuild_tensor_v2": _new_tensor,
    "torch._utils._rebuild_parameter": _same_tensor,
    "torch.HalfStorage": "f2",
    "torch.FloatStorage": "f4",
    "torch.DoubleStorage": "f8",
    "torch.LongStorage": COUNTS,
}


def read_torch_zip(path: Path, archive: zipfile.ZipFile, root: str) -> SourceWeights:
    """Reads what torch.save has written since 1.6: one pickle, and one entry per storage.

    Args:
        path: the file.
        archive: the file, opened.
        root: beginning of its entries' names, as "archive/".

    Returns:
        Its weights.

    Raises:
        ValueError: it holds no state dict, or a tensor leaves its storage.
    """

    def read(name: str) -> bytes:
        return read_entry(archive, archive.getinfo(f"{root}{name}"))

    order = "<"
    if f"{root}byteorder" in archive.namelist():
        order = {b"little": "<", b"big": ">"}[read("byteorder")]
    state, storages = unpickle(io.BytesIO(read("data.pkl")), _TORCH_NAMES)
    raw = {key: read(f"data/{key}") for key in storages}
    return _torch_source(path, state, raw, order)


def read_torch_stream(path: Path, data: bytes) -> SourceWeights:
    """Reads weights that torch.save wrote before 1.6: five pickles, then the storages, little-endian.

    Args:
        path: the file.
        data: its content.

    Raises:
        ValueError: it is cut off, holds no state dict, or a tensor leaves its storage.
    """
    stream = io.BytesIO(data)
    for _ in ("magic number", "protocol version", "system information"):
        unpickle(stream, {})
    state, storages = unpickle(stream, _TORCH_NAMES)
    keys, _ = unpickle(stream, {})
    raw = {}
    for key in keys:
        count = int.from_bytes(stream.read(8), "little")
        size = count * np.dtype(storages[key].dtype).itemsize
        raw[key] = stream.read(min(size, len(data)))
        if len(raw[key]) != size:
            raise ValueError(f"storage {key} has {len(raw[key])} of its {size} bytes")
    return _torch_source(path, state, raw, "<")


def _torch_source(path: Path, state: Any, raw: dict[str, bytes], order: str) -> SourceWeights:
    if not isinstance(state, dict):
        raise ValueError(f"expected a state dict, got {type(state).__name__}")
    layers = collect(_torch_arrays(state, raw, order))
    lite = FIRST_CONVOLUTION in layers
    return SourceWeights(
        path=path,
        architecture=architecture_of(layers) if lite else "torchvision",
        kernel_layout="oihw",
        row_order="chw",
        layers=folded(layers) if lite else layers,
    )


def _torch_arrays(
    state: dict[str, Any], raw: dict[str, bytes], order: str
) -> Iterator[tuple[str, str, np.ndarray]]:
    for name, tensor in state.items():
        layer, _, leaf = name.rpartition(".")
        if not layer or not isinstance(tensor, _TensorRecord):
            raise ValueError(
                f"entry {name!r} is a {type(tensor).__name__}; expected tensors named such as "
                "features.0.weight: save model.state_dict()"
            )
        if leaf == STEPS:
            continue
        if tensor.storage.dtype == COUNTS:
            raise ValueError(f"layer {name}: it holds integers; expected floats")
        yield layer, LEAVES.get(leaf, leaf), _strided(tensor, raw, order, name)


def _strided(tensor: _TensorRecord, raw: dict[str, bytes], order: str, where: str) -> np.ndarray:
    """Copies the tensor's elements out of its storage, whatever their order there."""
    size, stride = tensor.size, tensor.stride
    if not all(map(are_numbers, (size, stride, (tensor.offset,)))):
        raise ValueError(f"layer {where}: its size, stride or offset is none")
    flat = np.frombuffer(raw[tensor.storage.key], dtype=order + tensor.storage.dtype)
    last = tensor.offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    # No expanded views (stride 0): their size is not bounded by the file's.
    if (
        min(tensor.offset, *size, *stride, 0) < 0
        or last >= flat.size
        or math.prod(size) > flat.size
    ):
        raise ValueError(
            f"layer {where}: size {list(size)}, stride {list(stride)}, offset {tensor.offset} "
            f"leave its storage of {flat.size} numbers"
        )
    strides = [step * flat.itemsize for step in stride]
    view = np.lib.stride_tricks.as_strided(flat[tensor.offset :], size, strides, writeable=False)
    return view.copy()
