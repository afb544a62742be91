"""Records: what never enters one, files whole or refused, folds joined."""

import dataclasses
import json
import math

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from dsf_jax.evaluation.results import (
    ResultRecord,
    as_dict,
    over_folds,
    own_configuration,
    read_result,
    write_result,
)
from dsf_jax.evaluation.statistics import Measure


def record(**changes):
    whole = {
        "protocol": "tu_berlin",
        "numbers": {"accuracy/voting": Measure(0.5, 0.25, 0.75)},
        "configuration": {"size": 227, "layers": ["L6"], "checkpoint": "runs/a", "seed": None},
        "counts": {"examples": 30, "classes": 250},
        "interval": "95 % bootstrap over examples, 1000 draws, seed 0",
        "details": {"per_class": {"Flügel": {"voting": 0.5}}},
    }
    return ResultRecord(**whole | changes)


# --- what enters a record


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"numbers": {"mAP": Measure(math.nan, 0.0, 1.0)}}, r"numbers\['mAP'\] is \(nan, 0.0"),
        ({"numbers": {"mAP": Measure(0.5, 0.0, math.inf)}}, "expected three finite floats"),
        ({"numbers": {"mAP": Measure(1, 1, 1)}}, "expected three finite floats"),
        ({"numbers": {"mAP": Measure(np.float32(1), 0.0, 1.0)}}, "expected three finite floats"),
        ({"numbers": {"mAP": Measure(0.5, 0.7, 0.2)}}, "its low 0.7 above its high 0.2"),
        ({"counts": {"queries": 1.0}}, r"counts\['queries'\] is 1.0, expected an int"),
        ({"counts": {"queries": -1}}, "at least 0"),
        ({"configuration": {"ks": (1, 2)}}, r"configuration\['ks'\] is a tuple"),
        ({"configuration": {"k": np.int64(1)}}, r"configuration\['k'\] is a int64"),
        ({"details": {"a": [{"b": math.nan}]}}, r"details\['a'\]\[0\]\['b'\] is nan"),
        ({"details": {"a": {1: 2}}}, r"details\['a'\] has the key 1, expected text"),
    ],
)
def test_what_a_file_could_not_hold_is_refused(changes, words) -> None:
    with pytest.raises(ValueError, match="tu_berlin: .*" + words) as error:
        record(**changes)
    assert "\n" not in str(error.value)


def test_a_protocol_states_its_own_options() -> None:
    assert own_configuration({"layer": "L6"}, K=150) == {"layer": "L6", "K": 150}
    with pytest.raises(ValueError, match="configuration has K, which the protocol itself states"):
        own_configuration({"layer": "L6", "K": 3}, K=150)


# --- files

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab\nü"), inner),
    max_leaves=5,
)  # fmt: skip


@hypothesis.given(details=st.dictionaries(st.sampled_from(["x", "y z"]), JSON))
@hypothesis.settings(max_examples=40, derandomize=True)
def test_a_file_gives_back_its_record(tmp_path_factory, details) -> None:
    path = tmp_path_factory.mktemp("results") / "result.json"
    written = record(details=details)
    write_result(path, written)
    found = read_result(path)
    assert found == written
    assert isinstance(found.numbers["accuracy/voting"], Measure)


def test_a_result_is_never_overwritten(tmp_path) -> None:
    path = tmp_path / "result.json"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match=r"result.json exists, .*; remove it or choose"):
        write_result(path, record())
    assert path.read_text() == "mine"


def test_a_file_is_named_fields_for_people(tmp_path) -> None:
    write_result(tmp_path / "new" / "result.json", record())
    text = (tmp_path / "new" / "result.json").read_text(encoding="utf-8")
    content = json.loads(text)
    assert content["numbers"] == {"accuracy/voting": {"value": 0.5, "low": 0.25, "high": 0.75}}
    assert content == as_dict(record()) and "Flügel" in text and text.endswith("}\n")


