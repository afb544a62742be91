"""Twenty kills each of a build, an index and a training, wherever they are: what is made in the end is
what an undisturbed run makes.
"""

import contextlib
import operator
import os
import random
import signal
import time

import numpy as np
import pytest
from PIL import Image

from dsf_jax.data.records import list_datasets, open_records
from dsf_jax.export.load import flat
from dsf_jax.gallery.store import open_store
from dsf_jax.training.checkpoints import load_model
from dsf_jax.training.metrics_log import read_metrics
from tests.backbones import TWO_LAYERS
from tests.data_builders.drawn import drawing, photo, write_tree

pytestmark = pytest.mark.slow

KILLS = 20


def killed_often(launch, name, whole, cut, **flags):
    """Runs a script undisturbed with the flags `whole`; then starts it again and again with `cut`, each
    time killed within a third of what the first took; lets the last one end.
    """
    begun = time.monotonic()
    launch(name, **whole, **flags).succeeded()
    seconds = time.monotonic() - begun
    rng, killed = random.Random(name), 0
    for _ in range(KILLS):
        process = launch.start(name, **cut, **flags)
        time.sleep(rng.uniform(0.02, 0.3) * seconds)
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        status = launch.wait().status
        assert status in (0, -signal.SIGKILL), launch.err.read_text()
        killed += status != 0
        if not status:  # the first was slower, or made what the later ones find there
            seconds *= 0.7
    assert killed > KILLS / 4
    return launch(name, **cut, **flags)


def test_a_build(launch, tmp_path):
    tree = {f"sketches/{c}/{i}.png": drawing(i) for c in ("cat", "dog") for i in range(12)}
    tree |= {f"photos/{c}/{i}.jpg": photo(i, "JPEG") for c in ("cat", "dog") for i in range(12)}
    source = write_tree(tmp_path / "source", tree)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    flags = {"dataset": "sketch_photo_folders", "source": source, "test_share": 0.25}
    killed_often(launch, "build_data", {"data_dir": whole}, {"data_dir": cut}, **flags).succeeded()
    assert list_datasets(cut) == list_datasets(whole)
    for name, splits in list_datasets(whole).items():
        for split in splits:
            pairs = zip(
                open_records(cut, name, split), open_records(whole, name, split), strict=True
            )
            for one, other in pairs:
                for field, value in one.items():
                    np.testing.assert_array_equal(value, other[field])


def test_an_index(launch, all_runs, tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number in range(24):
        tiles = rng.integers(0, 256, (4, 4, 3), np.uint8)
        Image.fromarray(tiles).resize((60, 40)).save(tmp_path / "photos" / f"{number}.png")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    flags = {"photos": tmp_path / "photos", "checkpoint": all_runs / "S" / "fold0", "batch_size": 4}
    last = killed_often(launch, "index", {"gallery": whole}, {"gallery": cut}, **flags)
    assert last.status == 0 and "24 pictures" in last.out

    def rows(uri):
        table = open_store(str(uri)).columns(["path", "id", "width", "height", "vector"])
        return sorted(table.drop_columns("_rowid").to_pylist(), key=operator.itemgetter("path"))

    for one, other in zip(rows(cut), rows(whole), strict=True):
        # How a picture's numbers are rounded depends on its place in a batch, and that on where the
        # synchroniser begins.
        np.testing.assert_allclose(one.pop("vector"), other.pop("vector"), rtol=1e-5, atol=1e-6)
        assert one == other


def test_a_training(launch, data_dir, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    flags = {
        "data_dir": data_dir, "init": "random", "backbone": TWO_LAYERS.name, "batch_size": 4,
        "datasets": "openmoji/sketch,openmoji/photo", "mixture": "S+I", "steps": 24,
        "save_every": 3, "log_every": 1,
    }  # fmt: skip
    killed_often(launch, "train", {"run_dir": whole}, {"run_dir": cut}, **flags).succeeded()
    one, other = (flat(load_model(folder).params) for folder in (whole, cut))
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name])
    assert [line["step"] for line in read_metrics(cut)] == [
        line["step"] for line in read_metrics(whole)
    ]
