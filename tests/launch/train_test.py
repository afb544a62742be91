"""launch.train: it ends with a checkpoint, or with one line and the checkpoints that there were."""

import errno
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
from typing import NamedTuple

import jax
import numpy as np
import pytest

from data_builders.prepare import prepare
from data_builders.tu_berlin.tu_berlin_dataset_builder import Builder, Options
from dsf_jax.images.resize import BINARY_PEN
from dsf_jax.models.alexnet import CAFFE
from dsf_jax.models.model import Model, ModelConfig, init_model
from dsf_jax.training import checkpoints, start
from dsf_jax.training.checkpoints import load_model, save_model
from dsf_jax.training.config import TrainConfig
from dsf_jax.training.metrics_log import read_metrics
from dsf_jax.training.run_directory import read_config
from tests import backbones  # noqa: F401  # registers them
from tests.data_builders.drawn import drawing, write_tree
from tests.launch.scripts import ALL, Result, wait_for

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tiny_training(data_dir):
    """Flags of a run of four steps of a network that takes no time to load and save."""
    return {
        "data_dir": data_dir, "init": "random", "backbone": "tiny", "datasets": ALL,
        "train_layers": "last", "cached_views": 1, "batch_size": 4, "epochs": 1,
    }  # fmt: skip


@pytest.fixture(scope="module")
def tiny_run(launch, tiny_training, tmp_path_factory):
    """The result of that run, and its folder."""
    run_dir = tmp_path_factory.mktemp("tiny_run") / "run"
    return launch("train", run_dir=run_dir, **tiny_training), run_dir


def steps_in(run_dir):
    folder = run_dir / checkpoints.FOLDER
    return sorted(int(p.name) for p in folder.iterdir()) if folder.exists() else []


def linked_copy(folder, to):
    """A copy that takes no space; what is to change in it must be replaced, not written to."""
    return shutil.copytree(folder, to, copy_function=os.link)


def test_a_run(run):
    result, run_dir = run
    told = result.succeeded()
    assert re.search(r"^5 classes$", told, re.MULTILINE)
    for domain in ("sketch", "photo", "edge"):
        assert re.search(rf"^ *{domain}: 5 from openmoji/{domain}\b", told, re.MULTILINE)
    # 15 examples, 4 a batch.
    assert f"step 4: trained, saved in {run_dir}" in told
    assert steps_in(run_dir) == [4] and read_metrics(run_dir)[-1]["step"] == 4
    model = load_model(run_dir)
    assert len(model.class_names) == 5 and model.params["fc8"]["kernel"].shape == (32, 5)
    assert model.config.fresh_layers == ("fc6", "fc7")  # fc8 is trained now


@pytest.mark.parametrize(
    ("fresh", "changes", "named"),
    [
        (("fc6", "fc7", "fc8"), {}, "fc6, fc7, fc8 start"),
        (("fc7", "fc8"), {"train_layers": "fc"}, "fc7, fc8 start"),
        (("fc6", "fc7", "fc8"), {"warmup": 1}, None),
        (("fc6", "fc7", "fc8"), {"train_layers": "last"}, None),
        (("fc8",), {}, None),
    ],
)
def test_a_rough_start_is_foretold(fresh, changes, named):
    config = ModelConfig(CAFFE.name, ("a", "b"), CAFFE.size, fresh)
    hint = start.rough_start(TrainConfig(**changes), Model({}, config))
    assert hint is None if named is None else hint.startswith(named) and "--warmup=1" in hint


def test_the_pen_is_kept_and_another_one_is_another_run(launch, tiny_training, tmp_path):
    run_dir = tmp_path / "run"
    given = tiny_training | {"run_dir": run_dir, "steps": 1, "bend": 0.01}
    launch("train", **given, pen="binary").succeeded()
    assert read_config(run_dir)["model"]["pen"] == BINARY_PEN
    launch("train", **given | {"steps": 2}, pen=2).failed("pen is 0.0 there and 2.0 now")
    launch("train", **given | {"steps": 2, "bend": 0.02}, pen="binary").failed("bend is 0.01 there")


