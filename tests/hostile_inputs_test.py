"""A thousand damaged inputs for every reader of files from outside: each is read, or refused in a line.

A file is damaged as disks, transfers and hostile hands do it: bytes changed, cut out, doubled, the end
lost, numbers made large.
"""

import io
import json
import pickle
import random

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from data_builders.quickdraw.drawings import drawings_in, record
from data_builders.sources import SourceFile
from data_builders.svg import strokes_from_svg
from dsf_jax.app.query import query_from_picture
from dsf_jax.app.request_body import RequestBody, parse_query
from dsf_jax.data.class_maps import read_class_map
from dsf_jax.data.datasets import read_class_list
from dsf_jax.data.pictures import decode_picture
from dsf_jax.data.unseen import read_unseen
from dsf_jax.models.weight_files.reading import read_weights
from tests.models.weight_files.encoders import object_npy, small_net, torch_stream, torch_zip

pytestmark = pytest.mark.slow

COUNT = 1_000
LARGE = (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x00\x00\x00\x00", b"1e999", b"-9" * 9, b"NaN")


def damaged(content, rng):
    """Changes a file in one to three places."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(5)
        if kind == 0 and data:
            data[min(at, len(data) - 1)] = rng.randrange(256)
        elif kind == 1:
            del data[at : at + rng.randint(1, 40)]
        elif kind == 2:
            data[at:at] = data[at : at + rng.randint(1, 40)]
        elif kind == 3:
            del data[at:]
        else:
            number = rng.choice(LARGE)
            data[at : at + len(number)] = number
    return bytes(data)


def picture(kind, **options):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8).repeat(3, axis=1)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def npz():
    buffer = io.BytesIO()
    np.savez(buffer, **{"conv1/bias": np.ones(3, np.float32)})
    return buffer.getvalue()


def torch_file(write):
    storages = {"0": np.arange(12, dtype=np.float32)}
    return write({"features.0.weight": ("0", 0, (3, 4), (4, 1))}, storages)


SVG = (
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100"><g stroke="black" transform="rotate(9)">'
    b'<path d="M10 10 L20 30 C30 40 5 6 7 8 A9 9 0 1 0 40 40 Z"/><circle cx="20" cy="30" r="9"/></g></svg>'
)
DRAWING = {"key_id": "1", "word": "cat", "drawing": [[[0, 9, 20], [3, 4, 5]], [[7], [8]]]}
QUERY = {"strokes": [[[10, 10], [50, 60, 0.5]], [[20, 90]]], "box": [0, 0, 100, 100]}


def read_quickdraw(path):
    for drawing in drawings_in(SourceFile(path.name, path.name, path.parent, path.name)):
        if isinstance(drawing, ValueError):  # one line of many, which is counted and left out
            raise drawing
        record(drawing)


def read_query(path):
    try:
        parse_query(RequestBody(path.read_bytes(), is_picture=False), "auto")
    except ValidationError as error:  # the server tells the first of its lines
        raise ValueError(error.errors()[0]["msg"]) from error


SEEDS = {
    "png": (lambda p: decode_picture(io.BytesIO(p.read_bytes()), str(p)), picture("PNG")),
    "jpeg": (lambda p: decode_picture(io.BytesIO(p.read_bytes()), str(p)), picture("JPEG")),
    "gif": (lambda p: decode_picture(io.BytesIO(p.read_bytes()), str(p)), picture("GIF")),
    "webp": (lambda p: decode_picture(io.BytesIO(p.read_bytes()), str(p)), picture("WEBP")),
    "tiff": (lambda p: decode_picture(io.BytesIO(p.read_bytes()), str(p)), picture("TIFF")),
    "bmp": (lambda p: decode_picture(io.BytesIO(p.read_bytes()), str(p)), picture("BMP")),
    "picture query": (lambda p: query_from_picture(p.read_bytes()), picture("PNG")),
    "stroke query": (read_query, json.dumps(QUERY).encode()),
    "svg": (lambda p: strokes_from_svg(p.read_bytes(), str(p)), SVG),
    "ndjson": (read_quickdraw, json.dumps(DRAWING).encode() + b"\n"),
    "class list": (lambda p: read_class_list(str(p)), "cat\nÄffchen\nalarm clock\n".encode()),
    "unseen classes": (lambda p: read_unseen(str(p)), "cat\nÄffchen\nalarm clock\n".encode()),
    "class map": (lambda p: read_class_map(str(p)), b'{"cat": {"sketchy": ["kitten", "tom"]}}'),
    "caffemodel": (read_weights, small_net("v2")[0]),
    "old caffemodel": (read_weights, small_net("v1", legacy=True)[0]),
    "npz": (read_weights, npz()),
    "npy": (read_weights, object_npy({"conv1": [np.ones((1, 1, 3, 4), np.float32)]}, 2)),
    "pth": (read_weights, torch_file(torch_zip)),
    "old pth": (read_weights, torch_file(torch_stream)),
}
SUFFIXES = {
    "caffemodel": ".caffemodel", "old caffemodel": ".caffemodel", "npz": ".npz", "npy": ".npy",
    "pth": ".pth", "old pth": ".pth",
}  # fmt: skip


@pytest.mark.parametrize("reader", SEEDS)
def test_a_thousand_damaged_files_are_read_or_refused_in_a_line(reader, tmp_path, monkeypatch):
    def never(*_):
        raise AssertionError("a pickle from outside was run")

    monkeypatch.setattr(pickle, "loads", never)
    monkeypatch.setattr(pickle, "load", never)
    read, content = SEEDS[reader]
    rng, path = random.Random(reader), tmp_path / f"given{SUFFIXES.get(reader, '')}"
    path.write_bytes(content)
    read(path)  # whole, it is read
    refused = 0
    for _ in range(COUNT):
        path.write_bytes(damaged(content, rng))
        try:
            read(path)
        except ValueError as error:
            refused += 1
            assert "\n" not in str(error) and str(error).strip(), repr(error)
            assert type(error) is not UnicodeDecodeError, repr(error)
    assert refused > COUNT / 20
