"""Turns, ratios and checks, on calls that take no time."""

import math

import numpy as np
import pytest

from launch.benchmarks import timing, work
from launch.benchmarks.limits import COPY, MATRIX, Limits
from launch.benchmarks.work import OURS, Setting, Work


def test_calls_take_turns_after_warming_up(monkeypatch):
    monkeypatch.setattr(timing, "SHORT", 0)
    told = []
    calls = {name: lambda name=name: told.append(name) for name in "ab"}
    seconds = timing.seconds_in_turn(calls, 3)
    assert told == list("abababab")
    assert all(len(each) == 3 and min(each) > 0 for each in seconds.values())


def test_short_calls_are_timed_several_in_a_row(monkeypatch):
    now, told = [0.0], []

    def call(name, takes):
        told.append(name)
        now[0] += takes

    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    calls = {
        "a": lambda: call("a", 0.02),
        "b": lambda: call("b", 0.3),
        "c": lambda: call("c", 1e-5),
    }
    seconds = timing.seconds_in_turn(calls, 2)
    assert seconds == {
        "a": pytest.approx([0.02] * 2), "b": pytest.approx([0.3] * 2), "c": pytest.approx([1e-5] * 2),
    }  # fmt: skip
    warm, first, second = "abc", "a" + "aaa" + "b" + "c" + "c" * 100, "aaa" + "b" + "c" * 100
    assert "".join(told) == warm + first + second


def test_time_over_ends_the_rounds_but_for_three(monkeypatch):
    monkeypatch.setattr(timing, "SHORT", 0)
    told = []
    seconds = timing.seconds_in_turn({"a": lambda: told.append(1)}, 50, most_seconds=0.0)
    assert len(seconds["a"]) == 3 and len(told) == 4


def test_timing_and_ratio_by_hand():
    assert timing.timing([3.0, 1.0, 2.0]) == (2.0, 1.0, 3.0)
    # Round by round 2, 4, 3, 1, 5: a slow round slows both.
    assert timing.ratio([2, 8, 3, 1, 50], [1, 2, 1, 1, 10]) == (3.0, 2.0, 4.0)


def test_rows_compare_with_ours(monkeypatch):
    """100 operations in 1 s are the limit; ours takes 2 s for 100, the peer 1 s for half of it."""
    seconds = {MATRIX: 1.0, COPY: 1.0, OURS: 2.0, "peer": 1.0}
    monkeypatch.setattr(work, "limits", lambda *_, **__: Limits(dict.fromkeys(seconds), 100.0, 1.0))
    monkeypatch.setattr(
        work,
        "seconds_in_turn",
        lambda calls, *_, **__: {name: [seconds[name]] * 4 for name in calls},
    )
    made = Work(
        "work", print, 8, "images", {"peer": print}, {"peer": 1e-6}, repeats={"peer": 2}, flops=100.0,
    )  # fmt: skip
    ours, peer = work.timed(made, 1)
    assert (ours.who, ours.rate, ours.of_limit, ours.ratio.median) == (OURS, 4, 0.5, 1)
    assert (peer.who, peer.seconds.median, peer.ratio.median, peer.of_limit) == (
        "peer",
        2.0,
        1,
        0.5,
    )
    assert (peer.difference, ours.difference) == (1e-6, None)


@pytest.mark.parametrize("difference", [1.0, math.inf, math.nan])
def test_other_work_is_not_timed(difference):
    with pytest.raises(ValueError, match=r"the logits of a peer differ from ours.*; what"):
        work.checked(difference, "logits", "a peer")


def test_differences_are_relative_and_the_largest():
    ours = {"a": np.full(4, 100.0), "b": np.full(4, 1.0)}
    assert work.relative_difference(ours, ours) == 0
    theirs = {"a": np.full(4, 101.0), "b": np.full(4, 1.5)}
    assert work.relative_difference(ours, theirs) == pytest.approx(0.5)


def test_absent_peers_are_named_and_unasked_ones_are_not_looked_for(monkeypatch):
    monkeypatch.setitem(work.PEERS, "faiss", "no_such_library")
    assert Setting(peers=frozenset({"faiss", "numpy"})).missing() == ["faiss"]
    assert Setting(peers=frozenset({"faiss"})).peer("faiss") is None
    assert Setting().peer("numpy") is None and Setting(peers=frozenset({"numpy"})).peer("numpy")


def test_half_precision_has_tolerances_of_its_own():
    assert Setting().kind("logits") == "logits"
    for name in ("logits", "updates", "probabilities"):
        assert work.TOLERANCE[Setting(dtype="bfloat16").kind(name)] > work.TOLERANCE[name]
