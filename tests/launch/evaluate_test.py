"""launch.evaluate: its numbers, and its errors."""

import json
import os
import shutil

import pytest

from dsf_jax.training import checkpoints


@pytest.fixture
def given(data_dir, run):
    return {"data_dir": data_dir, "checkpoint": run[1]}


def test_retrieval_of_unseen_emoji(launch, given, tmp_path):
    out = tmp_path / "scores.json"
    results = json.loads(launch("evaluate", what="retrieval", json=out, **given).succeeded())
    assert json.loads(out.read_text()) == results
    assert [result["layer"] for result in results] == ["L6", "L7", "L6+L7"]
    for result in results:
        assert result["queries"] == result["gallery"] == 3
        assert result["queries_without_relevant"] == 0
        # One relevant picture a query, at rank 1, 2 or 3.
        assert 1 / 3 <= result["metrics"]["mAP"] <= 1
        assert result["metrics"]["recall@1"] <= result["metrics"]["mAP"]
        assert result["metrics"]["recall@1"] * 3 == pytest.approx(
            round(result["metrics"]["recall@1"] * 3)
        )


def test_recognition_of_trained_emoji(launch, given):
    told = launch("evaluate", what="recognition", split="train", **given)
    assert told.status == 0 and told.lines[0] == "5 classes" and len(told.lines) == 2
    (result,) = json.loads(told.out)  # nothing else is on standard output
    assert result["examples"] == result["classes"] == 5
    for kind in ("single_angle", "voting"):
        assert result[kind] * 5 == pytest.approx(round(result[kind] * 5))


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
        ({"photos": "openmoji/sketch"}, ("--photos=openmoji/sketch", "sketch, not photo")),
        ({"sketches": "openmoji/photo"}, ("--sketches=openmoji/photo", "photo, not sketch")),
        ({"json": "/nowhere/scores.json"}, ("/nowhere is not a folder", "make it")),
    ],
)
def test_what_is_wrong_is_named(changes, words, launch, given):
    launch("evaluate", **(given | changes)).failed(*words)


def test_a_file_of_results_is_never_overwritten(launch, given, tmp_path):
    out = tmp_path / "scores.json"
    out.write_text("mine")
    launch("evaluate", json=out, **given).failed(out, "exists", "choose another")
    assert out.read_text() == "mine"


def test_damaged_records_are_named(launch, given, data_dir, tmp_path):
    copy = shutil.copytree(data_dir, tmp_path / "data")
    (records,) = (copy / "openmoji" / "sketch").glob("*/*test.array_record*")
    records.write_bytes(records.read_bytes()[:500])
    result = launch("evaluate", **(given | {"data_dir": copy}))
    result.failed(records.parent, "build the data set again")


def file_of(step, item):
    """The largest file of an item: of the parameters, the one with fc6."""
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
