"""Zips whose directories lie about the sizes of their entries."""

import io
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dsf_jax.models.weight_files.reading import read_weights
from dsf_jax.models.weight_files.zip_entries import read_entry
from tests.models.weight_files.encoders import torch_zip, written

BOMB, SAID = 32 << 20, 100
NPZ = {"conv1/kernel.npy": b"", "conv1/bias.npy": b""}


def zipped(entries: dict[str, bytes], bomb: str) -> bytes:
    """A zip of entries; one unpacks to 32 MiB, and its directory says 100 bytes, of the right sum."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in entries.items():
            archive.writestr(name, bytes(BOMB) if name == bomb else data)
        archive.getinfo(bomb).file_size = SAID
        archive.getinfo(bomb).CRC = zlib.crc32(bytes(SAID))
    return stream.getvalue()


def peak(function: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def torch_entries() -> dict[str, bytes]:
    values = np.arange(6, dtype=np.float32)
    data = torch_zip({"features.0.bias": ("0", 0, (6,), (1,))}, {"0": values}, order="big")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize(
    ("entries", "bomb"),
    [
        (NPZ, "conv1/kernel.npy"),
        *((torch_entries(), f"alexnet/{name}") for name in ("data.pkl", "byteorder", "data/0")),
    ],
)
def test_an_entry_larger_than_it_says_is_not_unpacked(
    tmp_path: Path, entries: dict[str, bytes], bomb: str
) -> None:
    assert bomb in entries
    path = written(tmp_path, "net.zip", zipped(entries, bomb))

    def refused() -> None:
        with pytest.raises(ValueError, match=r"100 bytes that the zip says|Bad CRC-32") as error:
            read_weights(path)
        assert bomb in str(error.value)

    assert peak(refused) < 8 << 20


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_unpack_without_bound_are_refused(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "net.npz", "w", method) as archive:
        archive.writestr("conv1/kernel.npy", bytes(SAID))
    with pytest.raises(ValueError, match=f"packed by method {method}; expected stored or deflated"):
        read_weights(tmp_path / "net.npz")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("size", [0, 1, 5000, 300_000])
def test_honest_entries_read_back(method: int, size: int) -> None:
    data, stream = np.random.default_rng(0).bytes(size), io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        archive.writestr("a", data)
        archive.writestr("b", b"b")
    with zipfile.ZipFile(stream) as archive:
        entry = archive.getinfo("a")
        assert read_entry(archive, entry) == data and entry.file_size == size
        for lie in (-1, 1):
            entry.file_size = size + lie
            with pytest.raises((ValueError, zipfile.BadZipFile), match=r"that the zip says|CRC"):
                read_entry(archive, entry)
