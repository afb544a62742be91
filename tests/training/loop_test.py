"""Stopping and starting again gives the same parameters, bit for bit, as never stopping."""

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from dsf_jax.data.files import only_writer
from dsf_jax.training import checkpoints, loop
from tests.training import tiny

ROOT = pathlib.Path(__file__).parent.parent.parent


def start(run_dir, out, seconds):
    environment = dict(os.environ, JAX_PLATFORMS="cpu")
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "tests.training.tiny", run_dir, out, str(seconds)],
        cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(run_dir, out):
    process = start(run_dir, out, 0)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    with np.load(out) as arrays:
        return dict(arrays)


def complete_steps(run_dir):
    folder = run_dir / checkpoints.FOLDER
    return (
        sorted(int(p.name) for p in folder.glob("*") if p.name.isdigit()) if folder.exists() else []
    )


def wait_for(condition, process, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    return finish(folder / "run", folder / "out.npz")


def assert_bit_equal(a, b):
    assert a.keys() == b.keys() and len(a) == 6
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_a_stopped_run_ends_as_if_it_had_never_stopped(number, tmp_path, uninterrupted):
    run_dir, out = tmp_path / "run", tmp_path / "out.npz"
    process = start(run_dir, out, 0.3)
    metrics = run_dir / loop.METRICS_FILE
    # Past the checkpoint of step 5 and, for SIGKILL, some steps beyond it.
    wait_for(lambda: complete_steps(run_dir) and metrics.read_text().count("\n") >= 2, process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    steps = complete_steps(run_dir)
    if number == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
        assert steps[-1] % 5 == 0
    else:
        assert process.returncode == 0, errors
    assert 5 <= steps[-1] < 20 and not out.exists()
    assert_bit_equal(finish(run_dir, out), uninterrupted)
    logged = [line["step"] for line in loop.read_metrics(run_dir)]
    assert logged == sorted(set(logged)) and logged[-1] == 20


def test_killed_while_saving_resumes_from_the_last_whole_checkpoint(tmp_path, uninterrupted):
    run_dir, out = tmp_path / "run", tmp_path / "out.npz"
    process = start(run_dir, out, 0.2)
    wait_for(lambda: complete_steps(run_dir), process)
    process.kill()
    process.communicate()
    whole = complete_steps(run_dir)
    # What a kill in the middle of a save leaves: orbax's temporary folder, half filled.
    half = run_dir / checkpoints.FOLDER / "15.orbax-checkpoint-tmp-7"
    half.mkdir()
    (half / "params").mkdir()
    assert_bit_equal(finish(run_dir, out), uninterrupted)
    assert whole and not half.exists()


def test_running_a_finished_run_again_trains_nothing(tmp_path, monkeypatch):
    first = tiny.run(tmp_path)
    monkeypatch.setattr(tiny, "batches", lambda seconds: pytest.fail("nothing is left to train"))
    again = tiny.run(tmp_path)
    assert first.finished and again.finished and int(again.state.step) == 20
    assert_bit_equal(tiny.flat(first.state.params), tiny.flat(again.state.params))


def test_what_a_run_leaves(tmp_path):
    tiny.run(tmp_path)
    config = json.loads((tmp_path / loop.CONFIG_FILE).read_text())
    assert config["train"] == dataclasses.asdict(tiny.CONFIG)
    lines = loop.read_metrics(tmp_path)
    assert [line["step"] for line in lines] == [3, 5, 6, 9, 10, 12, 15, 18, 20]
    assert lines[-1]["epoch"] == 4.0
    assert all(np.isfinite(line["loss"]) and 0 <= line["accuracy"] <= 1 for line in lines)
    assert list((tmp_path / "tensorboard").glob("events.out.tfevents.*"))
    assert complete_steps(tmp_path) == [15, 20]  # the two latest are kept


def test_another_configuration_in_the_same_folder_is_refused(tmp_path):
    tiny.run(tmp_path)
    changed = dataclasses.replace(tiny.CONFIG, seed=5)
    with pytest.raises(ValueError, match="seed is 0 there and 5 now; choose another folder"):
        tiny.run(tmp_path, config=changed)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(tmp_path):
    wild = dataclasses.replace(tiny.CONFIG, learning_rate=1e30)
    with pytest.raises(FloatingPointError, match="at step 3; start again in another run_dir"):
        tiny.run(tmp_path, config=wild)
    assert complete_steps(tmp_path) == []


def test_an_incomplete_line_of_metrics_is_dropped(tmp_path):
    (tmp_path / loop.METRICS_FILE).write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    assert loop.read_metrics(tmp_path) == [{"step": 1, "loss": 2.0}]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs=0 must be at least 1"),
        ({"learning_rate": 0.0}, "learning_rate=0.0 must be above 0 and finite"),
        ({"learning_rate": float("nan")}, "learning_rate=nan must be above 0 and finite"),
        ({"weight_decay": -1.0}, "weight_decay=-1.0 must be finite and not below 0"),
        ({"seed": -1}, "seed=-1 must lie between 0 and"),
        ({"dropout_rate": 1.0}, r"dropout_rate=1.0 and momentum=0.9 must lie in \[0, 1\)"),
        ({"cached_views": 2}, "cached_views=2 needs frozen convolutions, not train_layers='all'"),
    ],
)
def test_impossible_configurations_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        loop.TrainConfig(**change)


