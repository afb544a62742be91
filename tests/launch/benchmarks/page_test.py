"""The gallery that the page is timed with passes for one of the checkpoint's network."""

import numpy as np

from dsf_jax.gallery.embedder import network_embedder
from dsf_jax.gallery.gallery import Gallery
from dsf_jax.training.checkpoints import load_model, save_model
from launch.benchmarks.gallery import fill_gallery
from launch.benchmarks.page import report
from tests.training.tiny import start_model


def test_a_gallery_of_random_features(tmp_path):
    save_model(tmp_path / "checkpoint", start_model())
    fill_gallery(load_model(tmp_path / "checkpoint"), tmp_path, 7)
    gallery = Gallery.open(
        tmp_path / "gallery", network_embedder(load_model(tmp_path / "checkpoint"))
    )
    assert len(gallery) == 7 and gallery.config.features == 16
    rows = gallery.sample(7, seed=0)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    assert len(np.unique(rows, axis=0)) == 7


def test_what_is_printed(capsys):
    report([100.0, 200.0, 300.0], 10_000)
    assert capsys.readouterr().out == (
        "stroke's end to results on the screen, 3 strokes, 10000 pictures: median 200 ms, 90 % 280 ms, "
        "from 100 to 300 ms\n"
    )
