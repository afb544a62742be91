"""launch.figures: the paper's pictures of a checkpoint, their numbers, and one page of all."""

import json
import re
import shutil

import numpy as np
import pytest

from dsf_jax.data.batches import collate, content
from dsf_jax.data.mixtures import mix
from dsf_jax.data.records import open_records
from dsf_jax.evaluation.protocols.early_drawings import early_drawings
from dsf_jax.evaluation.results import write_result
from dsf_jax.evaluation.statistics import NO_INTERVAL
from dsf_jax.images.views import plain_view
from dsf_jax.insight.inversion import mean_distance
from dsf_jax.models.model import ModelConfig, init_model
from dsf_jax.paper import network_figures
from dsf_jax.recognition.voting import vote
from dsf_jax.retrieval.features import extract
from dsf_jax.training.checkpoints import load_model, save_model
from tests.backbones import NARROW
from tests.insight.benchmark_plots_test import RESULTS

PAPER = ("resizing", "views", "retrieval", "activations", "filters", "inversion")


@pytest.fixture(scope="module")
def flags(data_dir, tmp_path_factory):
    """Two random networks for small input; the later one knows the training emoji's classes."""
    names = tuple(
        sorted(r["class_name"] for r in open_records(data_dir, "openmoji/photo", "train"))
    )
    folder = tmp_path_factory.mktemp("networks")
    for name, classes, seed in (("before", ("a", "b"), 0), ("after", names, 1)):
        config = ModelConfig(
            NARROW.name, classes, NARROW.size, ("fc8",) if name == "before" else ()
        )
        save_model(folder / name, init_model(config, seed))
    return {"checkpoint": folder / "after", "before": folder / "before", "data_dir": data_dir}


@pytest.fixture(scope="module")
def report(launch, flags, tmp_path_factory):
    """What it prints, and the page: all pictures, the dear ones small."""
    out = tmp_path_factory.mktemp("report") / "report.html"
    quick = {"steps": 4, "inverted_layers": "conv1", "count": 1, "pairs": 4, "split": "train"}
    result = launch("figures", what="report", out=out, **quick, **flags)
    return json.loads(result.succeeded()), out


@pytest.fixture(scope="module")
def seen(flags, data_dir):
    """The network, and what it is shown in the report."""
    model = load_model(flags["checkpoint"])
    sets = [open_records(data_dir, f"openmoji/{kind}", "train") for kind in ("sketch", "photo")]
    return model, mix(sets)


def test_a_report_holds_all_pictures(report, flags):
    numbers, out = report
    page = out.read_text()
    assert page.count("<section") == page.count("data:image/png;base64,") == len(PAPER)
    assert not re.search(r"https?://|<script", page)
    assert numbers["what"] == "report" and numbers["written"] == str(out)
    assert set(PAPER) <= set(numbers)
    assert numbers["sketches"] == ["openmoji/sketch [train]"]
    assert numbers["checkpoint"]["digest"] in page


def test_views_add_up(report, seen):
    views = report[0]["views"]
    model, mixture = seen
    (row,) = (
        i
        for i, k in enumerate(mixture.drawings.labels)
        if mixture.class_names[k] == views["sketch of"]
    )
    group = content(collate([mixture.drawings[row]]))
    (probabilities,) = np.asarray(vote(model, group))
    assert views["voted"] == model.class_names[int(probabilities.argmax())]
    assert views["probability by vote"] == pytest.approx(float(probabilities.max()), rel=1e-5)
    assert len(views["rows"]) == 18 and views["class known to the network"]
    votes = sum(row["vote for the result"] for row in views["rows"])
    assert votes == pytest.approx(views["probability by vote"], rel=1e-5)


def test_rankings_are_scored(report, seen):
    retrieval = report[0]["retrieval"]
    model, mixture = seen
    queries, gallery = (
        extract(model, examples, layers=("L6+L7",))["L6+L7"]
        for examples in (mixture.drawings, mixture.photos)
    )
    distances = np.linalg.norm(queries[:, None] - gallery, axis=2)
    right = mixture.drawings.labels[:, None] == mixture.photos.labels
    places = (distances <= distances[right][:, None]).sum(axis=1)  # one photo a class is right
    assert len(set(places.tolist())) > 1
    assert retrieval["mAP"]["mean"] == pytest.approx(np.mean(1 / places))
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
    models = (load_model(flags[name]) for name in ("before", "checkpoint"))
    old, new = (model.params["conv1"]["kernel"] for model in models)
    moved = np.linalg.norm(np.asarray(new - old)) / np.linalg.norm(np.asarray(old))
    assert filters["moved"] == pytest.approx(moved, rel=1e-4) and filters["filters"] == 8
    for row in filters["rows"]:
        change = row["after"]["mean"] - row["before"]["mean"]
        assert row["change"]["mean"] == pytest.approx(change, abs=1e-6)