def test_signals_work_as_before_after_training(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    tiny.run(tmp_path)
    assert signal.getsignal(signal.SIGTERM) is before
    assert jax.device_count() == 8


def test_other_data_in_the_same_folder_is_refused(tmp_path, monkeypatch):
    tiny.run(tmp_path)
    monkeypatch.setattr(tiny, "DATA", ("photos from somewhere",))
    with pytest.raises(
        ValueError, match=r"data is \['sketches from nowhere'\] there and \['photos"
    ):
        tiny.run(tmp_path)


def test_a_damaged_configuration_is_named(tmp_path):
    tiny.run(tmp_path)
    (tmp_path / loop.CONFIG_FILE).write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is damaged"):
        tiny.run(tmp_path)


def test_a_run_may_go_on_for_more_epochs_and_log_at_other_steps(tmp_path):
    tiny.run(tmp_path)
    longer = dataclasses.replace(tiny.CONFIG, epochs=5, log_every=1)
    went_on = tiny.run(tmp_path, config=longer)
    assert int(went_on.state.step) == 25
    straight = tiny.run(tmp_path / "straight", config=longer)
    assert_bit_equal(tiny.flat(went_on.state.params), tiny.flat(straight.state.params))


def test_other_start_values_in_the_same_folder_are_refused(tmp_path, monkeypatch):
    tiny.run(tmp_path)
    other = jax.tree.map(lambda x: x + 1, tiny.start_params())
    monkeypatch.setattr(tiny, "start_params", lambda: other)
    with pytest.raises(ValueError, match="fingerprint of the start values is"):
        tiny.run(tmp_path)


def test_a_refused_start_leaves_no_claim_on_the_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tiny, "batches", lambda seconds: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tiny.run(tmp_path, config=dataclasses.replace(tiny.CONFIG, seed=9))
    monkeypatch.undo()
    assert tiny.run(tmp_path).finished


def test_parameters_that_are_not_finite_are_never_saved(tmp_path):
    wild = dataclasses.replace(tiny.CONFIG, learning_rate=1e30, save_every=1)
    with pytest.raises(FloatingPointError, match="not finite at step 1"):
        tiny.run(tmp_path, config=wild)
    assert complete_steps(tmp_path) == []


def test_two_processes_never_write_one_run(tmp_path):
    with only_writer(tmp_path), pytest.raises(OSError, match="is being written by another process"):
        tiny.run(tmp_path)
