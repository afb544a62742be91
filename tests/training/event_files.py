"""Reads TensorBoard's event files back: records of length, its checksum, data, its checksum."""

import io
import struct

import numpy as np
from PIL import Image
from tensorboardX.proto.event_pb2 import Event


def events(run_dir):
    found = []
    for path in sorted((run_dir / "tensorboard").iterdir()):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            found.append(Event.FromString(data[12 : 12 + length]))
            data = data[16 + length :]
    return found


def values(run_dir):
    """Lists (tag, step, value)."""
    return [(v.tag, e.step, v) for e in events(run_dir) for v in e.summary.value]


def pictures(run_dir):
    """Decodes {(tag, step): [h, w] or [h, w, 3] uint8}."""
    return {
        (tag, step): np.asarray(Image.open(io.BytesIO(value.image.encoded_image_string)))
        for tag, step, value in values(run_dir)
        if value.HasField("image")
    }
