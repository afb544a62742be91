"""launch.reproduce: its tables, on data sets of a few pictures and networks of random values."""

import csv
import io
import json
import os
import re
import shutil

import pytest

from dsf_jax.evaluation.results import read_result
from tests.launch.small_sets import CLASSES, make_run


@pytest.fixture
def runs(all_runs, tmp_path):
    """A copy that takes no space."""
    return shutil.copytree(all_runs, tmp_path / "runs", copy_function=os.link)


@pytest.fixture
def given(prepared, runs):
    return {"data_dir": prepared, "runs": runs, "folds": "0,1"}


def table_of(told):
    """{row: cells}, as printed."""
    lines = [line for line in told.splitlines() if line.startswith("|")][2:]
    cells = ([x.strip() for x in line.strip("|").split("|")] for line in lines)
    return {name: rest for name, *rest in cells}


def results_in(runs):
    return {path: path.stat().st_mtime_ns for path in (runs / "results").glob("*.json")}


def test_table_1(launch, given, runs, tmp_path):
    out = tmp_path / "tables"
    first = launch("reproduce", table="1", out=out, **given)
    assert first.status == 0, first.err
    table = table_of(first.out)
    # Each fold's 4 sketches are right or wrong: the mean of two folds is some eighth.
    for printed, cell in zip(("0.747", "0.773"), table["S"], strict=True):
        paper, value, low, high = re.fullmatch(
            r"(\S+) / (\S+) (?:\[(\S+), (\S+)\]|\(no interval\))", cell
        ).groups()
        assert paper == printed and float(value) * 8 == pytest.approx(round(float(value) * 8))
        assert low is None or float(low) <= float(value) <= float(high)
    assert table["S, bilinear resizing"] == ["0.690 / not run (1)", "0.710 / not run (1)"]
    assert "(1) not run: needs the model S-bilinear/fold1, train it with" in first.out
    command = (
        f"`python -m launch.train --data_dir={given['data_dir']} --init=runs/ported "
        f"--run_dir={runs / 'S+I'} --fold=all --datasets=tu_berlin/sketch,hust_si/photo "
        "--mixture=S+I`"
    )
    assert f"{command}; needs hust_si/photo, get it" in first.out
    assert (out / "table1.md").read_text() == first.out
    rows = list(csv.DictReader(io.StringIO((out / "table1.csv").read_text())))
    assert len(rows) == 12 and {row["paper"] for row in rows} >= {"0.69", "0.768"}
    files = results_in(runs)
    assert len(files) == 2
    for path in files:
        result = read_result(path)
        fold = result.configuration["fold"]
        assert result.configuration["checkpoint"]["name"] == f"S/fold{fold}"
        assert [data["split"] for data in result.configuration["data"]] == [f"fold{fold}"]

    # Again, with one result lost: that one is made, the other is taken.
    kept, lost = files
    lost.unlink()
    launch("reproduce", table="1", out=out, **given).failed(out / "table1.md", "exists")
    assert launch("reproduce", table="1", **given).out == first.out
    assert results_in(runs)[kept] == files[kept] and lost in results_in(runs)


def test_a_run_of_other_values_has_results_of_its_own(launch, given, runs):
    shutil.rmtree(runs / "S-bilinear")
    launch("reproduce", table="1", **given | {"folds": "0"})
    (before,) = results_in(runs)
    shutil.rmtree(runs / "S" / "fold0")
    make_run(runs / "S" / "fold0", 0, seed=9)
    launch("reproduce", table="1", **given | {"folds": "0"})
    (new,) = results_in(runs).keys() - {before}
    checkpoints = [read_result(path).configuration["checkpoint"] for path in (before, new)]
    assert checkpoints[0]["digest"] != checkpoints[1]["digest"]


def test_bilinear_sketches_are_resized_so_when_tested_too(launch, given, runs):
    result = launch("reproduce", table="1", **given | {"folds": "0"})
    assert re.match(r"0.690 / 0.\d+ [\[(]", table_of(result.out)["S, bilinear resizing"][0])
    resizings = {
        read_result(path).configuration["checkpoint"]["resizing"] for path in results_in(runs)
    }
    assert resizings == {"bilinear", "edge_preserving"}
    shutil.rmtree(runs / "S" / "fold0")
    shutil.copytree(runs / "S-bilinear" / "fold0", runs / "S" / "fold0", copy_function=os.link)
    for asked in ({"table": "1"}, {"table": "3"}, {"figure": "4"}):
        launch("reproduce", **asked, **given | {"folds": "0"}).failed(
            "S/fold0 was trained with resizing=bilinear, expected edge_preserving", "move the run"
        )


