"""launch.benchmark: its counts, its model of a pod, its frame, and its errors.

What it times takes a minute; here stand small calls in its place.
"""

import json
import math
import subprocess
import sys

import jax
import numpy as np
import pytest

from dsf_jax.models.alexnet import AlexNet, init_params
from launch import benchmark
from tests.launch.scripts import ROOT, from_shell

SHAPES = jax.eval_shape(lambda: init_params(AlexNet(250), 0))


def test_flops_are_those_counted_by_hand():
    """Multiplications and additions: output cells, features, kernel, channels of a group."""
    layers = benchmark.forward_flops(SHAPES, 2)
    assert layers == {
        "conv1": 2 * 2 * 55 * 55 * 96 * 11 * 11 * 3,
        "conv2": 2 * 2 * 27 * 27 * 256 * 5 * 5 * 48,
        "conv3": 2 * 2 * 13 * 13 * 384 * 3 * 3 * 256,
        "conv4": 2 * 2 * 13 * 13 * 384 * 3 * 3 * 192,
        "conv5": 2 * 2 * 13 * 13 * 256 * 3 * 3 * 192,
        "fc6": 2 * 2 * 9216 * 4096,
        "fc7": 2 * 2 * 4096 * 4096,
        "fc8": 2 * 2 * 4096 * 250,
    }
    assert benchmark.step_flops(SHAPES, 2) == 3 * sum(layers.values()) - layers["conv1"]


def test_pod_by_hand():
    """Two links of 1 and 10 GB/s, 4 devices with 58 MB of gradients each, 100 images a host."""
    step = benchmark.pod_step(
        4, 2.0, 50, 14_500_000,
        ethernet_gb_s=1.0, interchip_gb_s=10.0, reading_images_s=80.0, devices_per_host=2,
    )  # fmt: skip
    assert step.ethernet == pytest.approx(1.5 * 0.058)
    assert step.interchip == pytest.approx(0.15 * 0.058)
    assert step.reading == 50 * 2 / 80
    assert step.images_per_second_ethernet == pytest.approx(200 / 2.087)
    one = benchmark.pod_step(
        1, 0.1, 50, 14_500_000,
        ethernet_gb_s=1.0, interchip_gb_s=10.0, reading_images_s=80.0, devices_per_host=2,
    )  # fmt: skip
    assert one.ethernet == one.interchip == 0
    assert one.images_per_second_ethernet == 80  # reading is what it waits for


@pytest.mark.parametrize("size", [1, 2, 5])
def test_batch_holds_what_a_step_reads(size):
    batch = benchmark.drawn_and_photographed(size)
    numbers = np.concatenate([group["example"] for _, group in sorted(batch.items())])
    np.testing.assert_array_equal(numbers, np.arange(size))
    images, labels = benchmark.first_inputs(batch)
    assert images.shape == (size, 227, 227, 3) and labels.shape == (size,)


def test_calls_take_turns_after_warming_up():
    told = []
    calls = {name: lambda name=name: told.append(name) for name in "ab"}
    timings = benchmark.time_in_turn(calls, 3)
    assert told == list("abababab")
    for timing in timings.values():
        assert 0 < timing.lowest <= timing.median <= timing.highest


def test_rows_compare_with_ours(monkeypatch):
    """2 * 2048^3 operations in 1 s are the limit; ours takes 2 s, the peer 3."""
    seconds = {"limit": 1.0, "dsf_jax": 2.0, "peer": 3.0}
    monkeypatch.setattr(
        benchmark, "time_in_turn",
        lambda calls, rounds: {name: benchmark.Timing(*[seconds[name]] * 3) for name in calls},
    )  # fmt: skip
    work = benchmark.Work(print, {"peer": print}, {"peer": 1e-6}, 8, 2.0 * 2048**3)
    ours, peer = benchmark.timed("work", work, 1)
    assert (ours.who, ours.images_per_second, ours.of_limit, ours.ratio) == ("dsf_jax", 4, 0.5, 1)
    assert (peer.who, peer.ratio, peer.difference, ours.difference) == ("peer", 1.5, 1e-6, None)
    table = benchmark.rows_table([ours, peer]).splitlines()
    assert len(table) == 4 and len({line.count("|") for line in table}) == 1
    assert table[3].startswith("| work | peer | 3.000 (3.000 to 3.000) | 2.7 |")


@pytest.mark.parametrize("difference", [1.0, math.inf, math.nan])
def test_other_work_is_not_timed(difference):
    with pytest.raises(ValueError, match=r"the logits of a peer differ from ours.*; what"):
        benchmark.checked(difference, "logits", "a peer")


def test_differences_are_relative_and_the_largest():
    ours = {"a": np.full(4, 100.0), "b": np.full(4, 1.0)}
    assert benchmark.relative_difference(ours, ours) == 0
    theirs = {"a": np.full(4, 101.0), "b": np.full(4, 1.5)}
    assert benchmark.relative_difference(ours, theirs) == pytest.approx(0.5)


def test_torch_network_is_ours():
    """Both layouts give our logits: a difference would have raised."""
    pytest.importorskip("torch", reason="torch is not installed: no peer to compare with")
    work = benchmark.forward(1, peers=True)
    assert sorted(work.differences) == sorted(work.peers) == ["PyTorch NCHW", "PyTorch NHWC"]


def test_one_row_from_the_shell(tmp_path):
    """A forward pass of one image: the table on standard output, the same figures as JSON."""
    out = tmp_path / "benchmark.json"
    result = from_shell(tmp_path, "benchmark", what="forward", batch_size=1, rounds=1, json=out)
    assert result.succeeded().splitlines()[-1].startswith("| forward | dsf_jax | ")
    stored = json.loads(out.read_text())
    (row,) = stored["rows"]
    assert row["what"] == "forward" and row["ratio"] == 1 and row["of_limit"] > 0
    assert stored["machine"]["cores"] >= 1 and stored["batch_size"] == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"what": "backward"}, ("--what=backward is unknown", "forward, train_step, growth")),
        ({"json": "/nowhere/out.json"}, ("/nowhere is not a folder", "make it")),
    ],
)
def test_what_is_wrong_is_named(changes, words, launch):
    launch("benchmark", **changes).failed(*words)


def test_absent_peer_is_named():
    with pytest.raises(ValueError, match=r"--peers needs no_such_library.*; install it"):
        benchmark.import_peer("no_such_library")


def test_needs_no_data_libraries():
    """An accelerator machine without them can run it; torch is for --peers alone."""
    absent = ("tensorflow_datasets", "grain", "lancedb", "cv2", "torch", "orbax.checkpoint")
    code = f"import sys; sys.modules.update(dict.fromkeys({absent}));import launch.benchmark"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
