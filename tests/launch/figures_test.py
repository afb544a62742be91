"""launch.figures: the paper's pictures of a checkpoint, their numbers, and one page of all."""

import json
import re

import numpy as np
import pytest

from dsf_jax.data.records import open_records
from dsf_jax.models.alexnet import init_params
from dsf_jax.training.checkpoints import ModelCard, load_model, save_model
from tests.insight.benchmark_figures_test import RESULTS

PAPER = ("resizing", "views", "retrieval", "activations", "filters", "inversion")
SIZE = 67  # the least at which every layer has cells


@pytest.fixture(scope="module")
def flags(data_dir, tmp_path_factory):
    """Two random networks for small input; the later one knows the training emoji's classes."""
    names = tuple(
        sorted(r["class_name"] for r in open_records(data_dir, "openmoji/photo", "train"))
    )
    folder = tmp_path_factory.mktemp("networks")
    for name, classes, seed in (("before", ("a", "b"), 0), ("after", names, 1)):
        card = ModelCard("caffe", classes, SIZE, ("fc8",) if name == "before" else ())
        save_model(folder / name, init_params(card.network(), seed, size=SIZE), card)
    return {"checkpoint": folder / "after", "before": folder / "before", "data_dir": data_dir}


@pytest.fixture(scope="module")
def report(launch, flags, tmp_path_factory):
    """What it prints, and the page: all pictures, the dear ones small."""
    out = tmp_path_factory.mktemp("report") / "report.html"
    quick = {"steps": 4, "layers": "conv1", "count": 1, "pairs": 4, "split": "train"}
    result = launch("figures", what="report", out=out, **quick, **flags)
    return json.loads(result.succeeded()), out


def test_a_report_holds_all_pictures(report, flags):
    numbers, out = report
    page = out.read_text()
    assert page.count("<section") == page.count("data:image/png;base64,") == len(PAPER)
    assert not re.search(r"https?://|<script", page)
    assert numbers["what"] == "report" and numbers["written"] == str(out)
    assert set(PAPER) <= set(numbers)
    assert numbers["sketches"] == ["openmoji/sketch [train]"]
    assert numbers["checkpoint"]["fingerprint"] in page


def test_views_add_up(report):
    views = report[0]["views"]
    assert len(views["rows"]) == 18 and views["class known to the network"]
    votes = sum(row["vote for the result"] for row in views["rows"])
    assert votes == pytest.approx(views["probability by vote"], rel=1e-5)


def test_rankings_are_scored(report):
    retrieval = report[0]["retrieval"]
    assert (retrieval["queries"], retrieval["photos"]) == (5, 5)
    assert 0.2 <= retrieval["mAP"]["low"] <= retrieval["mAP"]["mean"] <= 1
    (row,) = retrieval["rows"]
    assert row["hits in 5"] == 1 and 0.2 <= row["AP"] <= 1


def test_before_and_after_are_compared_on_the_same_pairs(report):
    activations = report[0]["activations"]
    assert activations["pairs"] == activations["classes"] == 4
    assert activations["random layers before"] == ["fc8"]
    assert [row["layer"] for row in activations["rows"]] == [f"relu{i}" for i in range(1, 8)]
    for row in activations["rows"]:
        gaps = []
        for when in ("before", "after"):
            alike, apart = (row[f"{n}, {when}"]["mean"] for n in ("one class", "two classes"))
            assert row[f"gap {when}"]["mean"] == pytest.approx(alike - apart, abs=1e-6)
            gaps.append(alike - apart)
        assert row["change of the gap"]["mean"] == pytest.approx(gaps[1] - gaps[0], abs=1e-6)


def test_what_moved_is_measured(report, flags):
    filters = report[0]["filters"]
    old, new = (load_model(flags[name])[1]["conv1"]["kernel"] for name in ("before", "checkpoint"))
    moved = np.linalg.norm(np.asarray(new - old)) / np.linalg.norm(np.asarray(old))
    assert filters["moved"] == pytest.approx(moved, rel=1e-4) and filters["filters"] == 96
    for row in filters["rows"]:
        change = row["after"]["mean"] - row["before"]["mean"]
        assert row["change"]["mean"] == pytest.approx(change, abs=1e-6)