@pytest.mark.parametrize("split", ["fold0+fold1", "train", "fold0[:50%]+fold1"])
def test_a_model_is_never_tested_on_what_it_was_trained_on(split, launch, given, runs):
    shutil.rmtree(runs / "S" / "fold1")
    make_run(runs / "S" / "fold1", 1, seed=1, trained_on=split)
    result = launch("reproduce", table="1", **given | {"folds": "1"})
    result.failed(
        runs / "S" / "fold1", f"trained on tu_berlin/sketch [{split}]", "train it with --fold=1"
    )


def test_a_model_trained_on_other_files_is_not_tested(launch, given, runs):
    """The folds of a data set that was built anew may be cut otherwise."""
    shutil.rmtree(runs / "S" / "fold1")
    make_run(runs / "S" / "fold1", 1, seed=1, digest="0123456789ab")
    launch("reproduce", table="1", **given | {"folds": "1"}).failed(
        runs / "S" / "fold1", "with the digest 0123456789ab", "train it again"
    )
    (runs / "S" / "fold1" / "config.json").write_text("{}")
    launch("reproduce", table="1", **given | {"folds": "1"}).failed(
        "does not say what the run was trained on", "train it again"
    )


def test_a_model_that_does_not_know_all_classes_is_not_tested(launch, given, runs):
    folder = runs / "S" / "fold1"
    shutil.rmtree(folder)
    make_run(folder, 1, seed=1, classes=CLASSES[1:])
    launch("reproduce", table="1", **given | {"folds": "1"}).failed(
        "S/fold1 does not know 1 of the 2 classes of tu_berlin/sketch", CLASSES[0], "train it"
    )


@pytest.mark.parametrize("chosen", [{"table": "1"}, {"figure": "4"}])
def test_a_class_map_is_not_for_the_papers_tables(chosen, launch, given, tmp_path):
    result = launch("reproduce", class_map=tmp_path / "map.json", **chosen, **given)
    result.failed("--class_map", "for --table=retrieval only; omit", status=2)


def test_a_run_that_is_not_finished_is_not_tested(launch, given, runs):
    config = runs / "S" / "fold1" / "config.json"
    content = json.loads(config.read_text()) | {"steps": 5}
    config.unlink()  # a link to what other tests read
    config.write_text(json.dumps(content))
    told = launch("reproduce", table="1", **given)
    assert table_of(told.succeeded())["S"][0].startswith("0.747 / not run (")
    assert "needs the model S/fold1 (at step 0 of 5), train it with: `python -m" in told.out


def test_table_2_runs_baselines_on_the_same_sketches(launch, given, runs):
    told = launch("reproduce", table="2", **given)
    assert told.status == 0, told.err
    table = table_of(told.out)
    assert table["MKL"] == ["0.658 / not run (1)"]
    assert table["Sketch-a-Net"] == ["0.749 / not run (2)"]
    assert "--init=random --backbone=sketch_a_net " in told.out and "Sketch-a-Net/fold1" in told.out
    assert re.match(r"0.689 / [01].\d+ [\[(]", table["SIFT + Fisher"][0])
    assert re.match(r"0.773 / 0.\d+ [\[(]", table["S, 18-angle voting"][0])
    # Balls and boxes in other places: HOG tells them apart.
    assert table["HOG + linear classifier"] == ["– / 1.000 (no interval)"]
    assert re.match(r"– / [01].\d+ [\[(]", table["raw pixels + linear classifier"][0])
    assert (
        "needs the pretrained network: name what launch.port_weights wrote with --pretr" in told.out
    )
    assert len(results_in(runs)) == 2 + 2 * 3


def test_table_3(launch, given, runs):
    told = launch("reproduce", table="3", pretrained=runs / "S" / "fold0", **given).succeeded()
    table = table_of(told)
    assert all(re.match(r"0.2\d{3} / -?[01].\d{4} [\[(]", cell) for cell in table["S"])
    assert table["S+I+E"][2].startswith("0.4773 / not run (")
    assert table["content-aware"][2].startswith("0.3520 / not run (")
    for baseline in ("HOG", "raw pixels", "SIFT + Fisher", "pool5, not fine-tuned"):
        assert re.match(r"– / -?[01].\d{4} [\[(]", table[baseline][2])
    assert len(results_in(runs)) == 2 * 3 + 4
    assert not any((runs / "results" / "progress").iterdir())


