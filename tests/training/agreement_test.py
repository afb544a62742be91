"""Processes that were started differently are told what differs; tests/training/processes_test.py tries
it with processes."""

import jax
import pytest

from dsf_jax.training import agreement


def check(monkeypatch, *described):
    monkeypatch.setattr(jax, "process_count", lambda: len(described))
    monkeypatch.setattr(agreement, "_gather", lambda own: list(described))
    agreement.check_agreement(described[0])


def test_one_process_compares_nothing():
    agreement.check_agreement({"seed": object()})


def test_processes_that_are_alike(monkeypatch):
    check(monkeypatch, *[{"seed": 1, "data": ["a"]}] * 3)


def test_each_difference_is_named_once_with_both_values(monkeypatch):
    others = {"seed": 1, "rate": 0.1}, {"seed": 2, "rate": 0.1}, {"seed": 3, "rate": 0.1, "fold": 1}
    with pytest.raises(ValueError, match="; start all of them with the same flags") as caught:
        check(monkeypatch, *others)
    assert "seed is 1 in process 0 and 2 in process 1;" in str(caught.value)
    assert "fold is None in process 0 and 1 in process 2;" in str(caught.value)
    assert str(caught.value).count("seed") == 1 and "rate" not in str(caught.value)


def test_long_values_are_cut_around_what_differs(monkeypatch):
    one, two = ["x" * 200 + "1" + "y" * 200], ["x" * 200 + "2" + "y" * 200]
    with pytest.raises(ValueError, match="data is ") as caught:
        check(monkeypatch, {"data": one}, {"data": two})
    assert "xx1yy" in str(caught.value) and "xx2yy" in str(caught.value)
    assert len(str(caught.value)) < 350
