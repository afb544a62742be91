"""dsf_jax.paper.ablations: what is compared is what its name says."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from dsf_jax.data.records import open_records
from dsf_jax.evaluation.extractors import shown_to
from dsf_jax.images.points import ink_of, pad_points
from dsf_jax.models.model import ModelConfig, init_model
from dsf_jax.paper import ablations
from dsf_jax.recognition.voting import vote
from tests.launch.small_sets import CLASSES

pytestmark = pytest.mark.slow

SIZE = 67  # the least round figure at which every layer of AlexNet has a cell


@pytest.fixture(scope="module")
def model():
    return init_model(ModelConfig("caffe", CLASSES, SIZE, ()), 0)


def drawing():
    """A thick ring in the upper left part of its sheet."""
    picture = Image.new("L", (90, 90), 255)
    ImageDraw.Draw(picture).ellipse((10, 10, 40, 30), outline=0, width=5)
    return np.asarray(picture)[..., None]


def test_forms_of_input():
    maps = {name: form(drawing()) for name, form in ablations.input_forms(SIZE).items()}
    default, thin, finer, binary, _, _, _, white, bilinear, cubic, sampled = maps.values()
    assert all(m.shape == (SIZE, SIZE) and m.dtype == np.uint8 for m in maps.values())
    ink = {name: ink_of(m) for name, m in maps.items() if name != "white on black"}
    default_ink, _, _, binary_ink, _, thick_ink, cropped_ink, *_ = ink.values()
    assert default_ink[SIZE // 2 :].sum() == 0  # the lower half stays empty
    assert thick_ink.sum() > 2 * binary_ink.sum() and not (binary_ink & ~thick_ink).any()
    assert thin.mean() > finer.mean() > default.mean() and set(np.unique(binary)) == {0, 255}
    # The ring is 31 x 21 pixels: cut down to it, it spans the width and two thirds of the height.
    rows, columns = (np.flatnonzero(cropped_ink.any(axis=axis)) for axis in (1, 0))
    assert np.ptp(columns) > 0.8 * SIZE and 0.5 < np.ptp(rows) / np.ptp(columns) < 0.7
    assert abs(rows.mean() - SIZE / 2) < 1
    np.testing.assert_array_equal(white, 255 - default)
    assert len(np.unique(bilinear)) > 2 and len(np.unique(cubic)) > 2
    assert len(np.unique(default)) > 2
    assert np.abs(sampled.astype(int) - bilinear).mean() < 8  # enlarged, they are nearly one


def test_shrinking_without_anti_aliasing_loses_thin_lines():
    image = np.full((4 * SIZE, 4 * SIZE, 1), 255, np.uint8)
    image[:, ::4] = 0  # between the pixels that are looked at
    maps = {name: form(image) for name, form in ablations.input_forms(SIZE).items()}
    assert (maps["bilinear, not anti-aliased"] == 255).all()
    assert (maps["bilinear"] < 255).all()


def test_an_empty_drawing_is_an_empty_input():
    paper = np.full((30, 40, 1), 255, np.uint8)
    for name, form in ablations.input_forms(SIZE).items():
        assert (form(paper) == (0 if name == "white on black" else 255)).all(), name


def test_the_default_choice_of_angles_is_the_vote(model, prepared):
    sketches = open_records(prepared, "tu_berlin/sketch", "fold0")
    mixture = shown_to(model, [sketches], CLASSES)
    table = ablations.compare_angles(model, mixture)
    points = pad_points([example["points"] for example in mixture.drawings])
    voted = vote(model, {"points": points})
    expected = (np.asarray(voted).argmax(axis=1) == mixture.drawings.labels).mean()
    names = [row.name for row in table.rows]
    assert names == list(ablations.angle_choices()) and len(set(names)) == len(names)
    assert table.rows[0].cells[0].ours.value == expected


def test_choices_of_angles():
    for name, (angles, flips) in ablations.angle_choices().items():
        assert len(angles) == len(flips), name
        assert sorted(angles) == sorted(-np.array(angles)), name
        assert len({*zip(angles, flips, strict=True)}) == len(angles), name
    angles, flips = next(iter(ablations.angle_choices().values()))
    assert len(angles) == 18 and sum(flips) == 9


def test_edges_are_classified_as_sketches(model, prepared, monkeypatch):
    strength = np.zeros((256, 256), np.float32)
    strength[50:200, 100] = 0.8
    strength[50:200, 101] = 0.5
    monkeypatch.setattr(ablations, "read_hed", lambda _: ())
    monkeypatch.setattr(ablations, "hed_strengths", lambda photos: iter([strength] * len(photos)))
    photos = [np.zeros((256, 256, 3), np.uint8)]
    maps = {name: made[0] for name, made in ablations.edge_maps(photos).items()}
    counts = {name: int(m.sum()) for name, m in maps.items()}
    assert counts == {
        "HED, above 0.9 of the strongest edge": 150,
        "HED, above 0.7 of the strongest edge": 150,
        "HED, above 0.5 of the strongest edge": 300,
        "HED, above 0.3 of the strongest edge": 300,
        "HED, above 0.9 literally": 0,
        "Canny": 0,
    }
    gallery = open_records(prepared, "eitz_sbir/photo", "test")
    table = ablations.compare_edges(model, shown_to(model, [gallery], CLASSES))
    assert [row.name for row in table.rows] == list(maps)
    # One map for all photos: half of them are of the class it is taken for.
    assert table.rows[0].cells[0].ours.value == 0.5
    assert table.rows[1].cells[1].ours == (0, 0, 0)
