"""Rows of a gallery: indexing a folder of photos end to end, watching it, and what the page asks of a large
network.
"""

import contextlib
import functools
import itertools
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from dsf_jax.gallery.embedder import network_embedder
from dsf_jax.models.model import Model
from dsf_jax.retrieval.features import feature_sizes
from launch.benchmarks.cold_start import ROOT
from launch.benchmarks.network import SEED, alexnet, forward_flops
from launch.benchmarks.sketches import points_of, strokes, unpadded
from launch.benchmarks.torch_network import torch_networks
from launch.benchmarks.torch_photos import Photos, loader
from launch.benchmarks.vit import large_network
from launch.benchmarks.work import Setting, Work

PHOTOS, WIDTH, HEIGHT = 256, 1600, 1200
SMALL_PHOTOS = 8
PICTURES, SMALL_PICTURES = 10_000, 20  # in the gallery that the page searches
RESULTS = 30  # of a search of the page


def write_photos(folder: pathlib.Path, count: int) -> list[pathlib.Path]:
    """Writes JPEGs of 2 megapixels, some 300 kB each, all different; returns their paths."""
    from PIL import Image  # other rows do without it

    rng = np.random.default_rng(SEED)
    paths = [folder / f"{number:05}.jpg" for number in range(count)]
    for path in paths:
        coarse = rng.integers(0, 256, (HEIGHT // 16, WIDTH // 16, 3), np.uint8)
        image = Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        image.save(path, quality=92)
    return paths


def indexing(setting: Setting) -> Iterator[Work]:
    """Photos of a folder: found, read, embedded by AlexNet, stored with thumbnails in a new gallery. Beside
    it stand the network alone, and a PyTorch loader with a network, which store nothing.
    """
    from dsf_jax.gallery.gallery import Gallery

    count = SMALL_PHOTOS if setting.small else PHOTOS
    model, batch_size = alexnet(setting), min(setting.batch_size, count)
    embedder = network_embedder(model, batch_size=batch_size)
    photos = np.zeros((batch_size, 256, 256, 3), np.uint8)
    passes = -(-count // batch_size)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "photos").mkdir()
        paths = write_photos(folder / "photos", count)
        numbers = itertools.count()

        def index() -> None:
            gallery = Gallery.create(folder / f"gallery{next(numbers)}", embedder)
            changes = gallery.sync(folder / "photos")
            if changes.added != count:
                raise RuntimeError(f"{changes.added} of {count} photos were indexed; fix that")

        yield Work(
            "indexing",
            index,
            count,
            "photos",
            {
                "the network alone": lambda: [embedder.embed_photos(photos) for _ in range(passes)],
                **_torch_loaders(setting, model, paths, batch_size),
            },
            flops=passes * sum(forward_flops(model, batch_size).values()),
            moved=float(sum(path.stat().st_size for path in paths)),
            dtype=setting.dtype,
        )


def _torch_loaders(
    setting: Setting, model: Model, paths: list[pathlib.Path], batch_size: int
) -> dict[str, Callable[[], Any]]:
    """Makes the peers that read the same files by a loader of PyTorch's."""
    networks = torch_networks(setting, model, dropout_rate=0.0)
    workers = len(os.sched_getaffinity(0))
    loaders = {
        name: loader(setting.peer("torch"), Photos(paths, model.size), batch_size, workers)
        for name in networks
    }

    def read(name: str) -> None:
        for images in loaders[name]:
            networks[name].logits(networks[name].inputs(images))

    return {name: functools.partial(read, name) for name in networks}


def watching(setting: Setting) -> Iterator[Work]:
    """A photo that comes into a folder of 256: until `launch.index --watch` has it in the gallery. Half a
    second of that is the quiet which it takes for the end of a series of changes.
    """
    import dsf_jax.gallery.watch  # noqa: F401  # the command needs it
    from dsf_jax.training.checkpoints import save_model

    model = alexnet(setting)
    one = np.zeros((1, 256, 256, 3), np.uint8)
    embed_photos = network_embedder(model, batch_size=1).embed_photos
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        photos = folder / "photos"
        photos.mkdir()
        jpeg, *_ = write_photos(photos, SMALL_PHOTOS if setting.small else PHOTOS)
        content, numbers = jpeg.read_bytes(), itertools.count()
        save_model(folder / "checkpoint", model)

        with _watcher(folder) as wait_for:

            def photo_comes() -> None:
                number = next(numbers)
                # What follows a JPEG's end is not shown, and makes another file of it.
                (folder / "new").write_bytes(content + number.to_bytes(4, "little"))
                (folder / "new").replace(photos / f"new{number}.jpg")
                wait_for("added 1,")

            yield Work(
                "watching",
                photo_comes,
                1,
                "photos",
                {"the network alone": lambda: embed_photos(one)},
            )


@contextlib.contextmanager
def _watcher(folder: pathlib.Path) -> Iterator[Callable[[str], None]]:
    """Runs `launch.index --watch` on a folder's photos; gives a function that waits for words of it."""
    command = [
        *(sys.executable, "-m", "launch.index", f"--photos={folder}/photos"),
        *(f"--gallery={folder}/gallery", f"--checkpoint={folder}/checkpoint", "--watch"),
    ]
    with (
        (folder / "errors").open("w", encoding="utf-8") as errors,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=ROOT
        ) as index,
    ):

        def wait_for(words: str) -> None:
            assert index.stdout is not None
            for line in index.stdout:
                if words in line:
                    return
            last = (folder / "errors").read_text("utf-8").strip()[-300:]
            raise RuntimeError(f"launch.index --watch ended: {last}; fix that first")

        try:
            wait_for("watching ")
            yield wait_for
        finally:
            index.terminate()


def fill_gallery(model: Model, folder: pathlib.Path, count: int) -> None:
    """Fills a gallery with random features, each picture of one colour.

    Args:
      model: network that the features pass for.
      folder: folder that gets `pictures` and `gallery`.
      count: number of pictures.
    """
    from PIL import Image

    from dsf_jax.gallery.gallery import Gallery

    embedder = network_embedder(model)
    (size,) = feature_sizes(model, (embedder.layer,)).values()
    rng = np.random.default_rng(0)

    def random_features(photos: np.ndarray) -> np.ndarray:
        rows = np.maximum(rng.normal(size=(len(photos), size)), 0).astype(np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    for number in range(count):
        place = folder / "pictures" / f"{number % 100}"
        place.mkdir(parents=True, exist_ok=True)
        colour = (number % 256, number // 256 % 256, 128)
        Image.new("RGB", (96, 96), colour).save(place / f"{number}.png")
    gallery = Gallery.create(folder / "gallery", embedder._replace(embed_photos=random_features))
    gallery.sync(folder / "pictures")


def page_query(setting: Setting) -> Iterator[Work]:
    """What the page's server does after each stroke, with a network of 90 million parameters: a drawing's
    points to the nearest of 10,000 pictures. Beside it stands the network alone, which sees one picture.
    """
    from dsf_jax.app.query import Query
    from dsf_jax.app.searcher import Searcher
    from dsf_jax.gallery.gallery import Gallery

    model = large_network(small=setting.small)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        fill_gallery(model, folder, SMALL_PICTURES if setting.small else PICTURES)
        searcher = Searcher(model, Gallery.open(folder / "gallery"))
        query = Query(points=unpadded(points_of(strokes())))
        one = np.zeros((1, model.size, model.size, 3), np.float32)
        call = jax.jit(lambda model, x: model.infer(x)[1][model.default_feature])
        yield Work(
            "page, 90 M parameters" if not setting.small else "page, a small network",
            lambda: searcher.search(searcher.embed(query), RESULTS),
            1,
            "queries",
            {"the network alone": lambda: call(model, one).block_until_ready()},
        )
