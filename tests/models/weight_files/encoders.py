"""Weight files written byte by byte, from the formats' descriptions.

The encoders share nothing with the readers: the protobuf wire format by hand, torch's pickles
opcode by opcode.
"""

import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from dsf_jax.models.weight_files.source_weights import SourceWeights

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


def assert_bit_equal(source: SourceWeights, expected: dict[str, Blobs]) -> None:
    assert list(source.layers) == list(expected)
    for name, blobs in expected.items():
        assert list(source.layers[name]) == ["kernel", "bias"][: len(blobs)]
        for got, want in zip(source.layers[name].values(), blobs, strict=True):
            assert got.dtype == np.float32
            assert got.shape == want.shape
            assert got.tobytes() == want.astype("<f4").tobytes()


# --- .npy -------------------------------------------------------------------------------------


def object_npy(table: object, protocol: int) -> bytes:
    stream = io.BytesIO()
    header = {"descr": "|O", "fortran_order": False, "shape": ()}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue() + pickle.dumps(np.asanyarray(table, dtype=object), protocol)


# --- .pth -------------------------------------------------------------------------------------

TORCH_MAGIC = b"\x80\x02\x8a\x0a" + 0x1950A86A20F9469CFC6C.to_bytes(10, "little") + b"."
STORAGES = {
    "float16": b"HalfStorage",
    "float32": b"FloatStorage",
    "float64": b"DoubleStorage",
    "int64": b"LongStorage",
}
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
        kind = STORAGES[storages[key].dtype.name]
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


def in_order(storage: np.ndarray, order: str) -> bytes:
    return storage.astype(storage.dtype.newbyteorder("<" if order == "little" else ">")).tobytes()


def state_dict(arrays: dict[str, np.ndarray], writer: str = "stream") -> bytes:
    """A .pth of whole arrays, each in a storage of its own."""
    tensors: dict[str, Tensor] = {
        name: (str(key), 0, array.shape, tuple(n // array.itemsize for n in array.strides))
        for key, (name, array) in enumerate(arrays.items())
    }
    storages = {str(key): array.reshape(-1) for key, array in enumerate(arrays.values())}
    return WRITERS[writer](tensors, storages)


def torch_stream(
    tensors: dict[str, Tensor], storages: dict[str, np.ndarray], **options: bool
) -> bytes:
    out = TORCH_MAGIC + b"\x80\x02M\xe9\x03." + pickle.dumps({"little_endian": True}, 2)
    out += state_pickle(tensors, storages, stream=True, **options)
    out += pickle.dumps(list(storages), 2)
    for storage in storages.values():
        out += struct.pack("<q", storage.size) + in_order(storage, "little")
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
            archive.writestr(f"alexnet/data/{key}", in_order(storage, order))
        archive.writestr("alexnet/version", "3\n")
    return stream.getvalue()


WRITERS: dict[str, Callable[..., bytes]] = {"zip": torch_zip, "stream": torch_stream}