def test_running_again_changes_nothing(launch, tiny_run, tiny_training):
    _, run_dir = tiny_run
    before = (run_dir / "metrics.jsonl").read_bytes()
    assert "step 4: trained" in launch("train", run_dir=run_dir, **tiny_training).succeeded()
    assert (run_dir / "metrics.jsonl").read_bytes() == before and steps_in(run_dir) == [4]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"datasets": "openmoji/sketchh"}, ("'openmoji/sketchh'", "openmoji/sketch", "; name one of these, or build it with")),
        (
            {"datasets": "openmoji/sketch"},
            ("S+I+E needs the domain photo and edge", "openmoji/sketch (sketch)"),
        ),
        ({"split": "val"}, ("no split 'val'", "train, test")),
        ({"data_dir": "/nowhere"}, ("/nowhere", "no such folder", "launch.build_data")),
        ({"init": "/nowhere"}, ("/nowhere does not exist", "launch.port_weights")),
        ({"epochs": 0}, ("epochs=0",)),
        ({"dropout_rate": 1}, ("dropout_rate=1.0",)),
        ({"train_layers": "none"}, ("train_layers='none' is unknown", "all, fc, last")),
        ({"train_layers": "all"}, ("cached_views=1 needs frozen layers", "such as fc or head")),
        ({"repeat": "/nowhere"}, ("/nowhere/config.json is not there", "name the folder of a run")),
        ({"held_out": "openmoji/sketch:val"}, ("no split 'val'", "train, test")),
        ({"held_out": "openmoji/sketch:test"}, ("none of the examples", "choose data sets")),
        ({"fold": "0"}, ("none of openmoji/sketch", "is cut into folds", "; train without")),
        ({"fold": "0", "held_out": "openmoji/sketch:test"}, ("--fold holds its own fold out",)),
        ({"pen": "thick"}, ("--pen=thick is neither a width in pixels nor binary", "give one")),
        ({"pen": 9}, ("pen=9.0 must lie between 0.0 (binary) and 4.0 pixels", "choose another")),
        ({"pen": 1, "pen_spread": 1}, ("give widths from 0.0 to 2.0, expected above 0", "lower")),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_and_nothing_written(
    changes, words, launch, tiny_training, tmp_path
):
    run_dir = tmp_path / "run"
    result = launch("train", run_dir=run_dir, **(tiny_training | changes))
    # Impossible configurations tell the bounds, which are the remedy.
    line = result.err if "epochs" in changes or "dropout_rate" in changes else result.failed(*words)
    assert result.status == 1 and result.lines == [line.strip()]
    assert all(word in line for word in words)
    assert not run_dir.exists()


@pytest.mark.parametrize("missing", ["datasets", "init"])
def test_data_and_a_start_must_be_given(missing, launch, tiny_training, tmp_path):
    given = {name: value for name, value in tiny_training.items() if name != missing}
    line = launch("train", run_dir=tmp_path / "run", **given).failed("--help", status=2)
    assert "--run_dir must be given, and --datasets and --init, unless --repeat is" in line
    assert not (tmp_path / "run").exists()


def test_a_folder_without_checkpoint(launch, tiny_training, tmp_path):
    result = launch("train", run_dir=tmp_path / "run", **(tiny_training | {"init": tmp_path}))
    result.failed(f"{tmp_path} holds no checkpoint", "launch.port_weights")
    assert not (tmp_path / "run").exists()


def test_a_file_where_the_run_should_be(launch, tiny_training, tmp_path):
    (tmp_path / "run").write_text("mine")
    result = launch("train", run_dir=tmp_path / "run", **tiny_training)
    result.failed(tmp_path / "run", "a file lies where a folder must be")
    assert (tmp_path / "run").read_text() == "mine"


def test_a_run_of_another_configuration_is_left_alone(launch, tiny_run, tiny_training):
    _, run_dir = tiny_run
    before = json.loads((run_dir / "config.json").read_text())
    result = launch("train", run_dir=run_dir, **(tiny_training | {"seed": 3, "momentum": 0.5}))
    result.failed(
        run_dir, "seed is 0 there and 3 now", "momentum is 0.9 there and 0.5 now", "choose another"
    )
    assert json.loads((run_dir / "config.json").read_text()) == before
    assert steps_in(run_dir) == [4]


def test_a_damaged_checkpoint_is_named(launch, tiny_run, tiny_training, tmp_path):
    run_dir = linked_copy(tiny_run[1], tmp_path / "run")
    damaged = run_dir / checkpoints.FOLDER / "4" / "opt_state" / "manifest.ocdbt"
    damaged.unlink()
    damaged.write_bytes(b"")
    result = launch("train", run_dir=run_dir, **tiny_training)
    result.failed(run_dir / checkpoints.FOLDER / "4", "cannot be read", "remove it")


