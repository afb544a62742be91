"""Writes AlexNet's parameters as the weight files of other frameworks; the way back of
`weights_port`.

Formats are written by hand, so that neither Caffe nor torch is needed, and every number stays as it
is, bit for bit.

``.caffemodel`` holds the layers of bvlc_alexnet under their own names, to be loaded with its
prototxt (fc8's num_output being the number of classes).

The PyTorch state dict of the torchvision variant has torchvision's names and loads into
`torchvision.models.alexnet(num_classes=k)`. Caffe's network has the same two sequences, counted the
same way, with its own layers in them::

    features = Sequential(
        Conv2d(3, 96, 11, 4), ReLU(), LocalResponseNorm(5), MaxPool2d(3, 2, ceil_mode=True),
        Conv2d(96, 256, 5, padding=2, groups=2), ReLU(), LocalResponseNorm(5),
        MaxPool2d(3, 2, ceil_mode=True),
        Conv2d(256, 384, 3, padding=1), ReLU(),
        Conv2d(384, 384, 3, padding=1, groups=2), ReLU(),
        Conv2d(384, 256, 3, padding=1, groups=2), ReLU(), MaxPool2d(3, 2, ceil_mode=True),
    )
    classifier = Sequential(  # of flatten(features(x), 1)
        Linear(9216, 4096), ReLU(), Dropout(), Linear(4096, 4096), ReLU(), Dropout(),
        Linear(4096, k),
    )
"""

import io
import math
import pickle
import struct
import zipfile
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from dsf_jax.models.alexnet import LAYERS, Params, Variant, check_variant

# Where each layer stands in torch's two sequences.
PYTORCH_NAMES: dict[Variant, dict[str, str]] = {
    "caffe": {
        "conv1": "features.0",
        "conv2": "features.4",
        "conv3": "features.8",
        "conv4": "features.10",
        "conv5": "features.12",
        "fc6": "classifier.0",
        "fc7": "classifier.3",
        "fc8": "classifier.6",
    },
    "torchvision": {
        "conv1": "features.0",
        "conv2": "features.3",
        "conv3": "features.6",
        "conv4": "features.8",
        "conv5": "features.10",
        "fc6": "classifier.1",
        "fc7": "classifier.4",
        "fc8": "classifier.6",
    },
}


def caffemodel(params: Params, *, variant: str) -> bytes:
    """Encodes parameters as Caffe's NetParameter.

    Args:
      params: {layer: {"kernel", "bias"}} of AlexNet.
      variant: must be "caffe".

    Returns:
      The content of a .caffemodel file.

    Raises:
      ValueError: for torchvision's network, which bvlc_alexnet's prototxt does not describe; for
        missing or unknown layers, another type, or values that are not finite.
    """
    check_variant(variant)
    if variant != "caffe":
        raise ValueError(
            f"a .caffemodel is of Caffe's AlexNet, and this model is of {variant}'s; "
            "write a PyTorch file instead"
        )
    layers = []
    for layer, kernel, bias in _in_order(params):
        kind = "InnerProduct" if kernel.ndim == 2 else "Convolution"
        blobs = [_chunk(7, *_blob(array)) for array in (kernel, bias)]
        parts = [_chunk(1, layer.encode()), _chunk(2, kind.encode()), *blobs]
        layers.append(_chunk(100, *parts))  # field 100 of NetParameter: layers of version 2
    return b"".join((_chunk(1, b"AlexNet"), *layers))


def state_dict(params: Params, *, variant: str) -> bytes:
    """Encodes parameters as `torch.save(model.state_dict(), path)` does.

    Args:
      params: {layer: {"kernel", "bias"}} of AlexNet.
      variant: "caffe" or "torchvision"; the module's docstring has the network of each.

    Returns:
      The content of a .pth file; `torch.load(path, weights_only=True)` reads it.

    Raises:
      ValueError: for an unknown variant, missing or unknown layers, another type, or values that
        are not finite.
    """
    check_variant(variant)
    names = PYTORCH_NAMES[variant]  # type: ignore[index]
    tensors = {
        f"{names[layer]}.{leaf}": array
        for layer, kernel, bias in _in_order(params)
        for leaf, array in (("weight", kernel), ("bias", bias))
    }
    return _torch_zip(tensors)


