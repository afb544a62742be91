"""What the page is tested with: a tiny network of random values, drawn pictures, a gallery of them,
and a server in a thread.
"""

import contextlib
import io
import json
import socket
import threading
import time
import urllib.error
import urllib.request
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import uvicorn
from PIL import Image, ImageDraw

from dsf_jax.app.searcher import _run
from dsf_jax.gallery.embedder import Embedder
from dsf_jax.gallery.gallery import Gallery
from dsf_jax.models.alexnet import CAFFE
from dsf_jax.models.backbone import INPUT, Backbone, Feature, Trainable
from dsf_jax.models.backbones import BACKBONES
from dsf_jax.models.model import ModelConfig

CLASSES = ("circle", "square", "hollow_ring", "bars", "nothing here")
LAYER = "L6+L7"
SIZE = 224
BOX = [0, 0, 100, 100]
SQUARE = [[[20, 20], [80, 20], [80, 80], [20, 80], [20, 20]]]
BARS = [[[x, 15], [x, 85]] for x in (20, 40, 60, 80)]


class PageNet(nn.Module):
    """Stands for AlexNet: layers of the same names, compiled in no time."""

    num_classes: int
    dropout_rate: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs, dropout_keys=None, start=INPUT):
        x = nn.Conv(12, (16, 16), (16, 16), name="conv5")(inputs / 100)
        layers = {"relu5": nn.relu(x)}
        x = layers["relu5"].reshape(len(inputs), -1)
        for number in (6, 7):
            layers[f"relu{number}"] = x = nn.relu(nn.Dense(48, name=f"fc{number}")(x))
        return nn.Dense(self.num_classes, name="fc8")(x), layers


PAGE = Backbone(
    name="page",
    title="the network of the page's tests",
    build=PageNet,
    pixels=CAFFE.pixels,
    size=SIZE,
    layers=("conv5", "fc6", "fc7", "fc8"),
    features={LAYER: Feature(("relu6", "relu7"))},
    compared_features=(LAYER,),
    default_feature=LAYER,
    trainable={"all": Trainable(("conv5", "fc6", "fc7", "fc8"), INPUT)},
    maps=("relu5",),
    explained="relu5",
    measured=("relu5",),
    inverted=("relu5",),
)
BACKBONES["page"] = PAGE
CONFIG = ModelConfig("page", CLASSES, SIZE, ())


def drawn(kind, place, size=120):
    """A picture of one class; no two are equal."""
    image = Image.new("RGB", (size + 40, size), "white")
    pen, low, high = ImageDraw.Draw(image), 12 + place, size - 12 - place
    colour = (40 + 30 * place, 90, 200 - 30 * place)
    if kind == "circle":
        pen.ellipse((low, low, high, high), fill=colour)
    elif kind == "square":
        pen.rectangle((low, low, high, high), fill=colour)
    elif kind == "hollow ring":
        pen.ellipse((low, low, high, high), outline=colour, width=6 + place)
    else:
        for x in range(low, high, 16):
            pen.rectangle((x, low, x + 5, high), fill=colour)
    return np.asarray(image)


def gallery(uri, model, pictures):
    """A gallery of a folder of pictures; shares the compilation of single queries."""

    def embed_photos(batch):
        images = model.plain_view({"photo": batch})
        rows = [_run(model, images[i : i + 1], LAYER)[0] for i in range(len(batch))]
        return np.concatenate(rows)

    made = Gallery.create(uri, Embedder("of the test", LAYER, embed_photos, 1, "page"))
    made.sync(pictures)
    return made


class Vocabulary:
    """Stands for a text tower: what it knows are ids of pictures of a gallery, which it means."""

    def __init__(self, gallery):
        self.gallery = gallery

    def embed(self, text):
        self.gallery.get(text)
        return self.gallery.vectors([text])


def jpeg(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def pictures(folder, each=8):
    """Writes pictures of four classes, and one without a label."""
    for kind in ("circle", "square", "hollow ring", "bars"):
        (folder / kind).mkdir()
        for place in range(each):
            Image.fromarray(drawn(kind, place)).save(folder / kind / f"{place}.png")
    Image.fromarray(drawn("circle", 3)[20:]).save(folder / "cut.png")
    return folder


@contextlib.contextmanager
def serving(app, port=0):
    """Serves an application on a port, 0 for a free one; yields its address."""
    with socket.socket() as place:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as launch.serve started anew
        place.bind(("127.0.0.1", port))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [place]})
        thread.start()
        try:
            deadline = time.monotonic() + 30
            while not server.started:
                assert thread.is_alive() and time.monotonic() < deadline
                time.sleep(0.01)
            yield f"http://127.0.0.1:{place.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


class Reply:
    """Status, headers and body of an answer."""

    def __init__(self, status, headers, data):
        """Keeps them."""
        self.status, self.headers, self.data = status, headers, data

    @property
    def json(self):
        return json.loads(self.data)

    def refused(self, status, *words):
        """Checks that it is one line, what is wrong and what to do, and returns it."""
        assert self.status == status, (self.status, self.data)
        detail = self.json["detail"]
        assert isinstance(detail, str) and "\n" not in detail and "; " in detail, detail
        for word in words:
            assert str(word) in detail, f"{word!r} is not in: {detail}"
        return detail


def call(address, path, body=None, kind="application/json", **headers):
    """GETs, or POSTs a body: bytes, or what becomes JSON."""
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    if body is not None and kind is not None:
        headers["Content-Type"] = kind
    request = urllib.request.Request(address + path, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return Reply(reply.status, reply.headers, reply.read())
    except urllib.error.HTTPError as error:
        with error:
            return Reply(error.code, error.headers, error.read())


def sheet(*, pen=40, paper=235, light=0.0, noise=0.0, size=(640, 480)):
    """A house on paper, in light that falls off to the right, and grain."""
    image = Image.new("L", size, paper)
    house = [(200, 380), (200, 220), (320, 110), (440, 220), (440, 380), (200, 380)]
    ImageDraw.Draw(image).line(house, fill=pen, width=5)
    mask = np.asarray(image) == pen
    fall = 1 - light * np.linspace(0, 1, size[0])
    grain = np.random.default_rng(0).normal(0, noise, mask.shape)
    grey = np.clip(np.asarray(image) * fall + grain, 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1), mask
