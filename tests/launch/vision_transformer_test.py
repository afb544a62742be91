"""A tiny CLIP, in a folder as the Hugging Face hub has it, through every script."""

import re

import numpy as np
import pytest
from PIL import Image, ImageDraw

from dsf_jax.app.query import Query
from dsf_jax.app.searcher import Searcher
from dsf_jax.export.load import load_export
from dsf_jax.gallery.gallery import Gallery
from dsf_jax.recognition.voting import vote
from dsf_jax.retrieval.features import embed_layers, extract
from dsf_jax.retrieval.picture_search import PictureFiles
from dsf_jax.training.checkpoints import load_model
from dsf_jax.training.model_sources import open_model, open_words
from tests.app.made import drawn
from tests.launch.scripts import ALL
from tests.models.hugging_face_folders import (
    GRID,
    PROJECTED,
    SIZE,
    WIDTH,
    speaking_folder,
    write_folder,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("hub") / "clip", "clip")


@pytest.fixture(scope="module")
def ported(launch, folder):
    out = folder.parent / "ported"
    told = launch("port_weights", source=folder, out=out).succeeded()
    assert re.search(r"block2 +loaded from vision_model\.encoder\.layers\.1", told)
    return out


@pytest.fixture(scope="module")
def trained(launch, data_dir, ported):
    """Four steps of the layer norms and the classes, stopped after two and gone on with."""
    flags = {
        "data_dir": data_dir, "datasets": ALL, "init": ported, "train_layers": "norms",
        "run_dir": ported.parent / "run", "batch_size": 8, "save_every": 2, "learning_rate": 0.01,
        "compute": "bfloat16",
    }  # fmt: skip
    first = launch("train", steps=2, **flags).succeeded()
    second = launch("train", steps=4, **flags).succeeded()
    assert "step 2: trained" in first and "step 4: trained" in second
    assert "CLIP's vision transformer (2 blocks of 16, patches of 8)" in second
    return flags["run_dir"]


def test_it_is_ported(ported):
    model = load_model(ported)
    assert model.config.backbone == "clip" and model.config.fresh_layers == ("head",)
    assert dict(model.config.architecture)["projection"] == PROJECTED and model.size == SIZE


def test_it_trains_and_resumes(trained, ported):
    before, model = load_model(ported), load_model(trained)
    assert model.config.architecture == before.config.architecture
    assert model.config.fresh_layers == () and len(model.class_names) == 5
    moved = {
        layer
        for layer in before.params
        if layer != "head"
        and any(np.any(before.params[layer][n] != x) for n, x in model.params[layer].items())
    }
    assert moved == {layer for layer in model.params if "norm" in layer}


def test_it_votes(launch, trained, data_dir):
    result = launch(
        "evaluate", what="recognition", checkpoint=trained, data_dir=data_dir,
        sketches="openmoji/sketch:train",
    )  # fmt: skip
    assert result.status == 0 and "voting" in result.out


@pytest.fixture(scope="module")
def gallery(launch, ported, tmp_path_factory):
    """Three plain pictures, indexed by the network as it was ported."""
    folder = tmp_path_factory.mktemp("pictures")
    for colour in ("red", "green", "white"):
        Image.new("RGB", (60, 40), colour).save(folder / f"{colour}.png")
    flags = {"checkpoint": ported, "photos": folder, "gallery": ported.parent / "gallery"}
    assert "3 pictures" in launch("index", **flags).succeeded()
    return flags["gallery"]


def test_it_searches(launch, ported, gallery, tmp_path):
    drawing = tmp_path / "drawing.png"
    image = Image.new("L", (60, 60), "white")
    ImageDraw.Draw(image).ellipse((5, 5, 50, 50), outline="black", width=2)
    image.save(drawing)
    found = launch("search", checkpoint=ported, gallery=gallery, sketch=drawing).succeeded()
    assert all(f"{name}.png" in found for name in ("red", "green", "white"))


def test_a_folder_is_a_network_as_it_is_and_finds_by_words(launch, tmp_path):
    pictures, gallery = tmp_path / "pictures", tmp_path / "gallery"
    pictures.mkdir()
    for colour in ("red", "green", "white"):
        Image.new("RGB", (60, 40), colour).save(pictures / f"{colour}.png")
    folder = speaking_folder(tmp_path / "siglip", "siglip")
    Image.fromarray(drawn("bars", 0)).save(tmp_path / "bars.png")
    told = launch("index", checkpoint=folder, photos=pictures, gallery=gallery).succeeded()
    assert "3 pictures" in told
    by = {"checkpoint": folder, "photos": pictures}
    said = launch("search", words="a red hat", **by).succeeded()
    model = open_model(folder)
    paths = sorted(pictures.iterdir())
    rows = extract(model, PictureFiles(paths), layers=(model.default_feature,))["pooled"]
    words = open_words(folder, model, "pooled").embed("a red hat")
    nearest = paths[int(np.argmin(np.linalg.norm(rows - words, axis=1)))]
    assert said.split()[2] == str(nearest)
    by["gallery"] = gallery
    del by["photos"]
    assert launch("search", words="a red hat", **by).succeeded() == said
    shown = by | {"sketch": tmp_path / "bars.png"}
    assert launch("search", words="a red hat", words_share=1, **shown).succeeded() == said
    launch("search", **by).failed("one of --sketch and --words must be given", status=2)
    launch("search", words="x", figure="f.png", **by).failed("--figure shows", status=2)
    for unused in ({"polarity": "white_on_black"}, {"query_views": "all"}, {"words_share": 0.2}):
        failed = launch("search", words="x", **unused, **by)
        failed.failed(f"--{next(iter(unused))}", "a --sketch; give", status=2)


def test_a_checkpoint_has_no_words(launch, ported, gallery):
    by = {"checkpoint": ported, "gallery": gallery}
    launch("search", words="a hat", **by).failed("is a checkpoint, which has no text tower")


def test_the_page_explains_and_names_no_class_that_it_has_not_learned(ported, gallery):
    searcher = Searcher(load_model(ported), Gallery.open(gallery))
    query = Query(points=np.array([[i, i, 255] for i in range(100, 600)], np.uint16))
    (result, *_) = searcher.search(searcher.embed(query), 1)
    for side in searcher.explain(query, result.picture.id):
        assert side.view.shape[:2] == (SIZE, SIZE) and side.strength.shape == (GRID, GRID)
    assert searcher.vote(query) == []


def test_it_is_exported(launch, trained, tmp_path):
    out = tmp_path / "exported"
    assert "clip, 5 classes" in launch("export", checkpoint=trained, out=out).succeeded()
    exported, model = load_export(out), load_model(trained)
    assert exported.config["architecture"]["width"] == WIDTH
    photos = np.random.default_rng(0).integers(0, 256, (2, 256, 256, 3), np.uint8)
    expected = embed_layers(model, {"photo": photos}, ("projected", "patch mean"))
    for layer, features in exported.photo_features(photos).items():
        np.testing.assert_allclose(features, expected[layer], atol=1e-5)
    points = np.array([[[i, i, 255] for i in range(100, 600)]], np.uint16)
    np.testing.assert_allclose(
        exported.sketch_classes(points), vote(model, {"points": points}), atol=1e-5
    )
    assert load_model(out).digest() == model.digest()
