"""PyTorch's files, encoded by hand and, where it is installed, by torch itself."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dsf_jax.models.weight_files.reading import read_weights
from tests.models.weight_files.encoders import (
    WRITERS,
    Tensor,
    assert_bit_equal,
    torch_zip,
    written,
)


@pytest.mark.parametrize("parameter", [False, True])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("writer", ["zip", "stream"])
def test_pth_reads_strided_views_of_shared_storages(
    tmp_path: Path, writer: str, dtype: type, parameter: bool
) -> None:
    values = np.random.default_rng(3).normal(size=60).astype(dtype)
    bias = np.arange(4).astype(dtype)
    tensors: dict[str, Tensor] = {
        "features.0.weight": ("0", 12, (4, 3, 2, 2), (12, 4, 2, 1)),
        "features.0.bias": ("1", 0, (4,), (1,)),
        "classifier.1.weight": ("0", 2, (3, 5), (1, 3)),  # a transposed view
        "classifier.1.bias": ("0", 0, (3,), (20,)),
    }
    data = WRITERS[writer](tensors, {"0": values, "1": bias}, parameter=parameter)
    source = read_weights(written(tmp_path, "alexnet.pth", data))
    expected = {
        "features.0": [values[12:].reshape(4, 3, 2, 2), bias],
        "classifier.1": [values[2:17].reshape(5, 3).T, values[[0, 20, 40]]],
    }
    assert_bit_equal(source, expected)
    assert (source.architecture, source.kernel_layout, source.row_order) == (
        "torchvision",
        "oihw",
        "chw",
    )


def test_pth_of_a_big_endian_machine_reads_back(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.float32)
    data = torch_zip({"features.0.bias": ("0", 0, (6,), (1,))}, {"0": values}, order="big")
    source = read_weights(written(tmp_path, "alexnet.pth", data))
    np.testing.assert_array_equal(source.layers["features.0"]["bias"], values)


@pytest.mark.parametrize(
    "view",
    [
        ("0", 0, (7,), (1,)),
        ("0", 4, (3,), (1,)),
        ("0", -1, (2,), (1,)),
        ("0", 3, (2,), (-1,)),
        ("0", 0, (-2, -2), (1, 1)),
        ("0", 0, (1000, 1000), (0, 0)),
    ],
)
def test_pth_views_stay_inside_their_storage(tmp_path: Path, view: Tensor) -> None:
    data = torch_zip({"features.0.bias": view}, {"0": np.zeros(6, np.float32)})
    with pytest.raises(ValueError, match=r"size .* leave its storage of 6 numbers"):
        read_weights(written(tmp_path, "alexnet.pth", data))


@pytest.mark.parametrize(
    ("size", "stride", "offset"), [(b"I9\nt", b"Vx\nt", b"I0\n"), (b"t", b"t", b"(Vx\nI9\nt")]
)
def test_a_pth_with_other_sizes_than_numbers_is_refused(
    tmp_path: Path, size: bytes, stride: bytes, offset: bytes
) -> None:
    storage = b"(Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nI6\ntQ"
    tensor = (
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + offset + b"(" + size + b"(" + stride
    )
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", b"}Vfeatures.0.bias\n" + tensor + b"tRs.")
        archive.writestr("archive/data/0", bytes(24))
    with pytest.raises(ValueError, match=r"features\.0\.bias: its size, stride or offset is none"):
        read_weights(written(tmp_path, "alexnet.pth", stream.getvalue()))


@pytest.mark.parametrize("writer", ["zip", "stream"])
def test_a_cut_pth_is_refused(tmp_path: Path, writer: str) -> None:
    tensors: dict[str, Tensor] = {"features.0.bias": ("0", 0, (6,), (1,))}
    data = WRITERS[writer](tensors, {"0": np.ones(6, np.float32)})
    for cut in range(len(data)):
        path = written(tmp_path, "alexnet.pth", data[:cut])
        with pytest.raises(ValueError) as error:
            read_weights(path)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)


def test_a_flipped_byte_in_a_zip_is_noticed(tmp_path: Path) -> None:
    values = np.full(6, 1.5, np.float32)
    data = torch_zip({"features.0.bias": ("0", 0, (6,), (1,))}, {"0": values})
    data = data.replace(values.tobytes(), values.tobytes()[:-1] + b"\x40")
    with pytest.raises(ValueError, match="Bad CRC-32"):
        read_weights(written(tmp_path, "alexnet.pth", data))


def test_a_pth_that_is_no_state_dict_is_refused(tmp_path: Path) -> None:
    data = torch_zip({"weight": ("0", 0, (6,), (1,))}, {"0": np.ones(6, np.float32)})
    with pytest.raises(ValueError, match=r"entry 'weight' .*: save model.state_dict\(\)"):
        read_weights(written(tmp_path, "alexnet.pth", data))


@pytest.mark.parametrize("zipped", [True, False])
def test_pth_written_by_torch_reads_back(tmp_path: Path, zipped: bool) -> None:
    torch = pytest.importorskip("torch", reason="torch is no dependency; install it to compare")
    layers = torch.nn.ModuleDict({"features": torch.nn.ModuleList([torch.nn.Conv2d(3, 4, 5)])})
    path = tmp_path / "alexnet.pth"
    torch.save(layers.state_dict(), path, _use_new_zipfile_serialization=zipped)
    conv = layers["features"][0]
    expected = {"features.0": [conv.weight.detach().numpy(), conv.bias.detach().numpy()]}
    assert_bit_equal(read_weights(path), expected)