def test_sigterm_saves_and_the_same_command_goes_on(launch, tiny_training, tmp_path):
    run_dir = tmp_path / "run"
    given = tiny_training | {"epochs": 75, "log_every": 1, "run_dir": run_dir}  # 300 steps
    process = launch.start("train", **given)
    metrics = run_dir / "metrics.jsonl"
    wait_for(lambda: metrics.exists() and metrics.read_text().count("\n") >= 2)
    os.kill(process, signal.SIGTERM)
    told = launch.wait().succeeded()
    (stopped,) = steps_in(run_dir)
    assert 2 <= stopped < 300
    assert f"step {stopped}: stopped by a signal; run the same command to go on" in told
    assert "step 300: trained" in launch("train", **given).succeeded()
    assert [line["step"] for line in read_metrics(run_dir)] == list(range(1, 301))


def test_a_disk_that_fills_up_keeps_the_earlier_checkpoint(launch, training, tmp_path, small_disk):
    large = ModelConfig("caffe", ("one", "two"), 67, ("fc6", "fc7", "fc8"))
    save_model(tmp_path / "large", init_model(large, seed=0))
    disk = small_disk(120)  # one checkpoint takes 76 MiB
    given = training | {"init": tmp_path / "large", "run_dir": disk / "run", "save_every": 2}
    line = launch("train", **given).failed(disk / "run" / "checkpoints", "free some")
    assert re.search(r"takes up to \d+ MiB, and \d\d MiB are free", line)
    assert steps_in(disk / "run") == [2]
    subprocess.run(["mount", "-o", "remount,size=400m", disk], check=True)
    assert "step 4: trained" in launch("train", **given).succeeded()
    assert steps_in(disk / "run") == [2, 4]


def test_a_save_that_fails_half_way_leaves_nothing(tmp_path):
    """When the disk fills up between the check and the write, orbax's storage says so."""
    folder = tmp_path / "checkpoints"
    with pytest.raises(OSError, match="No space left") as caught, checkpoints.manager(folder):
        (folder / "3.orbax-checkpoint-tmp").mkdir()
        raise ValueError("RESOURCE_EXHAUSTED: Failed to write: No space left on device [28]")
    assert caught.value.errno == errno.ENOSPC and caught.value.filename == str(folder)
    assert not folder.exists()


@pytest.fixture(scope="module")
def sketches(tmp_path_factory):
    """Flags of a run on two classes of three sketches each, one in each fold: 300 steps of fc8 of
    a network that takes no time.
    """
    data_dir, source = (tmp_path_factory.mktemp(name) for name in ("folds", "drawn"))
    rows = {"high": (4, 6, 8), "low": (30, 32, 34)}
    files = {f"{name}/{row}.png": drawing(row) for name in rows for row in rows[name]}
    builder = Builder(
        config="sketch", data_dir=data_dir, source=write_tree(source, files), options=Options(),
        on_error="raise", processes=1,
    )  # fmt: skip
    prepare(builder)
    return {
        "data_dir": data_dir, "init": "random", "backbone": "tiny", "datasets": "tu_berlin/sketch",
        "mixture": "S", "train_layers": "last", "cached_views": 1, "batch_size": 2, "epochs": 150,
        "log_every": 1, "save_every": 300,
    }  # fmt: skip


FOLDS = ("fold0", "fold1", "fold2")


class ByFolds(NamedTuple):
    """Three folds, stopped once and gone on."""

    run_dir: pathlib.Path
    stopped: Result
    stopped_at: dict[str, list[int]]  # checkpoints by fold
    summary_then: bool
    finished: Result


@pytest.fixture(scope="module")
def by_folds(launch, sketches, tmp_path_factory):
    """SIGTERM comes in the middle of fold 1; then the same command once more."""
    run_dir = tmp_path_factory.mktemp("by_folds") / "run"
    given = sketches | {"run_dir": run_dir, "fold": "all"}
    process = launch.start("train", **given)
    metrics = run_dir / "fold1" / "metrics.jsonl"
    wait_for(lambda: metrics.exists() and metrics.read_text().count("\n") >= 2, seconds=500)
    os.kill(process, signal.SIGTERM)
    stopped = launch.wait()
    at = {fold: steps_in(run_dir / fold) for fold in FOLDS}
    summary_then = (run_dir / "folds.json").exists()
    return ByFolds(run_dir, stopped, at, summary_then, launch("train", **given))


def held_out_lines(run_dir):
    return [line for line in read_metrics(run_dir) if "held_out_accuracy" in line]


def test_sigterm_in_the_middle_of_a_fold_ends_them_all_for_now(by_folds):
    told = by_folds.stopped.succeeded()
    (step,) = by_folds.stopped_at["fold1"]
    assert 2 <= step < 300 and f"step {step}: stopped by a signal; run the same command" in told
    assert by_folds.stopped_at["fold0"] == [300] and by_folds.stopped_at["fold2"] == []
    assert "fold 1 of 3 is held out" in told and "fold 2 of 3" not in told
    assert not by_folds.summary_then


