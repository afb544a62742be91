"""Reads NumPy's files: caffe-tensorflow's pickled ``.npy`` and our own parameters as ``.npz``."""

import io
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dsf_jax.models.weight_files.source_weights import (
    ARCHITECTURE_OF_OUTPUTS,
    FIRST_LAYER,
    LEAVES,
    SourceWeights,
    collect,
    leaf_names,
)
from dsf_jax.models.weight_files.unpickling import (
    NUMPY_NAMES,
    array_from_bytes,
    array_from_record,
    unpickle,
)
from dsf_jax.models.weight_files.zip_entries import read_entry


def _npy_header(data: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Reads a .npy header: shape, whether in Fortran order, dtype, and where the data starts."""
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        header = np.lib.format.read_array_header_1_0(stream)
    elif version == (2, 0):
        header = np.lib.format.read_array_header_2_0(stream)
    else:
        raise ValueError(f"version {version} of the .npy format; known are (1, 0) and (2, 0)")
    return *header, stream.tell()


def read_npy(path: Path, data: bytes) -> SourceWeights:
    """Reads caffe-tensorflow's dict of [weights, biases], or of {"weights", "biases"}.

    The rows of fc6 are in H, W, C order: the converter permutes them for networks that flatten
    NHWC, as the program published with bvlc_alexnet.npy does. Its conv1 takes BGR, like Caffe's.

    Args:
        path: the file.
        data: its content.

    Returns:
        Its weights.

    Raises:
        ValueError: it holds anything else.
    """
    shape, _, dtype, start = _npy_header(data)
    if dtype != np.dtype(object) or shape != ():
        raise ValueError(f"expected one pickled dict, got a {dtype} array of shape {list(shape)}")
    stream = io.BytesIO(data)
    stream.seek(start)
    scalar, _ = unpickle(stream, NUMPY_NAMES)
    (table,) = scalar.state[4]
    return SourceWeights(
        path=path,
        architecture="caffe",
        kernel_layout="hwio",
        row_order="hwc",
        layers=collect(
            (layer, leaf, array_from_record(record, f"{layer}/{leaf}"))
            for layer, blobs in table.items()
            for leaf, record in _named_blobs(blobs)
        ),
    )


def _named_blobs(blobs: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(blobs, dict):
        return [(LEAVES.get(name) or name, blob) for name, blob in blobs.items()]
    return zip(leaf_names(len(blobs)), blobs, strict=True)


def read_npz(path: Path, archive: zipfile.ZipFile) -> SourceWeights:
    """Reads our own parameters, under keys such as ``conv1/kernel``.

    Args:
        path: the file.
        archive: the file, opened.

    Returns:
        Its weights; the architecture is None without a conv1 of a known size.

    Raises:
        ValueError: it holds other keys or other types.
    """
    layers = collect(_npz_arrays(archive))
    # The two architectures share layer names; their first convolutions differ in size.
    kernel = layers.get(FIRST_LAYER, {}).get("kernel")
    return SourceWeights(
        path=path,
        architecture=None if kernel is None else ARCHITECTURE_OF_OUTPUTS.get(kernel.shape[-1]),
        kernel_layout="hwio",
        row_order="chw",
        layers=layers,
    )


def _npz_arrays(archive: zipfile.ZipFile) -> Iterator[tuple[str, str, np.ndarray]]:
    for entry in archive.infolist():
        layer, _, leaf = entry.filename.removesuffix(".npy").rpartition("/")
        if not layer:
            raise ValueError(f"key {leaf!r}; expected keys such as conv1/kernel and conv1/bias")
        data = read_entry(archive, entry)
        shape, fortran, dtype, start = _npy_header(data)
        name = f"{layer}/{leaf}"
        yield (
            layer,
            leaf,
            array_from_bytes(data[start:], dtype.str, shape, fortran=fortran, where=name),
        )
