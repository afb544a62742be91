"""A broken file stops the build or is counted; trouble of the machine always stops it."""

import dataclasses
import errno
import pickle

import pytest

from data_builders.faults import Attempt, BadFile, Skipped, check_classes, without_repeats


@dataclasses.dataclass(frozen=True)
class Numbered:
    key: str
    where: str


ONE = Numbered("1", "src: a/1.png")


def _raiser(error):
    def make(example):
        raise error

    return make


def test_bad_files_survive_the_way_from_a_worker():
    fault = pickle.loads(pickle.dumps(BadFile("src: a", "empty file", "remove it")))
    assert str(fault) == "src: a: empty file; remove it"
    assert (fault.where, fault.reason, fault.remedy) == ("src: a", "empty file", "remove it")


def test_raise_lets_the_error_pass_and_skip_returns_it():
    error = ValueError("src: a/1.png: is  odd\n")
    with pytest.raises(ValueError) as caught:
        Attempt(_raiser(error))(ONE)
    assert caught.value is error
    outcome = Attempt(_raiser(error), "skip")(ONE)
    assert (
        outcome.record is None and str(outcome.fault) == "src: a/1.png: is odd; repair or remove it"
    )
    fault = BadFile("other", "reason")
    assert Attempt(_raiser(fault), "skip")(ONE).fault is fault
    denied = PermissionError(errno.EACCES, "Permission denied", "a/1.png")
    assert Attempt(_raiser(denied), "skip")(ONE).fault.reason == "permission denied"
    assert Attempt(lambda example: {"image": b"x"}, "skip")(ONE).record == {"image": b"x"}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EMFILE, errno.EIO])
def test_trouble_of_the_machine_is_never_skipped(number):
    with pytest.raises(OSError):
        Attempt(_raiser(OSError(number, "trouble")), "skip")(ONE)


def test_programming_errors_are_never_skipped():
    with pytest.raises(TypeError):
        Attempt(_raiser(TypeError("bug")), "skip")(ONE)


def test_an_unknown_policy_is_an_error():
    with pytest.raises(ValueError, match="on_error='ignore' is unknown; choose one of raise, skip"):
        Attempt(len, "ignore")


def test_the_summary_counts_by_reason_and_names_some():
    skipped = Skipped()
    assert str(skipped) == "" and not skipped
    skipped.add(BadFile("z", "empty file"))
    assert str(skipped) == "skipped 1 file: 1 empty file (z)"
    for i in range(7):
        skipped.add(BadFile(f"f{i}", "not a picture"))
    assert str(skipped) == (
        "skipped 8 files: 7 not a picture (f0, f1, f2, f3, f4 and 2 more); 1 empty file (z)"
    )
    assert skipped.counts == {"not a picture": 7, "empty file": 1} and len(skipped) == 8


def test_of_two_files_with_one_id_the_first_stays():
    other, third = Numbered("1", "src: b/1.png"), Numbered("2", "src: 2.png")
    with pytest.raises(BadFile) as caught:
        without_repeats([ONE, other, third], on_error="raise", skipped=Skipped())
    assert str(caught.value) == (
        "src: b/1.png: has the same id '1' as src: a/1.png; rename or remove one of them"
    )
    skipped = Skipped()
    assert without_repeats([ONE, other, third], on_error="skip", skipped=skipped) == [ONE, third]
    assert str(skipped) == "skipped 1 file: 1 same id as another file (src: b/1.png)"


@pytest.mark.parametrize("names", [["a", "a"], [" "], ["a\nb"], ["caf\udce9"]])
def test_class_names_that_a_label_file_cannot_hold_are_errors(names):
    with pytest.raises(ValueError, match=r"src: class name .* rename it"):
        check_classes(names, "src")


def test_no_class_is_an_error():
    with pytest.raises(ValueError, match="src: no class found"):
        check_classes([], "src")
