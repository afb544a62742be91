"""Reads ``.caffemodel`` files: Caffe's NetParameter, layer versions 1 and 2."""

import functools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from dsf_jax.models.weight_files.source_weights import SourceWeights, collect, leaf_names

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


def read_caffemodel(path: Path, data: bytes) -> SourceWeights:
    """Reads every layer that has weights.

    Args:
        path: the file.
        data: its content.

    Returns:
        Its weights; the architecture is "caffenet" where a layer pool1 stands before norm1.

    Raises:
        ValueError: a layer's numbers do not fill its shape, or are not finite.
    """
    net = _net_parameter().FromString(data)
    layers = [*net.layers, *net.layer]
    names = [layer.name for layer in layers]
    # CaffeNet has AlexNet's names and shapes but pools before it normalises.
    caffenet = {"pool1", "norm1"} <= set(names) and names.index("pool1") < names.index("norm1")
    return SourceWeights(
        path=path,
        architecture="caffenet" if caffenet else "caffe",
        kernel_layout="oihw",
        row_order="chw",
        layers=collect(array for layer in layers for array in _caffe_blobs(layer)),
    )


def _caffe_blobs(layer: Any) -> Iterator[tuple[str, str, np.ndarray]]:
    for leaf, blob in zip(leaf_names(len(layer.blobs)), layer.blobs, strict=True):
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
