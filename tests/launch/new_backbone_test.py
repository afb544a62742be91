"""A new backbone is one record: tests/backbones.py registers one of two layers, whose names no other
network has, and every script works with it.
"""

import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

from dsf_jax.app.query import Query
from dsf_jax.app.searcher import Searcher
from dsf_jax.export.load import load_export
from dsf_jax.gallery.gallery import Gallery
from dsf_jax.models.backbones import BACKBONES
from dsf_jax.recognition.voting import vote
from dsf_jax.retrieval.features import embed_layers
from dsf_jax.training.checkpoints import load_model
from tests.backbones import TWO_LAYERS
from tests.launch.scripts import ALL


@pytest.fixture(scope="module")
def trained(launch, data_dir, tmp_path_factory):
    """Four steps from random values, stopped after two and gone on with."""
    run_dir = tmp_path_factory.mktemp("two_layers") / "run"
    flags = {
        "data_dir": data_dir, "datasets": ALL, "init": "random", "backbone": "two_layers",
        "run_dir": run_dir, "batch_size": 8, "save_every": 2,
    }  # fmt: skip
    first = launch("train", steps=2, **flags)
    return first, launch("train", steps=4, **flags), run_dir


def test_its_names_are_its_own():
    others = {x for b in BACKBONES.values() if b is not TWO_LAYERS for x in (*b.layers, *b.maps)}
    assert not {*TWO_LAYERS.layers, *TWO_LAYERS.maps} & others


def test_it_trains_and_resumes(trained):
    first, second, run_dir = trained
    assert "step 2: trained" in first.succeeded() and "step 4: trained" in second.succeeded()
    model = load_model(run_dir)
    assert model.config.backbone == "two_layers" and model.config.fresh_layers == ()
    assert model.size == 64 and len(model.class_names) == 5


def test_it_trains_on_kept_activations(launch, data_dir, tmp_path):
    out = launch(
        "train", data_dir=data_dir, datasets=ALL, init="random", backbone="two_layers", steps=2,
        run_dir=tmp_path / "run", batch_size=8, train_layers="name", cached_views=1,
    ).succeeded()  # fmt: skip
    assert "step 2: trained" in out
    assert load_model(tmp_path / "run").config.fresh_layers == ("eye",)


def test_it_votes(launch, trained, data_dir):
    result = launch(
        "evaluate", what="recognition", checkpoint=trained[2], data_dir=data_dir,
        sketches="openmoji/sketch:train",
    )  # fmt: skip
    assert result.status == 0 and "voting" in result.out


def test_it_embeds_and_retrieves(launch, trained, data_dir, tmp_path):
    launch(
        "extract", checkpoint=trained[2], data_dir=data_dir, datasets="openmoji/photo:test",
        out=tmp_path / "features",
    ).succeeded()  # fmt: skip
    (features,) = tmp_path.rglob("mean.npy")
    np.testing.assert_allclose(np.linalg.norm(np.load(features), axis=1), 1, rtol=1e-5)
    out = launch(
        "evaluate", what="retrieval", checkpoint=trained[2], data_dir=data_dir,
        sketches="openmoji/sketch:test", photo_sets="openmoji/photo:test",
    ).succeeded()  # fmt: skip
    assert "mAP" in out


@pytest.fixture(scope="module")
def gallery(launch, trained, tmp_path_factory):
    """Four plain pictures, indexed."""
    folder = tmp_path_factory.mktemp("pictures")
    for colour in ("red", "green", "blue", "white"):
        Image.new("RGB", (60, 40), colour).save(folder / f"{colour}.png")
    flags = {"checkpoint": trained[2], "photos": folder, "gallery": folder.parent / "gallery"}
    assert "4 pictures" in launch("index", **flags).succeeded()
    return flags["gallery"]


def test_it_indexes_and_searches(launch, trained, gallery, tmp_path):
    drawing = tmp_path / "drawing.png"
    image = Image.new("L", (60, 60), "white")
    ImageDraw.Draw(image).ellipse((5, 5, 50, 50), outline="black", width=2)
    image.save(drawing)
    found = launch("search", checkpoint=trained[2], gallery=gallery, sketch=drawing).succeeded()
    assert {name for name in ("red", "green", "blue", "white") if f"{name}.png" in found} == {
        "red", "green", "blue", "white",
    }  # fmt: skip


def test_it_explains_on_the_page(trained, gallery):
    model = load_model(trained[2])
    searcher = Searcher(model, Gallery.open(gallery))
    points = np.array([[i, i, 255] for i in range(100, 600)], np.uint16)
    query = Query(points=points)
    (result, *_) = searcher.search(searcher.embed(query), 1)
    drawn, photographed = searcher.explain(query, result.picture.id)
    for side in (drawn, photographed):
        assert side.view.shape[:2] == (64, 64) and side.strength.shape == (8, 8)
    assert len(searcher.vote(query)) == 5


@pytest.mark.parametrize("what", ["activations", "filters", "inversion"])
def test_it_is_looked_into(launch, trained, data_dir, tmp_path, what):
    own = {"inversion": {"steps": 8, "count": 1}, "activations": {"pairs": 3}}.get(what, {})
    out = tmp_path / "figure.png"
    sets = {"sketches": "openmoji/sketch:test", "photo_sets": "openmoji/photo:test"}
    data = {} if what == "filters" else {"data_dir": data_dir, **sets}
    facts = launch("figures", what=what, checkpoint=trained[2], out=out, **data, **own).succeeded()
    assert out.stat().st_size > 1000
    rows = json.loads(facts)["rows"]
    assert [row["layer"] for row in rows if "layer" in row] == {
        "activations": ["seen", "mean"], "inversion": ["seen"], "filters": [],
    }[what]  # fmt: skip


def test_it_is_exported(launch, trained, tmp_path):
    out = tmp_path / "exported"
    assert "two_layers, 5 classes" in launch("export", checkpoint=trained[2], out=out).succeeded()
    exported, model = load_export(out), load_model(trained[2])
    photos = np.random.default_rng(0).integers(0, 256, (2, 256, 256, 3), np.uint8)
    expected = embed_layers(model, {"photo": photos}, ("mean", "seen"))
    for layer, features in exported.photo_features(photos).items():
        np.testing.assert_allclose(features, expected[layer], atol=1e-6)
    points = np.array([[[i, i, 255] for i in range(100, 600)]], np.uint16)
    np.testing.assert_allclose(
        exported.sketch_classes(points), vote(model, {"points": points}), atol=1e-6
    )


@pytest.mark.parametrize(("form", "ending"), [("caffemodel", "caffemodel"), ("pytorch", "pth")])
def test_forms_that_it_has_no_names_for_are_refused(launch, trained, tmp_path, form, ending):
    out = tmp_path / f"weights.{ending}"
    launch("export", checkpoint=trained[2], format=form, out=out).failed("two_layers")
    assert not out.exists()
