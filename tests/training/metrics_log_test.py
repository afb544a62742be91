"""What is watched is what happened: lines as sums over counts, and pictures that hold the views."""

import errno
import gc
import json
import shutil
import time
import types

import jax.numpy as jnp
import numpy as np
import pytest

from dsf_jax.training import metrics_log
from dsf_jax.training.metrics_log import METRICS_FILE, MetricsLog, read_metrics
from tests.training.event_files import events, pictures, values


def open_log(run_dir, *, first=0, steps=6, every=2):
    return MetricsLog(
        run_dir, first=first, steps=steps, steps_per_epoch=4, batch_size=10, every=every,
        learning_rate=lambda step: 0.5**step,
    )  # fmt: skip


def metrics(loss, hits, count):
    pairs = {"loss": (loss, count), "accuracy": (hits, count)}
    return {name: tuple(map(jnp.float32, pair)) for name, pair in pairs.items()}


def test_lines_are_means_over_examples_not_over_steps(tmp_path):
    """Steps of 1, 3 and 4 examples; the last line comes at the last step, whatever `every` is."""
    with open_log(tmp_path, steps=3) as log:
        log.add(1, metrics(8.0, 1, 1))
        assert read_metrics(tmp_path) == []
        log.add(2, metrics(4.0, 1, 3))
        log.add(3, metrics(2.0, 1, 4))
    first, last = read_metrics(tmp_path)
    assert (first["step"], first["epoch"]) == (2, 0.5)
    assert (first["loss"], first["accuracy"]) == (3.0, 0.5)  # not (8 + 4 / 3) / 2
    assert (last["step"], last["epoch"], last["loss"], last["accuracy"]) == (3, 0.75, 0.5, 0.25)
    assert first["learning_rate"] == 0.5 and last["learning_rate"] == 0.25  # that the step took
    assert first["images_per_second"] > 0
    assert len((tmp_path / METRICS_FILE).read_text().splitlines()) == 2


def test_leaving_writes_what_is_pending_and_an_error_does_not(tmp_path):
    with open_log(tmp_path) as log:
        log.add(1, metrics(1.0, 0, 1))
    assert [line["step"] for line in read_metrics(tmp_path)] == [1]
    with pytest.raises(ZeroDivisionError), open_log(tmp_path, first=1) as log:
        log.add(3, metrics(1.0, 0, 1))
        raise ZeroDivisionError
    assert [line["step"] for line in read_metrics(tmp_path)] == [1]


def test_the_speed_leaves_out_the_time_of_held_out_data(tmp_path, monkeypatch):
    clock = iter((0.0, 5.0, 5.0, 105.0, 110.0, 110.0))
    fake = types.SimpleNamespace(monotonic=lambda: next(clock), time=time.time)
    monkeypatch.setattr(metrics_log, "time", fake)
    with open_log(tmp_path) as log:
        for step in (1, 2):
            log.add(step, metrics(1.0, 0, 1))  # 20 images in 5 seconds
        log.held_out(2, [metrics(1.0, 0, 1)])  # until 105
        for step in (3, 4):
            log.add(step, metrics(1.0, 0, 1))
    rates = [x["images_per_second"] for x in read_metrics(tmp_path) if "loss" in x]
    assert rates == [4.0, 4.0]


def test_held_out_lines_are_means_over_examples_not_over_batches(tmp_path):
    with open_log(tmp_path) as log:
        accuracy = log.held_out(4, [metrics(6.0, 3, 3), metrics(1.0, 0, 1), metrics(1.0, 1, 4)])
    assert accuracy == 0.5
    expected = {"step": 4, "epoch": 1.0, "held_out_loss": 1.0, "held_out_accuracy": 0.5}
    assert read_metrics(tmp_path) == [expected]


def test_lines_after_the_checkpoint_are_dropped_when_a_run_goes_on(tmp_path):
    whole = "".join(json.dumps({"step": step, "loss": 1.0}) + "\n" for step in (2, 4, 6, 8))
    held_out = json.dumps({"step": 4, "held_out_accuracy": 0.5}) + "\n"
    (tmp_path / METRICS_FILE).write_text(whole + held_out + '{"step": 9, "lo')  # killed
    with open_log(tmp_path, first=4):
        pass
    kept = read_metrics(tmp_path)
    assert [line["step"] for line in kept] == [2, 4, 4] and "held_out_accuracy" in kept[2]
    assert (tmp_path / METRICS_FILE).read_text().endswith("}\n")


def test_an_incomplete_last_line_is_dropped_and_a_damaged_one_named(tmp_path):
    path = tmp_path / METRICS_FILE
    assert read_metrics(tmp_path) == []
    path.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    assert read_metrics(tmp_path) == [{"step": 1, "loss": 2.0}]
    path.write_text('{"step": 1, "lo\n{"step": 2, "loss": 2.0}\n')
    with pytest.raises(ValueError, match=r"metrics\.jsonl is damaged \(.*\); choose another") as e:
        read_metrics(tmp_path)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("loss", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_stops_and_is_not_written(tmp_path, loss):
    with (
        pytest.raises(FloatingPointError, match=rf"the loss is {loss} at step 2; start again in"),
        open_log(tmp_path) as log,
    ):
        log.add(1, metrics(1.0, 0, 1))
        log.add(2, metrics(loss, 0, 1))
    assert read_metrics(tmp_path) == []


def test_scalars_in_tensorboard_equal_the_lines(tmp_path):
    with open_log(tmp_path) as log:
        for step in (1, 2, 3, 4):
            log.add(step, metrics(float(step), 0.25, 1))
        log.held_out(4, [metrics(5.0, 1, 2)])
    shown = {(tag, step): v.simple_value for tag, step, v in values(tmp_path)}
    for line in read_metrics(tmp_path):
        group = "held_out" if "held_out_loss" in line else "train"
        names = line.keys() - {"step", "epoch"}
        assert names
        for name in names:
            tag = f"{group}/{name.removeprefix('held_out_')}"
            assert shown.pop((tag, line["step"])) == pytest.approx(line[name]), tag
    assert not shown


def test_going_on_purges_what_tensorboard_has_of_lost_steps(tmp_path):
    with open_log(tmp_path, first=4):
        pass
    (start,) = [event for event in events(tmp_path) if event.HasField("session_log")]
    assert start.step == 5 and start.session_log.status == start.session_log.START


def test_pictures_hold_the_views_side_by_side(tmp_path):
    rng = np.random.default_rng(0)
    drawings = rng.integers(0, 256, (3, 5, 7)).astype(np.uint8)
    photos = rng.integers(0, 256, (2, 5, 7, 3)).astype(np.uint8)
    with open_log(tmp_path) as log:
        log.pictures(3, lambda: {"drawings": drawings, "photos": photos})
        log.pictures(4, dict)  # of cached features there are none
    shown = pictures(tmp_path)
    assert shown.keys() == {("views/drawings", 3), ("views/photos", 3)}
    for kind, views in (("drawings", drawings), ("photos", photos)):
        picture = shown[f"views/{kind}", 3]
        assert picture.shape[:2] == (5, 7 * len(views))
        for i, view in enumerate(views):
            cut = picture[:, 7 * i : 7 * (i + 1)]
            grey_as_colour = view.ndim < cut.ndim
            np.testing.assert_array_equal(
                cut, view[..., None] + 0 * cut if grey_as_colour else view
            )


def test_other_processes_check_and_write_nothing(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(metrics_log, "is_primary", lambda: False)
    with open_log(tmp_path) as log:
        for step in (1, 2):
            log.add(step, metrics(1.0, 0, 1))
        assert log.held_out(2, [metrics(1.0, 1, 2)]) == 0.5
        log.pictures(2, lambda: pytest.fail("no views are made for nobody"))
    with pytest.raises(FloatingPointError), open_log(tmp_path) as log:
        log.add(2, metrics(np.nan, 0, 1))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert capfd.readouterr().err == "", "one progress bar is enough"


def test_the_bar_tells_step_epoch_loss_and_accuracy(tmp_path, capfd, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)  # xdist sets it, and a bar may be cut to it
    with open_log(tmp_path, first=2, steps=6) as log:
        for step in (3, 4):
            log.add(step, metrics(1.5, 0.25, 1))
    bar = capfd.readouterr().err
    for part in ("40/60", "step=4", "epoch=1.0", "loss=1.500", "accuracy=0.250", "image/s"):
        assert part in bar


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_full_disk_stops_the_run_and_leaves_whole_lines(tmp_path, small_disk):
    """It never waits for a writer that is gone, whichever file is the first that has no room."""
    disk = small_disk(1)
    metrics_of = metrics(1.0, 0, 1)
    with pytest.raises(OSError, match="No space left") as caught, open_log(disk, steps=999) as log:
        log.add(2, metrics_of)
        (disk / "others").write_bytes(b"x" * shutil.disk_usage(disk).free)
        for step in range(3, 600):
            log.add(step, metrics_of)
            log.pictures(step, lambda: {"drawings": np.zeros((1, 5, 5), np.uint8)})
    assert caught.value.errno == errno.ENOSPC
    del log, caught
    gc.collect()  # tensorboardX does not close what it cannot flush: its file complains here
    (disk / "others").unlink()
    steps = [line["step"] for line in read_metrics(disk)]
    assert steps == list(range(2, steps[-1] + 1, 2))
    with open_log(disk, first=2):
        pass
    assert [line["step"] for line in read_metrics(disk)] == [2]