def test_all_folds_and_their_summary(by_folds):
    told = by_folds.finished.succeeded()
    for number, fold in enumerate(FOLDS):
        run_dir = by_folds.run_dir / fold
        assert f"fold {number} of 3 is held out" in told
        assert steps_in(run_dir)[-1] == 300
        assert [x["step"] for x in read_metrics(run_dir) if "loss" in x] == list(range(1, 301))
        (line,) = held_out_lines(run_dir)
        assert line["step"] == 300 and line["held_out_accuracy"] in (0.0, 0.5, 1.0)
        config = read_config(run_dir)
        rest = "+".join(other for other in FOLDS if other != fold)
        (source,) = config["start"]["data"]
        assert source.startswith(f"sketch: 4 from tu_berlin/sketch [{rest}]"), source
        assert config["command"]["flags"]["fold"] == str(number)
    accuracies = [held_out_lines(by_folds.run_dir / f)[0]["held_out_accuracy"] for f in FOLDS]
    summary = json.loads((by_folds.run_dir / "folds.json").read_text())
    assert list(summary["held_out_accuracy"].values()) == accuracies
    assert summary["mean"] == pytest.approx(np.mean(accuracies))
    assert summary["standard deviation"] == pytest.approx(np.std(accuracies, ddof=1))
    assert f"single angle over 3 folds: {np.mean(accuracies):.4f}" in told


def test_folds_run_again_are_finished_at_once(by_folds, launch, sketches, tmp_path):
    """What they scored is read, here numbers that tell the folds apart, and summed up again."""
    run_dir = linked_copy(by_folds.run_dir, tmp_path / "run")
    written = {}
    for fold, accuracy in zip(FOLDS, (1.0, 0.25, 0.5), strict=True):
        path = run_dir / fold / "metrics.jsonl"
        lines = [x | {"held_out_accuracy": accuracy} for x in held_out_lines(run_dir / fold)]
        path.unlink()
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        written[path] = path.read_bytes()
    told = launch("train", run_dir=run_dir, fold="all", **sketches).succeeded()
    assert told.count("step 300: trained") == 3
    assert all(path.read_bytes() == content for path, content in written.items())
    summary = json.loads((run_dir / "folds.json").read_text())
    assert summary["held_out_accuracy"] == {"0": 1.0, "1": 0.25, "2": 0.5}
    assert summary["mean"] == pytest.approx(7 / 12)
    assert summary["standard deviation"] == pytest.approx(np.std([1.0, 0.25, 0.5], ddof=1))
    assert "over 3 folds: 0.5833, standard deviation 0.3819, from 0.2500 to 1.0000" in told


def test_a_fold_is_repeated_bit_for_bit_elsewhere(by_folds, launch, tmp_path):
    """Without another flag; and fold 1 was stopped on its way, so a single fold equals it too."""
    launch("train", repeat=by_folds.run_dir / "fold1", run_dir=tmp_path / "again").succeeded()
    assert not (tmp_path / "again" / "folds.json").exists()
    run_dir = tmp_path / "again" / "fold1"
    one, other = (load_model(path) for path in (run_dir, by_folds.run_dir / "fold1"))
    assert one.config == other.config
    jax.tree.map(np.testing.assert_array_equal, one.params, other.params)
    configs = [read_config(path) for path in (run_dir, by_folds.run_dir / "fold1")]
    assert [len(config.pop("sessions")) for config in configs] == [1, 2]
    assert configs[0] == configs[1]


def test_what_is_held_out_is_scored_and_a_repeat_takes_changed_flags(launch, sketches, tmp_path):
    given = sketches | {
        "datasets": "tu_berlin/sketch:fold0+fold2", "held_out": "tu_berlin/sketch:fold1",
        "epochs": 2, "save_every": 2,
    }  # fmt: skip
    told = launch("train", run_dir=tmp_path / "one", **given).succeeded()
    assert "held out: 2 drawings and 0 photos" in told
    lines = held_out_lines(tmp_path / "one")
    assert [line["step"] for line in lines] == [2, 4]
    assert f"accuracy on held-out data, single angle: {lines[-1]['held_out_accuracy']:.4f}" in told
    told = launch(
        "train", repeat=tmp_path / "one", run_dir=tmp_path / "two", seed=7, epochs=1, held_out=""
    ).succeeded()
    assert "held out" not in told and held_out_lines(tmp_path / "two") == []
    one, two = (read_config(tmp_path / name) for name in ("one", "two"))
    assert two["train"] == one["train"] | {"seed": 7, "epochs": 1}
    assert two["model"] == one["model"] and two["start"]["data"] == one["start"]["data"]
    assert two["command"]["flags"] == one["command"]["flags"] | {"held_out": []}