def _in_order(params: Params) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Goes through the layers: name, kernel [o, i, h, w] or [o, i], bias, little-endian."""
    if set(params) != set(LAYERS):
        raise ValueError(
            f"the parameters have the layers {sorted(params)}, expected {list(LAYERS)}; "
            "give those of an AlexNet"
        )
    for layer in LAYERS:
        kernel, bias = (_checked(params, layer, leaf) for leaf in ("kernel", "bias"))
        kernel = kernel.T if kernel.ndim == 2 else kernel.transpose(3, 2, 0, 1)
        yield layer, np.ascontiguousarray(kernel), np.ascontiguousarray(bias)


def _checked(params: Params, layer: str, leaf: str) -> np.ndarray:
    array = np.asarray(params[layer][leaf])
    if array.dtype != np.float32:
        raise ValueError(f"{layer}/{leaf} is {array.dtype}, expected float32; convert it first")
    bad = array.size - int(np.count_nonzero(np.isfinite(array)))
    if bad:
        raise ValueError(
            f"{layer}/{leaf} has {bad} values of {array.size} that are not finite; "
            "take an earlier checkpoint"
        )
    return array.astype("<f4", copy=False)


# --- protobuf's wire format: a tag, a length, the content ---------------------------------------


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the eighth bit says that more follow."""
    groups = [value >> shift & 0x7F for shift in range(0, max(value.bit_length(), 1), 7)]
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])


def _chunk(field: int, *content: bytes) -> bytes:
    length = sum(map(len, content))
    return b"".join((_varint(field << 3 | 2), _varint(length), *content))


def _blob(array: np.ndarray) -> tuple[bytes, bytes]:
    """Encodes a BlobProto: `data` (5) and `shape` (7), both packed."""
    shape = _chunk(1, *map(_varint, array.shape))
    return _chunk(5, array.tobytes()), _chunk(7, shape)


# --- torch's zip: a pickle of the structure, and one entry a storage -----------------------------

_ALIGNMENT = 64  # torch's own, so that files can be mapped into memory


def _torch_zip(tensors: Mapping[str, np.ndarray]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        entries = {"data.pkl": _state_pickle(tensors), "byteorder": b"little"}
        entries |= {f"data/{key}": array.tobytes() for key, array in enumerate(tensors.values())}
        for name, data in (entries | {"version": b"3\n"}).items():
            archive.writestr(_aligned_entry(f"archive/{name}", stream.tell()), data)
    return stream.getvalue()


def _aligned_entry(name: str, offset: int) -> zipfile.ZipInfo:
    """Describes an entry whose content starts at a multiple of the alignment: an extra field pads its header."""
    entry = zipfile.ZipInfo(name)  # dated 1980: equal parameters give equal files
    header = 30 + len(name) + 4  # of a zip entry with an empty extra field
    padding = -(offset + header) % _ALIGNMENT
    entry.extra = struct.pack("<2sH", b"FB", padding) + bytes(padding)
    return entry


def _state_pickle(tensors: Mapping[str, np.ndarray]) -> bytes:
    """Pickles an OrderedDict of tensors, opcode by opcode: torch's names cannot be pickled without it."""
    items = [_text(name) + _tensor(key, array) for key, (name, array) in enumerate(tensors.items())]
    return b"".join(
        (pickle.PROTO, b"\x02", _EMPTY_DICT, pickle.MARK, *items, pickle.SETITEMS, pickle.STOP)
    )


def _tensor(key: int, array: np.ndarray) -> bytes:
    """A call of torch's _rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks)."""
    storage = _tuple(
        _text("storage"),
        _global("torch", "FloatStorage"),
        _text(str(key)),
        _text("cpu"),
        _number(array.size),
    )
    strides = [math.prod(array.shape[axis + 1 :]) for axis in range(array.ndim)]
    arguments = _tuple(
        storage + pickle.BINPERSID,
        _number(0),
        _numbers(array.shape),
        _numbers(strides),
        pickle.NEWFALSE,
        _EMPTY_DICT,
    )
    return _global("torch._utils", "_rebuild_tensor_v2") + arguments + pickle.REDUCE


def _text(text: str) -> bytes:
    return pickle.BINUNICODE + struct.pack("<I", len(text.encode())) + text.encode()


def _number(value: int) -> bytes:
    return pickle.BININT + struct.pack("<i", value)


def _numbers(values: Iterable[int]) -> bytes:
    return _tuple(*map(_number, values))


def _tuple(*items: bytes) -> bytes:
    return b"".join((pickle.MARK, *items, pickle.TUPLE))


def _global(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


_EMPTY_DICT = _global("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE
