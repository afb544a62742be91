"""Stopping and starting again gives the same parameters, bit for bit, as never stopping."""

import dataclasses
import errno
import functools
import json
import os
import shutil
import signal

import jax
import numpy as np
import pytest

from dsf_jax.data.files import directory_lock
from dsf_jax.images.views import plain_view, random_photo_view, random_sketch_view
from dsf_jax.models.alexnet import CAFFE
from dsf_jax.models.model import with_embedding
from dsf_jax.training import checkpoints, loop
from dsf_jax.training.config import TrainConfig
from dsf_jax.training.loop import train
from dsf_jax.training.metrics_log import METRICS_FILE, MetricsLog, read_metrics
from dsf_jax.training.run_directory import CONFIG_FILE
from dsf_jax.training.step import train_step
from tests.launch.scripts import wait_for
from tests.training import tiny
from tests.training.event_files import pictures

pytestmark = pytest.mark.slow


def start(launch, run_dir, out, seconds):
    return launch.start_module("tests.training.tiny", run_dir, out, seconds)


def finish(launch, run_dir, out):
    start(launch, run_dir, out, 0)
    result = launch.wait()
    assert result.status == 0, result.err
    with np.load(out) as arrays:
        return dict(arrays)


def complete_steps(run_dir):
    folder = run_dir / checkpoints.FOLDER
    return (
        sorted(int(p.name) for p in folder.glob("*") if p.name.isdigit()) if folder.exists() else []
    )


@pytest.fixture(scope="module")
def uninterrupted(launch, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    return finish(launch, folder / "run", folder / "out.npz")


def assert_bit_equal(a, b):
    assert a.keys() == b.keys() and len(a) == 6
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_a_stopped_run_ends_as_if_it_had_never_stopped(number, launch, tmp_path, uninterrupted):
    run_dir, out = tmp_path / "run", tmp_path / "out.npz"
    process = start(launch, run_dir, out, 1)  # up to 12 batches are read ahead
    metrics = run_dir / METRICS_FILE
    # Past the checkpoint of step 5 and, for SIGKILL, some steps beyond it.
    wait_for(lambda: complete_steps(run_dir) and metrics.read_text().count("\n") >= 2)
    os.kill(process, number)
    stopped = launch.wait()
    steps = complete_steps(run_dir)
    if number == signal.SIGKILL:
        assert stopped.status == -signal.SIGKILL
        assert steps[-1] % 5 == 0
    else:
        assert stopped.status == 0, stopped.err
    assert 5 <= steps[-1] < 20 and not out.exists()
    assert_bit_equal(finish(launch, run_dir, out), uninterrupted)
    logged = [line["step"] for line in read_metrics(run_dir)]
    assert logged == sorted(set(logged)) and logged[-1] == 20


def test_killed_while_saving_resumes_from_the_last_whole_checkpoint(
    launch, tmp_path, uninterrupted
):
    run_dir, out = tmp_path / "run", tmp_path / "out.npz"
    process = start(launch, run_dir, out, 1)
    wait_for(lambda: complete_steps(run_dir))
    os.kill(process, signal.SIGKILL)
    launch.wait()
    whole = complete_steps(run_dir)
    # What a kill in the middle of a save leaves: orbax's temporary folder, half filled.
    half = run_dir / checkpoints.FOLDER / "15.orbax-checkpoint-tmp-7"
    half.mkdir()
    (half / "params").mkdir()
    assert_bit_equal(finish(launch, run_dir, out), uninterrupted)
    assert whole and not half.exists()


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The result of a run in this process, and its folder; not to be changed."""
    run_dir = tmp_path_factory.mktemp("straight") / "run"
    return tiny.run(run_dir), run_dir


def equals(result, straight):
    """Checks that a run has ended as the one that never stopped."""
    assert result.finished and int(result.state.step) == 20
    assert_bit_equal(
        tiny.flat(result.state.model.params), tiny.flat(straight[0].state.model.params)
    )


def test_running_a_finished_run_again_trains_nothing(straight, tmp_path, monkeypatch):
    run_dir = shutil.copytree(straight[1], tmp_path / "run")
    monkeypatch.setattr(tiny, "batches", lambda seconds: pytest.fail("nothing is left to train"))
    assert straight[0].finished
    equals(tiny.run(run_dir), straight)


def test_what_a_run_leaves(straight):
    _, run_dir = straight
    config = json.loads((run_dir / CONFIG_FILE).read_text())
    assert config["train"] == dataclasses.asdict(tiny.TRAINING)
    lines = read_metrics(run_dir)
    assert [line["step"] for line in lines] == [3, 5, 6, 9, 10, 12, 15, 18, 20]
    assert lines[-1]["epoch"] == 4.0
    assert all(np.isfinite(line["loss"]) and 0 <= line["accuracy"] <= 1 for line in lines)
    assert complete_steps(run_dir) == [15, 20]  # the two latest are kept


def test_another_configuration_in_the_same_folder_is_refused(straight):
    changed = dataclasses.replace(tiny.TRAINING, seed=5)
    with pytest.raises(ValueError, match="seed is 0 there and 5 now; choose another folder"):
        tiny.run(straight[1], config=changed)


def test_two_runs_that_differ_in_their_data_alone_compile_one_step(tmp_path, monkeypatch):
    traced = []

    def counted(*arguments, **options):
        traced.append(options["config"])
        return train_step(*arguments, **options)

    monkeypatch.setattr(loop, "train_step", counted)
    config = dataclasses.replace(tiny.TRAINING, steps=2, seed=77)  # no other test's
    first, again = (tiny.run(tmp_path / name, config=config) for name in ("a", "b"))
    other = tiny.run(tmp_path / "c", config=dataclasses.replace(config, learning_rate=0.5))
    assert len(traced) == 2 and len(set(traced)) == 2
    states = [tiny.flat(run.state.model.params) for run in (first, again, other)]
    for name, value in states[0].items():
        np.testing.assert_array_equal(states[1][name], value)
    assert (states[2]["fc8/kernel"] != states[0]["fc8/kernel"]).any()


def test_pictures_show_what_the_network_sees(straight):
    """Before the first step, and after each checkpoint, of the step's own batch: the key of each
    example's view is its number's, of the step counted from 0, of the seed."""
    shown = pictures(straight[1])
    tags = ("views/drawings", "views/photos")
    assert shown.keys() == {(tag, step) for tag in tags for step in (1, 6, 11, 16)}
    by_hand = functools.partial(random_sketch_view, hand=tiny.TRAINING.hand)
    for step in (1, 11):
        batch = tiny.batches()[step - 1]
        key = jax.random.fold_in(jax.random.key(tiny.TRAINING.seed), step - 1)
        for kind, name, view in (
            ("drawings", "points", by_hand),
            ("photos", "photo", random_photo_view),
        ):
            group = batch[kind]
            keys = [jax.random.fold_in(key, number) for number in group["example"]]
            views = [view(k, x, size=tiny.SIZE) for k, x in zip(keys, group[name], strict=True)]
            expected = np.concatenate(views, axis=1)
            picture = shown[f"views/{kind}", step]
            if picture.ndim > expected.ndim:
                expected = expected[..., None] + 0 * picture
            # Compiled with the rest, a pen's width is rounded otherwise: a grey level, here and there.
            np.testing.assert_allclose(picture, expected, rtol=0, atol=1)


def scores(params):
    """(loss, accuracy) on all held-out examples, by hand."""
    losses, hits = [], []
    for batch in tiny.held_out():
        for group in batch.values():
            real = int(group["weight"].sum())
            inputs = CAFFE.preprocess(plain_view(group, size=tiny.SIZE))[:real]
            logits = np.float64(
                tiny.TinyNet(len(tiny.CLASSES)).apply({"params": params}, inputs)[0]
            )
            labels = group["label"][:real]
            right = logits[np.arange(real), labels]
            losses.extend(np.log(np.exp(logits).sum(axis=1)) - right)
            hits.extend(logits.argmax(axis=1) == labels)
    assert len(hits) == 14
    return np.mean(losses), np.mean(hits)


def test_held_out_data_is_scored_at_every_checkpoint_and_changes_nothing(straight, tmp_path):
    config = dataclasses.replace(tiny.TRAINING, save_every=8, keep=9)
    result = tiny.run(tmp_path, config=config, held_out=tiny.held_out())
    equals(result, straight)
    lines = {x["step"]: x for x in read_metrics(tmp_path) if "held_out_loss" in x}
    assert list(lines) == [8, 16, 20] == complete_steps(tmp_path), "each checkpoint, and the end"
    for step, line in lines.items():
        loss, accuracy = scores(checkpoints.load_model(f"{tmp_path}:{step}").params)
        assert line["held_out_loss"] == pytest.approx(loss, rel=1e-4)
        assert line["held_out_accuracy"] == pytest.approx(accuracy)
    assert loop.held_out_accuracy(tmp_path) == lines[20]["held_out_accuracy"]
    assert loop.held_out_accuracy(straight[1]) is None
    # As of a run that went on without that data:
    with (tmp_path / "metrics.jsonl").open("a") as log:
        log.write('{"step": 24, "loss": 1.0}\n')
    assert loop.held_out_accuracy(tmp_path) is None, "that was another network's"


def test_the_best_is_kept_beside_the_latest(tmp_path, monkeypatch):
    left = iter((0.25, 0.75, 0.5, 0.5))
    held_out = MetricsLog.held_out

    def scripted(log, step, metrics):
        value = np.float32(next(left))
        fake = {name: (value, np.float32(1)) for name in metrics[0]}
        return held_out(log, step, [fake])

    monkeypatch.setattr(MetricsLog, "held_out", scripted)
    config = dataclasses.replace(tiny.TRAINING, keep=1)
    result = tiny.run(tmp_path, config=config, held_out=tiny.held_out())
    assert complete_steps(tmp_path) == [10, 20]
    best, latest = (checkpoints.load_model(f"{tmp_path}{which}").params for which in (":best", ""))
    assert_bit_equal(tiny.flat(latest), tiny.flat(result.state.model.params))
    assert not np.array_equal(best["fc8"]["kernel"], latest["fc8"]["kernel"])
    assert loop.held_out_accuracy(tmp_path) == 0.5


def test_so_many_steps_and_then_on_by_epochs(straight, tmp_path):
    stepped = dataclasses.replace(tiny.TRAINING, steps=7)
    result = tiny.run(tmp_path, config=stepped)
    assert result.finished and int(result.state.step) == 7
    assert complete_steps(tmp_path) == [5, 7]
    equals(tiny.run(tmp_path), straight)


def test_adamw_goes_on_with_its_moments_and_another_optimiser_is_refused(straight, tmp_path):
    config = dataclasses.replace(tiny.TRAINING, optimiser="adamw")
    whole = tiny.run(tmp_path / "whole", config=config)
    tiny.run(tmp_path / "run", config=dataclasses.replace(config, steps=7))
    equals(tiny.run(tmp_path / "run", config=config), (whole,))
    by_sgd = straight[0].state.model.params
    assert np.any(by_sgd["fc8"]["kernel"] != whole.state.model.params["fc8"]["kernel"])
    with pytest.raises(ValueError, match="optimiser is 'adamw' there and 'sgd' now"):
        tiny.run(tmp_path / "run")


def test_the_end_of_a_cosine_is_fixed(tmp_path):
    config = dataclasses.replace(tiny.TRAINING, schedule="cosine", steps=6)
    tiny.run(tmp_path, config=config)
    rates = {line["step"]: line["learning_rate"] for line in read_metrics(tmp_path)}
    for step in (3, 5, 6):  # a step's rate is that before it
        expected = config.learning_rate * (1 + np.cos(np.pi * (step - 1) / 6)) / 2
        assert rates[step] == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="steps is 6 there and 12 now; choose another folder"):
        tiny.run(tmp_path, config=dataclasses.replace(config, steps=12))


@pytest.mark.parametrize(("loss", "fresh"), [("contrastive", ("class_vectors",)), ("cosine", ())])
def test_a_classifier_that_no_loss_trained_is_random_still(loss, fresh, tmp_path):
    model = with_embedding(tiny.start_model(), 8, seed=0)
    before = np.asarray(model.params["class_vectors"]["kernel"])
    config = TrainConfig(
        steps=1, batch_size=8, loss=loss, examples_per_class=loss == "contrastive", weight_decay=0.0
    )
    train(
        config, lambda model: tiny.batches(), jax.device_put(model), tmp_path,
        total_examples=tiny.EXAMPLES, data=tiny.DATA,
    )  # fmt: skip
    trained = checkpoints.load_model(tmp_path)
    assert model.config.fresh_layers == ("fc8", "class_vectors")
    assert trained.config.fresh_layers == fresh
    assert np.array_equal(trained.params["class_vectors"]["kernel"], before) == bool(fresh)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(tmp_path):
    wild = dataclasses.replace(tiny.TRAINING, learning_rate=1e30)
    with pytest.raises(FloatingPointError, match="at step 2; start again in another run_dir"):
        tiny.run(tmp_path, config=wild)
    assert complete_steps(tmp_path) == []


def test_signals_work_as_before_after_training(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    tiny.run(tmp_path)
    assert signal.getsignal(signal.SIGTERM) is before
    assert jax.device_count() == 8


def test_a_run_may_go_on_for_more_epochs_and_keep_log_and_save_otherwise(straight, tmp_path):
    run_dir = shutil.copytree(straight[1], tmp_path / "run")
    longer = dataclasses.replace(tiny.TRAINING, epochs=5, log_every=1, save_every=2, keep=3)
    went_on = tiny.run(run_dir, config=longer)
    assert int(went_on.state.step) == 25
    assert complete_steps(run_dir) == [22, 24, 25]
    assert [x["step"] for x in read_metrics(run_dir)][-6:] == [20, 21, 22, 23, 24, 25]
    at_once = tiny.run(tmp_path / "at_once", config=dataclasses.replace(tiny.TRAINING, epochs=5))
    assert_bit_equal(tiny.flat(went_on.state.model.params), tiny.flat(at_once.state.model.params))


def test_a_run_that_diverges_goes_on_from_its_last_finite_state(straight, tmp_path, monkeypatch):
    """Weights that are not finite at step 8 are found at the next line, which names that step."""

    def spoilt(seconds):
        def spoil(step, batch):
            if step == 7:
                batch["photos"]["weight"][:] = np.nan
            return batch

        return whole(seconds).map_with_index(spoil)

    whole = tiny.batches
    monkeypatch.setattr(tiny, "batches", spoilt)
    with pytest.raises(FloatingPointError, match="the loss is nan at step 8"):
        tiny.run(tmp_path)
    assert complete_steps(tmp_path) == [5]
    monkeypatch.undo()
    equals(tiny.run(tmp_path), straight)


def during(step, action, monkeypatch):
    """Does something in the middle of a step, after its batch has been trained on."""
    add = MetricsLog.add

    def then(log, number, metrics):
        if number == step:
            action()
        add(log, number, metrics)

    monkeypatch.setattr(MetricsLog, "add", then)


@pytest.mark.parametrize(("step", "scored"), [(10, [5]), (20, [5, 10, 15, 20])])
def test_a_signal_saves_at_once_and_takes_no_time_for_held_out_data(
    step, scored, straight, tmp_path, monkeypatch
):
    during(step, lambda: signal.raise_signal(signal.SIGTERM), monkeypatch)
    result = tiny.run(tmp_path, held_out=tiny.held_out())
    assert int(result.state.step) == step and result.finished == (step == 20)
    assert complete_steps(tmp_path)[-1] == step
    assert [x["step"] for x in read_metrics(tmp_path) if "held_out_loss" in x] == scored
    monkeypatch.undo()
    equals(tiny.run(tmp_path, held_out=tiny.held_out()), straight)


def test_a_signal_before_the_first_step_ends_the_process_as_usual(tmp_path, monkeypatch):
    """There is nothing to save yet, and reading data may take long."""

    def arrive(seconds):
        signal.raise_signal(signal.SIGTERM)
        return pytest.fail("the signal was kept for later")

    def die(*_):
        raise InterruptedError

    monkeypatch.setattr(tiny, "batches", arrive)
    before = signal.signal(signal.SIGTERM, die)
    try:
        with pytest.raises(InterruptedError):
            tiny.run(tmp_path)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert complete_steps(tmp_path) == []
    with directory_lock(tmp_path):
        pass


def test_a_disk_that_fills_up_stops_the_run_and_keeps_the_last_checkpoint(
    straight, tmp_path, monkeypatch
):
    usage = shutil.disk_usage(tmp_path)
    full = usage._replace(free=1000)
    during(7, lambda: monkeypatch.setattr(shutil, "disk_usage", lambda path: full), monkeypatch)
    with pytest.raises(OSError, match="free some and run the command again") as caught:
        tiny.run(tmp_path)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(tmp_path / checkpoints.FOLDER)
    assert complete_steps(tmp_path) == [5]
    monkeypatch.undo()
    equals(tiny.run(tmp_path), straight)


def test_a_refused_start_leaves_no_claim_on_the_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tiny, "batches", lambda seconds: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tiny.run(tmp_path, config=dataclasses.replace(tiny.TRAINING, seed=9))
    monkeypatch.undo()
    assert tiny.run(tmp_path).finished


def test_parameters_that_are_not_finite_are_never_saved(tmp_path):
    wild = dataclasses.replace(tiny.TRAINING, learning_rate=1e30, save_every=1)
    with pytest.raises(FloatingPointError, match="not finite at step 1"):
        tiny.run(tmp_path, config=wild)
    assert complete_steps(tmp_path) == []


def test_two_processes_never_write_one_run(tmp_path):
    with (
        directory_lock(tmp_path),
        pytest.raises(OSError, match="is being written by another process"),
    ):
        tiny.run(tmp_path)
