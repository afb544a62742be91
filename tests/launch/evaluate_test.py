"""launch.evaluate: its numbers, and its errors."""

import json
import os
import re
import shutil
import signal

import pytest

from dsf_jax.data.records import open_records
from dsf_jax.evaluation.results import read_result
from dsf_jax.training import checkpoints
from tests.launch.scripts import wait_for


@pytest.fixture(scope="module")
def evaluated(run, tmp_path_factory):
    """A copy of the run: what is measured of a checkpoint is written beside it."""
    return shutil.copytree(run[1], tmp_path_factory.mktemp("evaluated") / "run")


@pytest.fixture
def given(data_dir, evaluated):
    return {"data_dir": data_dir, "checkpoint": evaluated}


def test_retrieval_of_unseen_emoji(launch, given, tmp_path):
    out = tmp_path / "scores"
    results = json.loads(
        launch("evaluate", what="retrieval", out=out, json=True, **given).succeeded()
    )
    assert sorted(map(read_result, out.glob("*.json")), key=layer_of) == sorted(
        map(read_result, written(results, tmp_path)), key=layer_of
    )
    assert [result["configuration"]["layer"] for result in results] == ["L6", "L7", "L6+L7"]
    for result in results:
        assert result["counts"]["queries"] == result["counts"]["gallery"] == 3
        assert result["counts"]["queries_without_relevant"] == 0
        numbers = {name: measure["value"] for name, measure in result["numbers"].items()}
        # One relevant picture a query, at rank 1, 2 or 3.
        assert 1 / 3 <= numbers["mAP"] <= 1
        assert numbers["recall@1"] <= numbers["mAP"]
        assert numbers["recall@1"] * 3 == pytest.approx(round(numbers["recall@1"] * 3))


def test_a_small_table_is_printed(launch, given, tmp_path):
    table = launch("evaluate", what="retrieval", out=tmp_path / "scores", **given).succeeded()
    assert len(table.splitlines()) < 20 and "{" not in table
    assert re.search(r"^ +L6 +L7 +L6\+L7$", table, re.MULTILINE)
    assert re.search(r"^mAP +[01]\.\d{3} \[", table, re.MULTILINE)
    assert "queries 3" in table and "gallery 3" in table and "95 % bootstrap" in table
    assert len(list((tmp_path / "scores").glob("*.json"))) == 3
    table = launch("evaluate", what="recognition", split="train", **given)
    assert table.status == 0 and "accuracy/voting" in table.out and "per_class" not in table.out


def test_a_new_feature_to_search_by_is_said_once(launch, given, run, tmp_path):
    """The first comparison on held-out data decides it, and so what later searches find."""
    checkpoint = shutil.copytree(run[1], tmp_path / "run")
    before = checkpoints.load_model(checkpoint).default_feature
    first, again = (launch("evaluate", **(given | {"checkpoint": checkpoint})) for _ in range(2))
    now = checkpoints.load_model(checkpoint).default_feature
    assert now != before  # as it happens
    (note,) = [note for note in first.notes if "searched by" in note]
    assert f"searched by {now} from now on" in note and f"no longer by {before};" in note
    assert not any("searched by" in note for note in again.notes)


def test_k_is_chosen(launch, given, tmp_path):
    """mAP@K comes with its denominator; results of other K are other results."""
    out = tmp_path / "scores"
    table = launch("evaluate", at="1,3", out=out, **given).succeeded()
    for name in ("P@3", "recall@3", "NDCG@3", "bounded mAP@3", "bounded mAP@3 (retrieved)"):
        assert re.search(rf"^{re.escape(name)}  ", table, re.MULTILINE), name
    assert "P@10" not in table and "divided by min(K, all relevant)" in table
    (result, *_) = json.loads(launch("evaluate", at="2", out=out, json=True, **given).succeeded())
    assert result["configuration"]["ks"] == [2] and "bounded mAP@2" in result["numbers"]
    assert len(list(out.glob("*.json"))) == 6
    launch("evaluate", at="1,200", **given).failed("K = 200", "3 photos", "at most 3")


def test_sketches_are_shown_by_several_views(launch, given, run, tmp_path):
    """Another result than by one, and not what a checkpoint's card says."""
    checkpoint = shutil.copytree(run[1], tmp_path / "run")
    before = checkpoints.load_model(checkpoint).card
    asked = given | {"checkpoint": checkpoint, "out": tmp_path / "scores"}
    table = launch("evaluate", query_views="mirrored", **asked).succeeded()
    assert "views of each sketch: mirrored" in table.splitlines()
    results = [read_result(path) for path in asked["out"].glob("*.json")]
    assert [result.configuration["query_views"] for result in results] == ["mirrored"] * 3
    assert checkpoints.load_model(checkpoint).card == before
    two = launch("evaluate", query_views="two", **asked)
    two.failed("--query_views=two", "one|mirrored|all", status=2)


def test_edge_maps_as_queries_are_not_what_a_card_says(launch, given, run, tmp_path):
    checkpoint = shutil.copytree(run[1], tmp_path / "run")
    before = checkpoints.load_model(checkpoint).card
    for sketches in ("openmoji/edge", "openmoji/sketch,openmoji/edge"):
        launch("evaluate", sketches=sketches, **given | {"checkpoint": checkpoint}).succeeded()
    assert checkpoints.load_model(checkpoint).card == before
    launch("evaluate", **given | {"checkpoint": checkpoint}).succeeded()
    assert checkpoints.load_model(checkpoint).card != before


@pytest.mark.parametrize("at", ["0", "", "ten", "1,1", "1.5", "-3"])
def test_a_k_that_is_none(at, launch, given):
    launch("evaluate", at=at, **given).failed("--at", "whole numbers", status=2)


def layer_of(record):
    return record.configuration["layer"]


def written(results, folder):
    """Files of what was printed."""
    for i, result in enumerate(results):
        path = folder / f"printed{i}.json"
        path.write_text(json.dumps(result))
        yield path


def test_results_are_made_once(launch, given, tmp_path):
    out = tmp_path / "scores"
    first = launch("evaluate", what="recognition", split="train", out=out, **given)
    (file,) = out.glob("*.json")
    before = file.stat().st_mtime_ns
    again = launch("evaluate", what="recognition", split="train", out=out, **given)
    assert again.succeeded() == first.out and again.err == ""  # no bar: nothing was computed
    assert file.stat().st_mtime_ns == before
    assert not any((out / "progress").iterdir())
    # Another split is another result, beside the first.
    launch("evaluate", what="retrieval", split="train", out=out, **given).succeeded()
    assert len(list(out.glob("*.json"))) == 4 and file.stat().st_mtime_ns == before


def test_a_killed_evaluation_goes_on_where_it_was(launch, given, tmp_path):
    out = tmp_path / "scores"
    process = launch.start("evaluate", what="retrieval", split="train", out=out, **given)
    # Sketches are done when the photos' folder comes.
    wait_for(lambda: list(out.glob("progress/*/photos")))
    os.kill(process, signal.SIGKILL)
    launch.wait()
    assert not list(out.glob("*.json"))
    (sketches,) = out.glob("progress/*/sketches/L7.npy")
    before = sketches.stat().st_mtime_ns
    link = tmp_path / "L7.npy"
    os.link(sketches, link)
    result = launch("evaluate", what="retrieval", split="train", out=out, json=True, **given)
    assert len(json.loads(result.succeeded())) == 3
    assert "sketches:" not in result.err and link.stat().st_mtime_ns == before
    assert not any((out / "progress").iterdir())


def test_recognition_of_trained_emoji(launch, given):
    told = launch("evaluate", what="recognition", split="train", json=True, **given)
    assert told.status == 0 and told.lines[0] == "5 classes" and len(told.lines) == 2
    (result,) = json.loads(told.out)  # nothing else is on standard output
    assert result["counts"] == {"examples": 5, "classes": 5}
    for kind in ("single_angle", "voting"):
        value = result["numbers"][f"accuracy/{kind}"]["value"]
        assert value * 5 == pytest.approx(round(value * 5))


def test_splits_and_synonyms(launch, given, tmp_path):
    """A class map joins classes of other names; a split stands behind the set's name."""
    names = ("openmoji/sketch", "openmoji/photo")
    sketches, photos = (open_records(given["data_dir"], name, "train") for name in names)
    one, other = sketches[0]["class_name"], sketches[1]["class_name"]
    class_map = tmp_path / "map.json"
    class_map.write_text(json.dumps({one: {"openmoji": [one, other]}}))
    whole = given | {"sketches": "openmoji/sketch:train", "photo_sets": "openmoji/photo:train"}
    plain, mapped = (
        json.loads(launch("evaluate", what="retrieval", json=True, **whole, **more).succeeded())[0]
        for more in ({}, {"class_map": class_map})
    )
    assert plain["counts"]["classes"] == 5 and mapped["counts"]["classes"] == 4
    assert mapped["configuration"]["class_map"] and not plain["configuration"]["class_map"]
    splits = {d["split"] for sets in plain["configuration"]["data"].values() for d in sets}
    assert splits == {"train"}
    assert len(photos) == 5


def test_several_galleries(launch, given):
    photos = "openmoji/photo:train,openmoji/photo:test"
    (result, *_) = json.loads(launch("evaluate", photo_sets=photos, json=True, **given).succeeded())
    assert result["counts"]["gallery"] == 8 and result["counts"]["queries"] == 3


def test_classes_that_the_data_does_not_show(launch, given):
    result = launch("evaluate", what="recognition", split="test", **given)
    result.failed("openmoji/sketch [test]", "5 classes", "choose data sets and classes that match")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"checkpoint": "/nowhere"}, ("/nowhere does not exist", "launch.train")),
        ({"data_dir": "/nowhere"}, ("/nowhere", "launch.build_data")),
        ({"split": "val"}, ("no split 'val'", "train, test")),
        ({"sketches": "tu_berlin/sketch"}, ("'tu_berlin/sketch'", "openmoji/sketch")),
        ({"photo_sets": "openmoji/sketch"}, ("openmoji/sketch is", "sketch, not photo")),
        ({"sketches": "openmoji/photo"}, ("openmoji/photo is", "photo, not sketch")),
        ({"class_map": "/nowhere.json"}, ("/nowhere.json", "No such file")),
    ],
)
def test_what_is_wrong_is_named(changes, words, launch, given):
    launch("evaluate", **(given | changes)).failed(*words)


def test_a_file_where_the_results_should_be(launch, given, tmp_path):
    out = tmp_path / "scores"
    out.write_text("mine")
    launch("evaluate", out=out, **given).failed(out, "a file lies where a folder must be")
    assert out.read_text() == "mine"


def test_results_that_were_moved_are_not_taken_for_others(launch, given, tmp_path):
    out = tmp_path / "scores"
    launch("evaluate", out=out, **given).succeeded()
    first, second, _ = sorted(out.glob("*.json"))
    first.write_bytes(second.read_bytes())
    launch("evaluate", out=out, **given).failed(first, "result of another layer", "move it")


def test_damaged_records_are_named(launch, given, data_dir, tmp_path):
    copy = shutil.copytree(data_dir, tmp_path / "data")
    (records,) = (copy / "openmoji" / "sketch").glob("*/*test.array_record*")
    records.write_bytes(records.read_bytes()[:500])
    result = launch("evaluate", **(given | {"data_dir": copy}))
    result.failed(records.parent, "build the data set again")


def file_of(step, item):
    """The largest file of an item: of the parameters, one with layers' values."""
    files = (path for path in (step / item).rglob("*") if path.is_file())
    return max(files, key=lambda path: path.stat().st_size)


@pytest.mark.parametrize(
    ("item", "content"), [("params", "half"), ("params", None), ("model", "half")]
)
def test_a_damaged_checkpoint_is_named(item, content, launch, given, run, tmp_path):
    folder = shutil.copytree(run[1], tmp_path / "run", copy_function=os.link)
    step = folder / checkpoints.FOLDER / "4"
    damaged = file_of(step, item)
    whole = damaged.read_bytes()
    damaged.unlink()  # the linked original stays as it is
    if content == "half":
        damaged.write_bytes(whole[: len(whole) // 2])
    result = launch("evaluate", **(given | {"checkpoint": folder}))
    result.failed(step, "cannot be read", "make it again")