def damaged(**changes):
    content = as_dict(record()) | changes
    return json.dumps({name: x for name, x in content.items() if x is not ...})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not whole JSON"),
        (json.dumps(as_dict(record()))[:-20], "is not whole JSON"),
        ("[" * 100_000, "is not whole JSON"),
        ("[]", 'is no result record, which has "dsf_jax_result": 1'),
        ('{"layer": "L6"}', "is no result record"),
        (damaged(dsf_jax_result=2), "is no result record"),
        (damaged(interval=...), "damaged result .its interval is missing or no str"),
        (damaged(numbers=[1]), "its numbers is missing or no dict"),
        (damaged(numbers={"mAP": {"value": 1.0}}), "damaged .*missing 2 required"),
        (damaged(numbers={"mAP": 1.0}), "damaged"),
        (damaged(numbers={"mAP": {"value": math.nan, "low": 0.0, "high": 1.0}}), "finite floats"),
        (damaged(counts={"queries": "3"}), "expected an int"),
        (damaged(more=1), "damaged .*more"),
    ],
)
def test_a_damaged_or_foreign_file_is_named(tmp_path, text, words) -> None:
    path = tmp_path / "result.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=words) as error:
        read_result(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_file_that_is_no_text_or_not_there_is_named(tmp_path) -> None:
    (tmp_path / "result.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="is not whole JSON"):
        read_result(tmp_path / "result.json")
    for path in (tmp_path, tmp_path / "none.json"):
        with pytest.raises(FileNotFoundError, match="is not a file; name a result"):
            read_result(path)


# --- folds


def fold(number, voting, **changes):
    numbers = {"accuracy/voting": Measure(voting, 0.0, 1.0)}
    return record(
        numbers=numbers,
        configuration={"size": 227, "checkpoint": f"runs/{number}", "data": f"fold{number}"},
        counts={"examples": 27 - number, "classes": 250},
        details={"which": number},
        **changes,
    )


def test_folds_have_their_mean_lowest_and_highest() -> None:
    joined = over_folds([fold(0, 0.7), fold(1, 0.9), fold(2, 0.74)])
    assert joined.numbers == {"accuracy/voting": Measure(pytest.approx(0.78), 0.7, 0.9)}
    assert joined.counts == {"examples": 27 + 26 + 25, "classes": 250, "folds": 3}
    assert joined.interval == "lowest and highest of 3 folds"
    assert joined.configuration["size"] == 227 and "checkpoint" not in joined.configuration
    assert joined.configuration["folds"] == [
        {"checkpoint": f"runs/{i}", "data": f"fold{i}"} for i in range(3)
    ]
    assert [f["details"]["which"] for f in joined.details["folds"]] == [0, 1, 2]
    assert [f["counts"]["examples"] for f in joined.details["folds"]] == [27, 26, 25]
    assert joined.details["folds"][1]["numbers"]["accuracy/voting"]["value"] == 0.9


def test_sizes_that_differ_between_folds_are_not_added() -> None:
    sizes = (100, 90)
    folds = [
        dataclasses.replace(fold(i, 0.5), counts={"queries": 5, "gallery": sizes[i]})
        for i in range(2)
    ]
    assert over_folds(folds).counts == {"queries": 10, "folds": 2}


def test_what_all_folds_were_tested_on_is_counted_once() -> None:
    counts = {"queries": 31, "pairs": 1240}
    folds = [
        dataclasses.replace(
            fold(i, 0.5), configuration={"data": "all", "fold": i}, counts=dict(counts)
        )
        for i in range(3)
    ]
    assert over_folds(folds).counts == counts | {"folds": 3}


def test_one_fold_keeps_its_interval_and_equal_folds_have_no_width() -> None:
    alone = fold(0, 0.7)
    alone.numbers["accuracy/voting"] = Measure(0.7, 0.65, 0.74)
    one = over_folds([alone])
    assert one.numbers["accuracy/voting"] == (0.7, 0.65, 0.74)
    assert one.interval == f"{alone.interval}, 1 fold"
    assert one.configuration == {"size": 227, "checkpoint": "runs/0", "data": "fold0"}
    equal = over_folds([fold(i, 0.1) for i in range(3)])
    assert equal.numbers["accuracy/voting"] == (0.1, 0.1, 0.1)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (lambda x: dataclasses.replace(x, protocol="eitz_sbir"), "record 1 is of the protocol"),
        (lambda x: dataclasses.replace(x, numbers={}), "the numbers accuracy/voting; join folds"),
        (lambda x: dataclasses.replace(x, counts={"examples": 1}), "the counts classes"),
        (
            lambda x: dataclasses.replace(
                x, configuration={"size": 64, "checkpoint": "runs/1", "data": "fold1"}
            ),
            "record 1 has size=64, record 0 227; folds may differ in checkpoint",
        ),
        (
            lambda x: dataclasses.replace(x, configuration={"size": 227, "data": "fold1"}),
            "the configuration checkpoint",
        ),
        (lambda x: fold(0, 0.9), "records 0 and 1 have one configuration: they are one fold"),
    ],
)  # fmt: skip
def test_what_are_no_folds_of_one_evaluation_is_refused(other, words) -> None:
    with pytest.raises(ValueError, match=words):
        over_folds([fold(0, 0.7), other(fold(1, 0.8))])


def test_no_folds_are_refused() -> None:
    with pytest.raises(ValueError, match="no records to join; give one per fold"):
        over_folds([])