def test_every_image_and_layer_has_its_error(report, seen):
    inversion = report[0]["inversion"]
    model, mixture = seen
    (row,) = inversion["rows"]
    assert row["layer"] == "conv1" and inversion["steps"] == 4
    for kind in ("sketch", "photo"):
        assert len(row[f"{kind}, error"]) == 1 and row[f"{kind}, error"][0] > 0
        assert inversion["images that the unit comes from"][kind] == 5
    # All five of a kind give its unit, whatever their order.
    ratios = [
        row[f"{kind}, normalised"][0] / row[f"{kind}, error"][0] ** 0.5
        for kind in ("sketch", "photo")
    ]
    for ratio, examples in zip(ratios, (mixture.drawings, mixture.photos), strict=True):
        shown = np.asarray(
            plain_view(content(collate([examples[i] for i in range(5)])), size=NARROW.size)
        )
        unit = mean_distance(model, shown, layer="conv1")
        maps = model(shown)[1]["conv1"]
        lengths = np.linalg.norm(np.asarray(maps).reshape(len(shown), -1), axis=1)
        assert min(abs(ratio - length / unit) for length in lengths.tolist()) < 1e-3 * ratio


@pytest.mark.parametrize(
    ("labels", "kept"),
    [
        ([0, 1, 2], [0, 1, 2]),
        ([0, 0, 0, 1], [0, 3]),
        ([0, 1, 0, 0, 2, 0], [0, 1, 2, 4]),
        ([1, 1, 0, 0], [0, 1, 2, 3]),
    ],
)
def test_no_class_holds_more_than_half_of_the_pairs(labels, kept):
    pairs = [(i, 10 + i) for i in range(len(labels))]
    assert network_figures._balanced(pairs, np.array(labels)) == [pairs[i] for i in kept]


def test_a_report_of_one_class_in_another_script(launch, flags, data_dir, tmp_path):
    assert network_figures._balanced([(0, 0), (1, 1)], np.zeros(2, int)) == [(0, 0), (1, 1)]
    names = [r["class_name"] for r in open_records(data_dir, "openmoji/photo", "test")]
    synonyms, out = tmp_path / "map.json", tmp_path / "report.html"
    synonyms.write_text(json.dumps({"动物": {"openmoji": names}}), encoding="utf-8")
    quick = {"steps": 4, "inverted_layers": "conv1", "count": 1, "out": out}
    result = launch("figures", what="report", class_map=synonyms, **quick, **flags)
    numbers = json.loads(result.succeeded())
    assert numbers["activations"]["classes"] == 1 and numbers["activations"]["rows"] == []
    assert numbers["retrieval"]["rows"][0]["query"] == "动物"
    page = out.read_text(encoding="utf-8")
    assert "动物" in page and ">nan" not in page
    assert f"({NO_INTERVAL})" in page  # every query has every photo: AP is 1
    # Where no font has them, a line says so.
    assert all("no font of this machine has all letters of '" in note for note in result.notes)


def test_resizing_needs_no_network(launch, data_dir, tmp_path):
    out = tmp_path / "resizing.png"
    given = {"what": "resizing", "data_dir": data_dir, "count": 2, "out": out}
    found = json.loads(launch("figures", **given).succeeded())
    kept = {row["resizing"]: row["strokes kept"] for row in found["rows"]}
    assert kept["edge-preserving"] == kept["thinned"] == 1 > kept["cubic > .5"]
    assert len(found["classes"]) == 2 and out.read_bytes().startswith(b"\x89PNG")
    launch("figures", **given).failed("exists", "nothing is overwritten")


def test_resizing_knows_the_names_of_a_class_map(launch, data_dir, tmp_path):
    own = open_records(data_dir, "openmoji/sketch", "test")[0]["class_name"]
    (tmp_path / "map.json").write_text(json.dumps({"renamed": {"openmoji": [own]}}))
    given = {"class_map": tmp_path / "map.json", "shown_classes": "renamed", "data_dir": data_dir}
    told = launch("figures", what="resizing", out=tmp_path / "a.png", **given).succeeded()
    assert json.loads(told)["classes"] == ["renamed"]


def test_early_drawings_are_drawn_from_their_result(launch, tmp_path):
    features, labels = np.eye(4, dtype=np.float32), np.arange(4)
    record = early_drawings(
        [features] * 4, labels, features, labels, configuration={"layer": "L7"}, ks=(1,)
    )
    write_result(tmp_path / "early.json", record)
    flags = {"what": "early_drawings", "results": tmp_path / "early.json"}
    launch("figures", out=tmp_path / "early.png", **flags).succeeded()
    assert (tmp_path / "early.png").stat().st_size > 5000


def test_growth_is_drawn_from_what_a_benchmark_kept(launch, tmp_path):
    results, out = tmp_path / "results.json", tmp_path / "growth.png"
    results.write_text(json.dumps(RESULTS))
    launch("figures", what="benchmark", results=results, out=out).succeeded()
    assert out.read_bytes().startswith(b"\x89PNG")
    again = {"what": "benchmark", "results": results, "out": tmp_path / "again.png"}
    nothing = {"search": [], "voting": [], "training": []}
    one_device = [run for run in RESULTS["growth"]["training"] if run["devices"] == 1]
    for growth in ({}, nothing, RESULTS["growth"] | {"training": one_device}):
        results.write_text(json.dumps({"growth": growth, "machine": RESULTS["machine"]}))
        launch("figures", **again).failed("results.json is no result of launch.benchmark", "--json")