def test_unseen_classes_are_not_trained_on_and_retrieved(launch, tiny_run, tiny_training, tmp_path):
    """Written down with the run, so that a repeat needs no list."""
    names = list(load_model(tiny_run[1]).class_names)
    unseen, one, two = (tmp_path / name for name in ("unseen.txt", "one", "two"))
    unseen.write_text("\n".join(name.upper() for name in names[:2]))
    launch("train", run_dir=one, unseen=unseen, **tiny_training).succeeded()
    assert list(load_model(one).class_names) == names[2:]
    given = {
        "data_dir": tiny_training["data_dir"], "split": "train", "unseen": unseen,
        "generalised": True, "json": True,
    }  # fmt: skip
    (result,) = json.loads(launch("evaluate", checkpoint=one, **given).succeeded())
    assert (result["counts"]["queries"], result["counts"]["gallery"]) == (2, 5)
    assert not load_model(one).card.retrieval  # a card is of a search among all
    told = launch("evaluate", checkpoint=tiny_run[1], **given)
    told.failed("trained on 2 of the unseen classes", f"--unseen={unseen}")
    unseen.unlink()
    launch("train", repeat=one, run_dir=two).succeeded()
    first, second = (read_config(run) for run in (one, two))
    assert first["command"] == second["command"] and first["command"]["unseen"]["classes"]


def test_a_run_of_an_earlier_version_is_repeated(launch, tiny_run, tmp_path):
    """It called the backbone a variant."""
    config = read_config(tiny_run[1])
    kept = config["command"]["flags"]
    kept["variant"] = kept.pop("backbone")
    old = tmp_path / "old"
    old.mkdir()
    (old / "config.json").write_text(json.dumps(config))
    launch("train", repeat=old, run_dir=tmp_path / "again", steps=1).succeeded()
    again = read_config(tmp_path / "again")["command"]["flags"]
    assert again == read_config(tiny_run[1])["command"]["flags"] and "backbone" in again


def test_a_run_from_before_pens_is_repeated_as_it_was(launch, tiny_run, tmp_path):
    config, since = read_config(tiny_run[1]), {"loss": "softmax", "examples_per_class": 0}
    since |= {"pen_spread": 0.0, "bend": 0.0, "pressure_spread": 0.0, "strokes_left_out": 0.0}
    since |= {"optimiser": "sgd"}
    config["train"] = {n: value for n, value in config["train"].items() if n not in since}
    del config["model"]["pen"], config["command"]["flags"]["pen"]
    old = tmp_path / "old"
    old.mkdir()
    (old / "config.json").write_text(json.dumps(config))
    launch("train", repeat=old, run_dir=tmp_path / "again", steps=1).succeeded()
    again = read_config(tmp_path / "again")
    assert again["train"] == config["train"] | since | {"steps": 1}
    assert again["model"] == config["model"] | {"pen": BINARY_PEN}
    assert again["command"]["flags"] == config["command"]["flags"] | {"pen": "binary"}


def test_a_backbone_that_the_start_values_contradict_is_refused(
    launch, tiny_run, tiny_training, tmp_path
):
    given = tiny_training | {"init": tiny_run[1], "run_dir": tmp_path / "run", "steps": 1}
    launch("train", **given | {"backbone": "narrow"}).failed(
        f"{tiny_run[1]} holds parameters of tiny, expected narrow", "omit --backbone"
    )
    assert not (tmp_path / "run").exists()
    del given["backbone"]
    launch("train", **given).succeeded()
    # Earlier versions wrote a default down.
    config = read_config(tmp_path / "run")
    assert config["model"]["backbone"] == "tiny"
    assert config["command"]["flags"]["backbone"] is None
    config["command"]["flags"]["backbone"] = "caffe"
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    launch("train", repeat=tmp_path / "run", run_dir=tmp_path / "again").succeeded()
    assert load_model(tmp_path / "again").config.backbone == "tiny"


@pytest.mark.parametrize(
    ("fold", "words"),
    [
        ("3", ("--fold=3 is unknown", "0, 1, 2, all")),
        ("first", ("--fold=first is unknown",)),
    ],
)
def test_an_unknown_fold_is_named(launch, sketches, tmp_path, fold, words):
    launch("train", run_dir=tmp_path / "run", fold=fold, **sketches).failed(*words)
    assert not (tmp_path / "run").exists()