def test_every_image_and_layer_has_its_error(report):
    inversion = report[0]["inversion"]
    (row,) = inversion["rows"]
    assert row["layer"] == "conv1" and inversion["steps"] == 4
    for kind in ("sketch", "photo"):
        assert len(row[f"{kind}, error"]) == 1 and row[f"{kind}, error"][0] > 0
        assert inversion["images that the unit comes from"][kind] == 5


def test_resizing_needs_no_network(launch, data_dir, tmp_path):
    out = tmp_path / "resizing.png"
    given = {"what": "resizing", "data_dir": data_dir, "count": 2, "out": out}
    found = json.loads(launch("figures", **given).succeeded())
    kept = {row["resizing"]: row["strokes kept"] for row in found["rows"]}
    assert kept["edge-preserving"] == kept["thinned"] == 1 > kept["cubic > .5"]
    assert len(found["classes"]) == 2 and out.read_bytes().startswith(b"\x89PNG")
    launch("figures", **given).failed("exists", "nothing is overwritten")


def test_growth_is_drawn_from_what_a_benchmark_kept(launch, tmp_path):
    results, out = tmp_path / "results.json", tmp_path / "growth.png"
    results.write_text(json.dumps(RESULTS))
    launch("figures", what="benchmark", results=results, out=out).succeeded()
    assert out.read_bytes().startswith(b"\x89PNG")
    results.write_text('{"growth": {}, "machine": {}}')
    again = {"what": "benchmark", "results": results, "out": tmp_path / "again.png"}
    launch("figures", **again).failed("results.json is no result of launch.benchmark", "--json")


@pytest.mark.parametrize("what", ["filters"])
def test_one_picture_and_its_numbers(what, launch, flags, tmp_path):
    out = tmp_path / "picture.png"
    alone = {name: value for name, value in flags.items() if name != "before"}
    found = json.loads(launch("figures", what=what, out=out, **alone).succeeded())
    assert found["what"] == what and out.read_bytes().startswith(b"\x89PNG")
    assert [set(row) for row in found["rows"]] == [{"share of energy", "after"}] * 2


@pytest.mark.parametrize(
    ("what", "changes", "words"),
    [
        ("filters", {"checkpoint": None}, ("--what=filters needs --checkpoint",)),
        ("curves", {}, ("--what=curves needs --run_dir",)),
        ("records", {}, ("--what=records needs --dataset",)),
        ("benchmark", {}, ("--what=benchmark needs --results",)),
        (
            "benchmark",
            {"results": "none.json"},
            ("none.json is no file", "launch.benchmark --json"),
        ),
        ("inversion", {"layers": "conv1,conv9"}, ("conv9", "choose", "relu7")),
        ("inversion", {"classes": "unicorn"}, ("'unicorn' is unknown", "choose of")),
        ("retrieval", {"photos": "openmoji/photo:train"}, ("none of 3 sketches has a photo",)),
        ("views", {"sketches": "openmoji/photo"}, ("domain photo", "not sketch or edge")),
        ("report", {"out": "report.png"}, ("report.png must end in .html",)),
        ("filters", {"out": "filters.pdf"}, ("filters.pdf must end in .png",)),
    ],
)
def test_what_is_wrong_is_named(what, changes, words, launch, flags, tmp_path):
    given = flags | {"what": what, "out": tmp_path / "picture.png"} | changes
    given = {name: value for name, value in given.items() if value is not None}
    launch("figures", **given).failed(*words)
    assert list(tmp_path.iterdir()) == []


def test_a_class_without_photos_is_named(launch, flags, data_dir, tmp_path):
    name = open_records(data_dir, "openmoji/sketch", "test")[0]["class_name"]
    given = {"classes": name, "photos": "openmoji/photo:train", "out": tmp_path / "a.png"}
    launch("figures", what="activations", **given, **flags).failed(f"class '{name}' has no photo")
