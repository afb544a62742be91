"""launch.train: it ends with a checkpoint, or with one line and the checkpoints that there were."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess

import pytest

from dsf_jax.training import checkpoints
from dsf_jax.training.checkpoints import load_model
from dsf_jax.training.loop import read_metrics
from tests.launch.scripts import wait_for


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
    card, params = load_model(run_dir)
    assert len(card.class_names) == 5 and params["fc8"]["kernel"].shape == (4096, 5)
    assert card.fresh_layers == ("fc6", "fc7")  # fc8 is trained now


def test_running_again_changes_nothing(launch, run, training):
    _, run_dir = run
    before = (run_dir / "metrics.jsonl").read_bytes()
    assert "step 4: trained" in launch("train", run_dir=run_dir, **training).succeeded()
    assert (run_dir / "metrics.jsonl").read_bytes() == before and steps_in(run_dir) == [4]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"datasets": "openmoji/sketchh"}, ("'openmoji/sketchh'", "openmoji/sketch", "build it with")),
        ({"datasets": ""}, ("needs the domain sketch", "none", "add a data set")),
        (
            {"datasets": "openmoji/sketch"},
            ("S+I+E needs the domain photo and edge", "openmoji/sketch (sketch)"),
        ),
        ({"split": "val"}, ("no split 'val'", "train, test")),
        ({"data_dir": "/nowhere"}, ("/nowhere", "no such folder", "launch.build_data")),
        ({"init": "/nowhere"}, ("/nowhere does not exist", "launch.port_weights")),
        ({"epochs": 0}, ("epochs=0",)),
        ({"dropout_rate": 1}, ("dropout_rate=1.0",)),
        ({"train_layers": "all"}, ("cached_views=1 needs frozen convolutions", "train_layers=fc")),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_and_nothing_written(changes, words, launch, training, tmp_path):
    run_dir = tmp_path / "run"
    result = launch("train", run_dir=run_dir, **(training | changes))
    # Impossible configurations tell the bounds, which are the remedy.
    line = result.err if "epochs" in changes or "dropout_rate" in changes else result.failed(*words)
    assert result.status == 1 and result.lines == [line.strip()]
    assert all(word in line for word in words)
    assert not run_dir.exists()


def test_a_folder_without_checkpoint(launch, training, tmp_path):
    result = launch("train", run_dir=tmp_path / "run", **(training | {"init": tmp_path}))
    result.failed(f"{tmp_path} holds no checkpoint", "launch.port_weights")
    assert not (tmp_path / "run").exists()


def test_a_file_where_the_run_should_be(launch, training, tmp_path):
    (tmp_path / "run").write_text("mine")
    result = launch("train", run_dir=tmp_path / "run", **training)
    result.failed(tmp_path / "run", "a file lies where a folder must be")
    assert (tmp_path / "run").read_text() == "mine"


def test_a_run_of_another_configuration_is_left_alone(launch, run, training):
    _, run_dir = run
    before = json.loads((run_dir / "config.json").read_text())
    result = launch("train", run_dir=run_dir, **(training | {"seed": 3, "momentum": 0.5}))
    result.failed(
        run_dir, "seed is 0 there and 3 now", "momentum is 0.9 there and 0.5 now", "choose another"
    )
    assert json.loads((run_dir / "config.json").read_text()) == before
    assert steps_in(run_dir) == [4]


def test_a_damaged_checkpoint_is_named(launch, run, training, tmp_path):
    run_dir = linked_copy(run[1], tmp_path / "run")
    damaged = run_dir / checkpoints.FOLDER / "4" / "opt_state" / "manifest.ocdbt"
    damaged.unlink()
    damaged.write_bytes(b"")
    result = launch("train", run_dir=run_dir, **training)
    result.failed(run_dir / checkpoints.FOLDER / "4", "cannot be read", "remove it")


def test_sigterm_saves_and_the_same_command_goes_on(launch, training, tmp_path):
    run_dir = tmp_path / "run"
    given = training | {"epochs": 10, "log_every": 1, "run_dir": run_dir}  # 40 steps
    process = launch.start("train", **given)
    metrics = run_dir / "metrics.jsonl"
    wait_for(lambda: metrics.exists() and metrics.read_text().count("\n") >= 2)
    os.kill(process, signal.SIGTERM)
    told = launch.wait().succeeded()
    (stopped,) = steps_in(run_dir)
    assert 2 <= stopped < 40
    assert f"step {stopped}: stopped by a signal; run the same command to go on" in told
    assert "step 40: trained" in launch("train", **given).succeeded()
    assert [line["step"] for line in read_metrics(run_dir)] == list(range(1, 41))


def test_a_disk_that_fills_up_keeps_the_earlier_checkpoint(launch, training, small_disk):
    disk = small_disk(300)  # one checkpoint takes 196 MiB
    given = training | {"run_dir": disk / "run", "save_every": 2}
    line = launch("train", **given).failed(disk / "run" / "checkpoints", "free some")
    assert re.search(r"takes up to \d+ MiB, and 1\d\d MiB are free", line)
    assert steps_in(disk / "run") == [2]
    subprocess.run(["mount", "-o", "remount,size=900m", disk], check=True)
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
