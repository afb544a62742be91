"""Writes a model's parameters as the weight files of other frameworks; the way back of
`weights_port`.

Formats are written by hand, so that neither Caffe nor torch is needed, and every number stays as it
is, bit for bit. What other frameworks call a layer is data of the backbone.

``.caffemodel`` holds the layers under their own names, to be loaded with the network's prototxt (the
classifier's num_output being the number of classes). A PyTorch state dict loads into the module of
these names; `dsf_jax.models.alexnet` has those of Caffe's network, `dsf_jax.models.efficientnet_lite`
says whose names it takes. That of a network with an embedding of d loads into the same module of d
classes, which then gives the embedding before it is brought to length 1; `class_vectors.weight` [k, d]
stands beside it, so that it is loaded with strict=False. An EfficientNet-Lite with an embedding reads
two of its layers there, as no module does, and has no state dict.
"""

import io
import math
import pickle
import struct
import zipfile
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from dsf_jax.models.backbone import Params
from dsf_jax.models.backbones import BACKBONES
from dsf_jax.models.model import Model


def caffemodel(model: Model) -> bytes:
    """Encodes a model's parameters as Caffe's NetParameter, the content of a .caffemodel file.

    Args:
      model: model whose backbone has a network in Caffe.

    Raises:
      ValueError: for a backbone that no prototxt describes; for missing or unknown layers, another
        type, or values that are not finite.
    """
    backbone = model.backbone
    if backbone.caffe_network is None:
        described = " or ".join(b.title for b in BACKBONES.values() if b.caffe_network)
        raise ValueError(
            f"a .caffemodel is of {described}, and this is a model of {backbone.title} "
            f"(backbone {backbone.name}); write {'a PyTorch file' if backbone.torch_names else 'a folder'} instead"
        )
    layers = []
    for layer, arrays in _in_order(model):
        kind = "InnerProduct" if arrays["weight"].ndim == 2 else "Convolution"
        blobs = [_chunk(7, *_blob(array)) for array in arrays.values()]
        parts = [_chunk(1, layer.encode()), _chunk(2, kind.encode()), *blobs]
        layers.append(_chunk(100, *parts))  # field 100 of NetParameter: layers of version 2
    return b"".join((_chunk(1, backbone.caffe_network.encode()), *layers))


def state_dict(model: Model) -> bytes:
    """Encodes a model's parameters as `torch.save(module.state_dict(), path)` does.

    Args:
      model: model whose backbone has names in PyTorch.

    Returns:
      The content of a .pth file; `torch.load(path, weights_only=True)` reads it.

    Raises:
      ValueError: for a backbone without names in PyTorch, missing or unknown layers, another type,
        or values that are not finite.
    """
    backbone = model.backbone
    if not (names := backbone.torch_names):
        raise ValueError(
            f"a PyTorch file needs the names that torch gives to layers, and {backbone.title} "
            f"(backbone {backbone.name}) has none; write a folder instead"
        )
    tensors = {
        f"{names[layer]}.{leaf}": array
        for layer, arrays in _in_order(model)
        for leaf, array in arrays.items()
    }
    return _torch_zip(tensors)


def _in_order(model: Model) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Goes through the layers: name, "weight" [o, i, h, w] or [o, i] and, where it has one, "bias",
    little-endian.
    """
    layers = model.backbone.layers
    if set(model.params) != set(layers):
        raise ValueError(
            f"the parameters have the layers {sorted(model.params)}, expected {list(layers)}; "
            f"give those of {model.backbone.title}"
        )
    for layer in layers:
        kernel = _checked(model.params, layer, "kernel")
        kernel = kernel.T if kernel.ndim == 2 else kernel.transpose(3, 2, 0, 1)
        arrays = {"weight": np.ascontiguousarray(kernel)}
        if "bias" in model.params[layer]:
            arrays["bias"] = np.ascontiguousarray(_checked(model.params, layer, "bias"))
        yield layer, arrays


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
    """Encodes seven bits per byte, the lowest first; the eighth bit says that more follow."""
    digits = [value >> shift & 0x7F for shift in range(0, max(value.bit_length(), 1), 7)]
    return bytes([*(digit | 0x80 for digit in digits[:-1]), digits[-1]])


def _chunk(field: int, *content: bytes) -> bytes:
    length = sum(map(len, content))
    return b"".join((_varint(field << 3 | 2), _varint(length), *content))


def _blob(array: np.ndarray) -> tuple[bytes, bytes]:
    """Encodes a BlobProto: `data` (5) and `shape` (7), both packed."""
    shape = _chunk(1, *map(_varint, array.shape))
    return _chunk(5, array.tobytes()), _chunk(7, shape)


# --- torch's zip: a pickle of the structure, and one entry per storage ---------------------------

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
    """Describes an entry whose content starts at a multiple of the alignment.

    An extra field pads its header.
    """
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
    """Pickles a call of torch's _rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks)."""
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