def test_figure_4(launch, given, runs, tmp_path):
    out = tmp_path / "tables"
    told = launch("reproduce", figure="4", out=out, **given).succeeded()
    assert (out / "figure4.md").read_text() == told
    header = next(line for line in told.splitlines() if line.startswith("| |"))
    assert header.count("negatives") == 8
    table = table_of(told)
    assert table["the paper, L6+L7"] == ["–", "–", "–", "0.760 / –", "–", "–", "–", "0.900 / –"]
    assert table["S"][0] == table["S"][4] == "– / 1.000 (no interval)"
    assert table["S"][1].startswith("– / no value (")  # there are no 1000 negatives
    assert "- Data: pascal_voc_sbir/photo [" in told and "Options: K 150, seed 0" in told
    assert (out / "figure4.png").read_bytes().startswith(b"\x89PNG")
    assert re.match(r"– / [01].\d{3} [\[(]", table["HOG"][0])
    assert table["pool5, not fine-tuned"][0].startswith("– / not run (")
    results = [read_result(path) for path in results_in(runs)]
    assert [result.counts["gallery"] for result in results] == [6] * 5  # all three splits


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"table": "1"}, ("tu_berlin/sketch, get it as data_builders/tu_berlin/README.md says",)),
        ({"table": "2"}, ("S, 18-angle voting | 0.773 / not run (", "data_builders/tu_berlin")),
        (
            {"table": "3"},
            (
                "eitz_sbir/photo, get it as data_builders/eitz_sbir/README.md says",
                "| 0.4773 / not run (",
            ),
        ),
        (
            {"figure": "4"},
            (
                "pascal_voc_sbir/photo, get it as data_builders/pascal_voc_sbir/README.md says",
                "0.900 / –",
            ),
        ),
    ],
)
def test_what_is_missing_is_named_with_the_way_to_it(flags, words, launch, tmp_path):
    told = launch(
        "reproduce", data_dir=tmp_path / "none", runs=tmp_path / "runs", **flags
    ).succeeded()
    assert all(word in told for word in words), told
    assert "needs the model S/fold0, S/fold1, S/fold2, train it with" in told
    for row in told.splitlines():
        assert row.count("needs tu_berlin/sketch") <= 1, "each thing that is missing is said once"
    assert not (tmp_path / "runs").exists()


def test_wrong_names_in_tables(launch, given):
    launch("reproduce", table="1", sketches="a/sketch,b/sketch", **given).failed("take one each")
    launch("reproduce", table="1", sketches="tu_berlin/sketch:fold0", **given).failed(
        "names a split", "omit it"
    )
    del given["folds"]
    launch("reproduce", table="retrieval", checkpoints="runs/S", **given).failed(
        "--checkpoints=runs/S", "NAME=FOLDER"
    )


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"table": "1", "figure": "4"}, ("ask for one",)),
        (
            {"table": "1", "checkpoints": "S=runs/x"},
            ("--checkpoints is for --table=retrieval only",),
        ),
        ({"figure": "4", "checkpoints": "S=runs/x"}, ("--table=retrieval only",)),
        ({"figure": "4", "split": "nonsense"}, ("--split", "--table=retrieval only", "omit")),
        (
            {"table": "1", "pretrained": "none"},
            ("--pretrained is for --table=2, 3, retrieval only",),
        ),
        ({"table": "4"}, ("--table=4", "1|2|3|retrieval")),
        ({"table": "1", "folds": "0,0"}, ("--folds", "each once")),
        ({"table": "1", "folds": "a"}, ("--folds", "must be numbers")),
    ],
)
def test_flags_that_do_not_go_together(flags, words, launch):
    result = launch("reproduce", **flags)
    assert result.status == 2 and all(word in result.err for word in words), result.err


def test_a_table_of_checkpoints_and_baselines(launch, data_dir, run, port, tmp_path):
    flags = {"table": "retrieval", "data_dir": data_dir, "runs": tmp_path}
    told = launch("reproduce", checkpoints=f"trained={run[1]}", **flags).succeeded()
    rows = (line.strip("| ").split(" | ") for line in told.splitlines() if line.startswith("| "))
    table = {name: cells for name, *cells in rows if name not in ("", "|")}
    names = [
        "HOG",
        "raw pixels",
        "SIFT + Fisher",
        "pool5, not fine-tuned",
        "trained L6",
        "trained L7",
        "trained L6+L7",
    ]
    assert [name for name in table if name in names] == names
    for name in names:
        if name.startswith("pool5"):
            assert table[name] == ["not run (2)", "not run (2)"]
        else:
            # Three pictures are too few for P@10.
            assert re.match(r"[01].\d+ [\[(]", table[name][0]) and table[name][1] == "no value (1)"
    assert "(2) not run: needs the pretrained network" in told and "--pretrained" in told
    again = launch("reproduce", pretrained=port[1], **flags).succeeded()
    (hog,) = (line for line in told.splitlines() if line.startswith("| HOG"))
    assert hog in again
    assert re.search(r"^\| pool5, not fine-tuned \| [01].\d+ [\[(]", again, re.MULTILINE)
