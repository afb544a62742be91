"""Rows of a fresh process: importing, and the first search with functions compiled by an earlier one."""

import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import numpy as np

from launch.benchmarks.network import start_model
from launch.benchmarks.search import unit_vectors
from launch.benchmarks.sketches import pixels_of, strokes
from launch.benchmarks.work import Setting, Work

ROOT = pathlib.Path(__file__).parent.parent.parent
GALLERY, SMALL_GALLERY = 10_000, 200
FEATURES = 4096  # of layer 6
IMPORTED = "import dsf_jax.images.points, dsf_jax.retrieval.features, dsf_jax.retrieval.euclidean"
# From a drawing's pixels to the nearest of a stored gallery; argv: the folder of the files below.
FIRST_RESULT = """
import pathlib, sys
import jax, numpy as np
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
from dsf_jax.images.points import pad_points, points_from_image
from dsf_jax.models.model import Model, ModelConfig
from dsf_jax.retrieval.euclidean import search
from dsf_jax.retrieval.features import embed
folder = pathlib.Path(sys.argv[1])
params = {}
for file in folder.glob("*.kernel.npy"):
    layer = file.name.split(".")[0]
    params[layer] = {x: np.load(folder / f"{layer}.{x}.npy") for x in ("kernel", "bias")}
points = pad_points([points_from_image(np.load(folder / "drawing.npy"))])
names = tuple(map(str, range(params["fc8"]["bias"].size)))
model = Model(params, ModelConfig("caffe", names, 227, ()))
query = np.asarray(embed(model, {"points": points}, layer="L6"))
print(search(query, np.load(folder / "gallery.npy", mmap_mode="r"), 10).indices[0])
"""


def cold_start(setting: Setting) -> Iterator[Work]:
    """Whole processes, from their start to their end."""
    yield _process("cold start, import", [IMPORTED], {})
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for layer, values in start_model().params.items():
            for part, value in values.items():
                np.save(folder / f"{layer}.{part}.npy", np.asarray(value))
        n = SMALL_GALLERY if setting.small else GALLERY
        rows = unit_vectors(np.random.default_rng(0), n, FEATURES)
        np.save(folder / "gallery.npy", np.concatenate(list(rows)))
        np.save(folder / "drawing.npy", pixels_of(strokes()))
        # The call that warms up fills it.
        cache = {"JAX_COMPILATION_CACHE_DIR": str(folder / "compiled")}
        yield _process("cold start, first result", [FIRST_RESULT, name], cache)


def _process(what: str, code: list[str], more: dict[str, str]) -> Work:
    def start() -> None:
        done = subprocess.run(
            [sys.executable, "-c", *code],
            cwd=ROOT,
            env={**os.environ, **more},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"{what} failed: {done.stderr.strip()[-300:]}; fix that first")

    return Work(what, start, 1, "starts")
