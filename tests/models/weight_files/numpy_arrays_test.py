"""NumPy's files: pickled dicts and archives of arrays."""

import io
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dsf_jax.models.weight_files.reading import read_weights
from tests.models.weight_files.encoders import assert_bit_equal, object_npy, written


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("form", ["list", "tuple", "dict"])
def test_npy_dict_reads_back(tmp_path: Path, form: str, protocol: int) -> None:
    rng = np.random.default_rng(1)
    kernel = np.asfortranarray(rng.normal(size=(5, 5, 3, 4)).astype(np.float32))
    bias = rng.normal(size=4).astype(">f4")
    blobs: Any = {
        "list": [kernel, bias],
        "tuple": (kernel, bias),
        "dict": {"weights": kernel, "biases": bias},
    }[form]
    data = object_npy({"conv1": blobs}, protocol)
    source = read_weights(written(tmp_path, "net.npy", data))
    assert_bit_equal(source, {"conv1": [kernel, bias]})
    assert (source.architecture, source.kernel_layout, source.row_order) == ("caffe", "hwio", "hwc")


def test_npy_of_python_2_reads_back(tmp_path: Path) -> None:
    """Python 2 pickled names and array bytes alike as strings (opcodes U and T)."""
    values = np.arange(-3, 3, dtype="<f4")

    def text(value: bytes) -> bytes:
        return b"T" + struct.pack("<i", len(value)) + value

    def dtype(code: bytes, order: bytes, flags: bytes) -> bytes:
        make = b"cnumpy\ndtype\n(" + text(code) + b"K\x00K\x01tR"
        return (
            make
            + b"(K\x03"
            + text(order)
            + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK"
            + flags
            + b"tb"
        )

    def array(shape: bytes, kind: bytes, data: bytes) -> bytes:
        make = (
            b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + text(b"b") + b"tR"
        )
        return make + b"(K\x01" + shape + kind + b"I00\n" + data + b"tb"

    inner = array(b"(K\x02K\x03t", dtype(b"f4", b"<", b"\x00"), text(values.tobytes()))
    table = b"}(" + text(b"fc6") + b"](" + inner + b"eu"
    whole = array(b"(t", dtype(b"O8", b"|", b"\x3f"), b"](" + table + b"e")
    header = object_npy({}, 2)[: -len(pickle.dumps(np.asanyarray({}, dtype=object), 2))]
    path = written(tmp_path, "net.npy", header + b"\x80\x02" + whole + b".")
    expected = np.load(path, allow_pickle=True, encoding="latin1").item()
    np.testing.assert_array_equal(expected["fc6"][0], values.reshape(2, 3))  # the file is genuine
    assert_bit_equal(read_weights(path), {"fc6": [values.reshape(2, 3)]})


def test_npy_of_a_plain_array_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.npy"
    np.save(path, np.zeros((2, 3), np.float32))
    with pytest.raises(ValueError, match="expected one pickled dict, got a float32 array"):
        read_weights(path)


def test_npy_with_integers_names_the_layer(tmp_path: Path) -> None:
    path = written(tmp_path, "net.npy", object_npy({"conv1": [np.arange(3)]}, 4))
    with pytest.raises(ValueError, match="layer conv1/kernel: element type '<i8'"):
        read_weights(path)


@pytest.mark.parametrize(("outputs", "name"), [(96, "caffe"), (64, "torchvision"), (7, None)])
def test_npz_reads_back_and_tells_its_architecture(
    tmp_path: Path, outputs: int, name: str | None
) -> None:
    rng = np.random.default_rng(2)
    kernel = rng.normal(size=(2, 2, 3, outputs)).astype(np.float32)
    bias = rng.normal(size=outputs)
    path = tmp_path / "net.npz"
    np.savez_compressed(path, **{"conv1/kernel": kernel, "conv1/bias": bias})
    source = read_weights(path)
    assert_bit_equal(source, {"conv1": [kernel, bias]})
    assert (source.architecture, source.kernel_layout, source.row_order) == (name, "hwio", "chw")


def test_npz_with_pickled_objects_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.npz"
    np.savez(path, **{"conv1/kernel": np.array([{}], dtype=object)}, allow_pickle=True)
    with pytest.raises(ValueError, match="layer conv1/kernel: element type"):
        read_weights(path)


def test_npz_keys_must_name_a_layer(tmp_path: Path) -> None:
    path = tmp_path / "net.npz"
    np.savez(path, kernel=np.zeros(3))
    with pytest.raises(ValueError, match="key 'kernel'; expected keys such as conv1/kernel"):
        read_weights(path)


def test_npz_header_cannot_claim_more_than_there_is(tmp_path: Path) -> None:
    stream = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": (1 << 40,)}
    np.lib.format.write_array_header_1_0(stream, header)
    with zipfile.ZipFile(tmp_path / "net.npz", "w") as archive:
        archive.writestr("conv1/kernel.npy", stream.getvalue() + bytes(8))
    with pytest.raises(ValueError, match=r"layer conv1/kernel: shape .* but 2 numbers"):
        read_weights(tmp_path / "net.npz")
