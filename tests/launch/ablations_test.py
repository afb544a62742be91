"""launch.ablations: its tables, and its errors."""

import re

import pytest

from dsf_jax.models.alexnet import CAFFE
from tests.launch.reproduce_test import table_of


@pytest.fixture
def given(prepared, all_runs):
    return {"data_dir": prepared, "checkpoint": all_runs / "S" / "fold0"}


def test_forms_of_input(launch, given):
    table = table_of(launch("ablations", what="input", **given).succeeded())
    assert len(table) == 11
    assert table["default: pen 3 wide, thinned, whole canvas, black on white"][1] == "–"
    # The networks convolve with random values, and tell balls from boxes that fill their maps.
    assert float(table["bounding box"][0].split()[0]) > 0.8
    assert all(
        re.search(r"\[|no interval", cell)
        for name in table
        if "default" not in name
        for cell in table[name]
    )


def test_features(launch, given):
    given |= {"sketches": "eitz_sbir/sketch", "photo_sets": "eitz_sbir/photo"}
    table = table_of(launch("ablations", what="features", **given).succeeded())
    assert set(table) == set(CAFFE.features) and next(iter(table)) == "L6+L7"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"what": "edges"}, ("--what=edges needs --photo_sets",)),
        (
            {"what": "input", "sketches": "tu_berlin/sketch:fold0"},
            ("one data set", "without a split"),
        ),
        ({"what": "input", "sketches": "eitz_sbir/sketch"}, ("has 0 folds", "at least 2")),
        ({"what": "angles", "sketches": "eitz_sbir/photo"}, ("is of the domain photo",)),
    ],
)
def test_wrong_questions(launch, given, options, words):
    launch("ablations", **options, **given).failed(*words)


def test_a_network_of_pixels_cannot_move_points(launch, given, all_runs):
    given["checkpoint"] = all_runs / "S-bilinear" / "fold0"
    told = launch("ablations", what="angles", sketches="eitz_sbir/sketch", **given)
    told.failed("S-bilinear/fold0", "resizing=bilinear", "edge_preserving")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"what": "edges", "sketches": "eitz_sbir/sketch"}, "--sketches is for --what="),
        ({"what": "angles", "classes": "list.txt"}, "--classes is for --what=input only"),
    ],
)
def test_flags_of_other_choices_are_refused(launch, given, options, words):
    launch("ablations", **options, **given).failed(words, "omit it", status=2)
