"""Small raw files as cameras write them: DNGs of a red scene, with or without a preview."""

import io
import struct

import numpy as np
from PIL import Image

CODES = {1: "B", 2: "B", 3: "H", 4: "I", 5: "II", 10: "ii"}  # of TIFF's types


def directory(entries, at):
    """Encodes {tag: (type, values)} as a TIFF's directory that lies at a place in the file."""
    head, behind = struct.pack("<H", len(entries)), b""
    start = at + 2 + 12 * len(entries) + 4
    for tag, (kind, values) in sorted(entries.items()):
        data = b"".join(struct.pack("<" + CODES[kind], *np.atleast_1d(v)) for v in values)
        place = struct.pack("<I", start + len(behind)) if len(data) > 4 else data.ljust(4, b"\0")
        head += struct.pack("<HHI", tag, kind, len(values)) + place
        behind += data + bytes(len(data) % 2) if len(data) > 4 else b""
    return head + bytes(4) + behind


def sensor(size, at):
    """Tags of uncompressed values of red, green, green and blue in squares of four."""
    width, height = size
    return {
        254: (4, [0]), 256: (4, [width]), 257: (4, [height]), 258: (3, [16]), 259: (3, [1]),
        262: (3, [32803]), 273: (4, [at]), 277: (3, [1]), 278: (4, [height]),
        279: (4, [2 * width * height]), 33421: (3, [2, 2]), 33422: (1, [0, 1, 1, 2]),
        50717: (4, [65535]),
    }  # fmt: skip


def preview_tags(preview, at, sensor_at):
    """Tags of a JPEG at a place in the file, and of where the sensor's directory lies."""
    width, height = Image.open(io.BytesIO(preview)).size
    return {
        254: (4, [1]), 256: (4, [width]), 257: (4, [height]), 258: (3, [8, 8, 8]), 259: (3, [7]),
        262: (3, [6]), 273: (4, [at]), 277: (3, [3]), 278: (4, [height]), 279: (4, [len(preview)]),
        330: (4, [sensor_at]),
    }  # fmt: skip


def dng(preview=b"", *, orientation=1, size=(64, 48)):
    """Encodes a raw file of some width and height, turned as EXIF's number says."""
    seen = np.zeros(size[::-1], np.uint16)
    seen[::2, ::2] = 60_000
    matrix = [(int(i == j), 1) for i in range(3) for j in range(3)]
    camera = {
        271: (2, list(b"Maker\0")), 274: (3, [orientation]), 50706: (1, [1, 4, 0, 0]),
        50708: (2, list(b"Maker 1\0")), 50721: (10, matrix), 50728: (5, [(1, 1)] * 3),
        50778: (3, [21]),
    }  # fmt: skip
    second = directory(sensor(size, 0), 0) if preview else b""
    first = camera | (preview_tags(preview, 0, 0) if preview else sensor(size, 0))
    second_at = 8 + len(directory(first, 8))
    seen_at = second_at + len(second)
    preview_at = seen_at + seen.nbytes
    if preview:
        first, second = (
            camera | preview_tags(preview, preview_at, second_at),
            sensor(size, seen_at),
        )
        directories = directory(first, 8) + directory(second, second_at)
    else:
        directories = directory(camera | sensor(size, seen_at), 8)
    return b"II*\0" + struct.pack("<I", 8) + directories + seen.tobytes() + preview