@pytest.mark.parametrize("what", ["filters"])
def test_one_picture_and_its_numbers(what, launch, flags, tmp_path):
    out = tmp_path / "picture.png"
    found = json.loads(
        launch("figures", what=what, out=out, checkpoint=flags["checkpoint"]).succeeded()
    )
    assert found["what"] == what and out.read_bytes().startswith(b"\x89PNG")
    assert [set(row) for row in found["rows"]] == [{"share of energy", "after"}] * 2


def test_only_what_is_used_is_opened(launch, flags, tmp_path):
    """Filters need a checkpoint only, views drawings only; neither looks for photos."""
    data_dir = shutil.copytree(flags["data_dir"], tmp_path / "data")
    shutil.rmtree(data_dir / "openmoji" / "photo")
    checkpoint = flags["checkpoint"]
    given = (
        ("filters", {"checkpoint": checkpoint, "data_dir": tmp_path / "none"}),
        ("views", {"data_dir": data_dir}),
        ("views", {"data_dir": data_dir, "checkpoint": checkpoint}),
        ("resizing", {"data_dir": data_dir}),
    )
    for i, (what, own) in enumerate(given):
        out = tmp_path / f"{i}.png"
        found = json.loads(launch("figures", what=what, out=out, **own).succeeded())
        assert found["what"] == what and out.exists()
        assert ("voted" in found) == (what == "views" and "checkpoint" in own)


# What each figure takes of the fixture's flags.
TAKEN = {
    "filters": ("checkpoint", "before"),
    "inversion": ("checkpoint", "data_dir"),
    "retrieval": ("checkpoint", "data_dir"),
    "views": ("checkpoint", "data_dir"),
    "records": ("data_dir",),
    "report": ("checkpoint", "before", "data_dir"),
}


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
        ("inversion", {"inverted_layers": "conv1,conv9"}, ("conv9", "choose", "relu7")),
        ("inversion", {"shown_classes": "unicorn"}, ("'unicorn' is unknown", "choose of")),
        ("retrieval", {"photo_sets": "openmoji/photo:train"}, ("none of 3 sketches has a photo",)),
        ("views", {"sketches": "openmoji/photo"}, ("domain photo", "not sketch or edge")),
        ("report", {"out": "report.png"}, ("report.png must end in .html",)),
        ("filters", {"out": "filters.pdf"}, ("filters.pdf must end in .png",)),
    ],
)
def test_what_is_wrong_is_named(what, changes, words, launch, flags, tmp_path):
    own = {name: flags[name] for name in TAKEN.get(what, ())}
    given = own | {"what": what, "out": tmp_path / "picture.png"} | changes
    given = {name: value for name, value in given.items() if value is not None}
    launch("figures", **given).failed(*words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("what", "changes", "words"),
    [
        ("views", {"sketches": ""}, ("--sketches", "is empty", "omit the flag")),
        ("inversion", {"inverted_layers": ""}, ("--inverted_layers", "is empty")),
        ("views", {"steps": 9}, ("--steps is for --what=inversion, report only", "omit it")),
        ("filters", {"sketches": "x"}, ("--sketches is for --what=", "omit it")),
        ("curves", {"checkpoint": "x"}, ("--checkpoint is for --what=",)),
        ("inversion", {"layers": "conv1"}, ("--layers is now --inverted_layers",)),
        ("views", {"classes": "cat"}, ("--classes is now --shown_classes",)),
    ],
)
def test_wrong_flags_are_named(what, changes, words, launch, flags, tmp_path):
    own = {name: flags[name] for name in TAKEN.get(what, ())}
    given = own | {"what": what, "out": tmp_path / "picture.png"} | changes
    launch("figures", **given).failed(*words, status=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("what", "own", "others"),
    [
        ("curves", {"run_dir"}, {"checkpoint", "data_dir", "steps", "results"}),
        ("filters", {"checkpoint", "before"}, {"photo_sets", "sketches", "seed", "top"}),
        ("retrieval", {"checkpoint", "photo_sets", "top", "layer"}, {"before", "steps", "pairs"}),
        ("report", {"before", "steps", "pairs", "top"}, {"dataset", "run_dir", "results"}),
    ],
)
def test_help_keeps_to_what_is_chosen(what, own, others, launch):
    told = set(re.findall(r"^  --(\w+)", launch("figures", "--help", what=what).out, re.MULTILINE))
    assert own | {"what", "out"} <= told and not others & told


def test_a_class_without_photos_is_named(launch, flags, data_dir, tmp_path):
    name = open_records(data_dir, "openmoji/sketch", "test")[0]["class_name"]
    given = {"shown_classes": name, "photo_sets": "openmoji/photo:train", "out": tmp_path / "a.png"}
    launch("figures", what="activations", **given, **flags).failed(f"class '{name}' has no photo")
