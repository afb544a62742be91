"""A drawing finds picture files by the features that they have."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from dsf_jax.data.picture_folders import list_pictures
from dsf_jax.retrieval import picture_search
from dsf_jax.retrieval.features import extract
from dsf_jax.retrieval.picture_search import (
    PictureFiles,
    read_sketch,
    search_pictures,
    sketch_features,
)
from tests.training.tiny import start_model


@pytest.fixture
def drawing_file(tmp_path):
    image = Image.new("L", (90, 60), "white")
    ImageDraw.Draw(image).line([(10, 10), (80, 50)], fill="black", width=3)
    image.save(tmp_path / "drawing.png")
    return tmp_path / "drawing.png"


@pytest.mark.slow
def test_the_nearest_by_plain_distance(drawing_file, tmp_path):
    for seed in range(7):
        noise = np.random.default_rng(seed).integers(0, 256, (40, 50, 3), np.uint8)
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.fromarray(noise).save(tmp_path / "photos" / f"{seed}.png")
    model, paths = start_model(), list_pictures(tmp_path / "photos").pictures
    drawing = read_sketch(drawing_file).query
    (tmp_path / "photos/2b.png").write_bytes(b"no picture")
    broken = [tmp_path / "photos/2b.png", tmp_path / "photos/gone.png"]
    mixed = [*paths[:3], *broken, *paths[3:]]
    shown = sketch_features(model, drawing, layer="L7")
    found, failed, _ = search_pictures(model, shown, mixed, 4, layer="L7")
    assert [line.split(" ")[0] for line in failed] == list(map(str, broken))
    with pytest.raises(ValueError, match=r"none of 2 pictures can be read: .*2b.png is not a pic"):
        search_pictures(model, shown, broken, 4, layer="L7")
    rows = extract(model, PictureFiles(paths), layers=("L7",))["L7"].astype(np.float64)
    distances = np.linalg.norm(rows - shown, axis=1)
    order = np.argsort(distances)[:4]
    assert [one.path for one in found] == [paths[i] for i in order]
    np.testing.assert_allclose([one.distance for one in found], distances[order], rtol=1e-4)


def test_near_duplicates_are_one_result(drawing_file, tmp_path):
    rng, model = np.random.default_rng(0), start_model()
    for name in "abc":
        picture = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).resize((90, 90))
        picture.save(tmp_path / f"{name}.png")
        picture.resize((60, 60)).save(tmp_path / f"{name}2.jpg", quality=60)
    paths = sorted({*tmp_path.iterdir()} - {drawing_file})
    shown = sketch_features(model, read_sketch(drawing_file).query, layer="L7")
    found = search_pictures(model, shown, paths, 2, layer="L7").found
    separate = search_pictures(model, shown, paths, 6, layer="L7", duplicates="separate").found
    assert len(found) == 2 and len(separate) == 6
    order = [one.path for one in separate]
    for one in found:
        (other,) = one.duplicates
        assert one.path.name[0] == other.name[0] and order.index(one.path) < order.index(other)
        assert one.distance == separate[order.index(one.path)].distance
    assert found[0].path == order[0] and all(one.duplicates == () for one in separate)


def test_nothing_is_near_by_the_pictures_own_standard(drawing_file, tmp_path, monkeypatch):
    """Their features are replaced: a crowd, and singles of which the query has something of each."""
    rng, model = np.random.default_rng(0), start_model()
    crowds = np.repeat(rng.standard_normal((5, 1, 30)), 6, axis=1) * 4
    features = (crowds + rng.standard_normal(crowds.shape)).reshape(30, 30).astype(np.float32)
    monkeypatch.setattr(picture_search, "extract", lambda model, files, **_: {"L7": features})
    paths = [tmp_path / f"{i}.png" for i in range(30)]
    inside, between = features[3] + 0.1, features.mean(axis=0)
    for query, far in ((inside, False), (between, True)):
        ranking = search_pictures(model, query[None], paths, 5, layer="L7", duplicates="separate")
        assert ranking.nothing_near == far and len(ranking.found) == 5


@pytest.mark.slow
def test_by_several_views_the_drawing_alone_is_seen_otherwise(drawing_file, tmp_path):
    rng, model = np.random.default_rng(0), start_model()
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).save(path)
    for query in (read_sketch(drawing_file).query, read_sketch(paths[0]).query):
        shown = sketch_features(model, query, layer="L7", views="mirrored")
        found, *_ = search_pictures(model, shown, paths, 3, layer="L7")
        rows = extract(model, PictureFiles(paths), layers=("L7",))["L7"].astype(np.float64)
        distances = np.linalg.norm(rows - shown, axis=1)
        np.testing.assert_allclose([one.distance for one in found], np.sort(distances), atol=1e-3)
        (view,) = np.asarray(model.plain_view(_batch_of(query)))
        _, seen = model(np.stack([view, np.flip(view, axis=1)]))
        each = np.asarray(seen["relu7"], np.float64)
        mean = (each / np.linalg.norm(each, axis=1, keepdims=True)).mean(axis=0)
        np.testing.assert_allclose(shown[0], mean / np.linalg.norm(mean), atol=1e-6)


def _batch_of(query):
    named = {"points": query.points, "photo": query.photo}
    return {name: value[None] for name, value in named.items() if value is not None}


@pytest.mark.parametrize("resizing", ["edge_preserving", "bilinear"])
def test_both_polarities_of_one_drawing_are_alike(drawing_file, tmp_path, resizing):
    inverted = 255 - np.asarray(Image.open(drawing_file))
    Image.fromarray(inverted).save(tmp_path / "inverted.png")
    model = start_model(resizing=resizing)
    dark = sketch_features(model, read_sketch(drawing_file).query, layer="L7")
    for polarity in ("white_on_black", None):
        light = read_sketch(tmp_path / "inverted.png", polarity).query
        np.testing.assert_allclose(dark, sketch_features(model, light, layer="L7"), atol=1e-6)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_light_strokes_on_nothing_are_as_dark_ones(drawing_file, tmp_path, mode):
    alpha = Image.fromarray(255 - np.asarray(Image.open(drawing_file)))
    for colour in ("black", "white"):
        picture = Image.new("L", alpha.size, colour).convert(mode)
        picture.putalpha(alpha)
        picture.save(tmp_path / f"{colour}.png")
    dark = read_sketch(tmp_path / "black.png").query
    np.testing.assert_array_equal(dark.points, read_sketch(drawing_file).query.points)
    for polarity in ("white_on_black", None):
        light = read_sketch(tmp_path / "white.png", polarity)
        np.testing.assert_array_equal(light.query.points, dark.points)
        assert light.image.max() == 255 and light.image.min() == 0


def test_no_strokes_and_no_such_feature(drawing_file, tmp_path):
    Image.new("L", (50, 50), "white").save(tmp_path / "blank.png")
    with pytest.raises(
        ValueError, match=r"blank.png: the picture shows no strokes.*; use a darker pen"
    ):
        read_sketch(tmp_path / "blank.png")
    with pytest.raises(ValueError, match="layer='L8' is unknown; choose one of L7, L1"):
        sketch_features(start_model(), read_sketch(drawing_file).query, layer="L8")
