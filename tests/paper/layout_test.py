"""The paper's tables: its numbers as printed, ours next to them, and a reason wherever there is none."""

import re

import numpy as np
import pytest

from dsf_jax.evaluation.protocols.voc_retrieval import Shown, voc_retrieval
from dsf_jax.evaluation.results import ResultRecord, over_folds
from dsf_jax.evaluation.statistics import Measure
from dsf_jax.paper import numbers
from dsf_jax.paper.layout import (
    curves_of,
    figure_4,
    retrieval_table,
    table_1,
    table_2,
    table_3,
)
from dsf_jax.paper.tables import NotRun, markdown
from tests.paper.read import lines_of, rows_of

MISSING = NotRun("needs tu_berlin/sketch, get it at http://example.org")


def record(**numbers):
    """A result with the given values, each with an interval of .01 to both sides."""
    measured = {name: Measure(x, x - 0.01, x + 0.01) for name, x in numbers.items()}
    return ResultRecord("any", measured, {}, {"examples": 7}, "95 % of something", {})


def accuracy(single, voting):
    return record(**{"accuracy/single_angle": single, "accuracy/voting": voting})


def test_table_1_has_ours_beside_the_papers():
    found = dict.fromkeys(numbers.RUNS, MISSING) | {"S+I": accuracy(0.7, 0.75)}
    table = table_1(found)
    assert table.columns == ("single angle", "18-angle voting")
    assert lines_of(table) == {
        "S, bilinear resizing": ["0.690 / not run (1)", "0.710 / not run (1)"],
        "S, cubic resizing": ["– / not run (1)", "– / not run (1)"],
        "S": ["0.747 / not run (1)", "0.773 / not run (1)"],
        "S+I": ["0.738 / 0.700 [0.690, 0.710]", "0.767 / 0.750 [0.740, 0.760]"],
        "S+E": ["0.743 / not run (1)", "0.771 / not run (1)"],
        "S+I+E": ["0.745 / not run (1)", "0.768 / not run (1)"],
    }
    told = markdown(table)
    assert told.count(f"- (1) not run: {MISSING.reason}.") == 1
    assert "- [low, high]: 95 % of something." in told and "- Evaluated: 7 examples." in told


def test_every_reason_has_its_own_number():
    found = {run: NotRun(f"needs {run}") for run in numbers.RUNS}
    told = markdown(table_1(found))
    for number, run in enumerate(numbers.RUNS, 1):
        assert f"- ({number}) not run: needs {run}." in told
    assert lines_of(table_1(found))["S+I+E"] == ["0.745 / not run (6)", "0.768 / not run (6)"]


def test_table_2_lists_others_ours_and_what_is_run_on_the_same_data():
    baselines = {
        "HOG": record(**{"accuracy/linear": 0.5}),
        "raw pixels": MISSING,
        "SIFT + Fisher": record(**{"accuracy/linear": 0.6}),
    }
    rivals = {"Sketch-a-Net": accuracy(0.66, 0.68)}
    assert lines_of(table_2(accuracy(0.7, 0.72), rivals, baselines)) == {
        "human": ["0.732 / not run (1)"],
        "SIFT + BoW + SVM": ["0.560 / not run (1)"],
        "star graph + KNN": ["0.615 / not run (1)"],
        "MKL": ["0.658 / not run (1)"],
        "SIFT + Fisher": ["0.689 / 0.600 [0.590, 0.610]"],
        "Sketch-a-Net": ["0.749 / 0.680 [0.670, 0.690]"],
        "S, 18-angle voting": ["0.773 / 0.720 [0.710, 0.730]"],
        "HOG + linear classifier": ["– / 0.500 [0.490, 0.510]"],
        "raw pixels + linear classifier": ["– / not run (2)"],
    }


def test_table_3_has_a_column_a_layer():
    found = {
        (run, layer): record(**{"tau-b": 0.1 * i + 0.01 * j})
        for i, run in enumerate(numbers.TABLE_3, 1)
        for j, layer in enumerate(numbers.FEATURES, 1)
    }
    lines = lines_of(table_3(found, {"HOG": record(**{"tau-b": 0.05}), "pool5": MISSING}))
    assert lines["S"][0] == "0.2757 / 0.1100 [0.1000, 0.1200]"
    assert lines["S+I+E"][2] == "0.4773 / 0.3300 [0.3200, 0.3400]"
    assert lines["SHOG"] == ["–", "–", "0.2770 / not run (1)"]
    assert lines["HOG"] == ["–", "–", "– / 0.0500 [0.0400, 0.0600]"]
    assert list(lines) == [*numbers.TABLE_3, *numbers.TABLE_3_OTHERS, "HOG", "pool5"]


def test_a_table_without_the_papers_numbers_shows_ours_alone():
    found = {("HOG", ""): record(mAP=0.1), ("S+I", "L7"): record(mAP=0.2, **{"P@10": 0.3})}
    table = retrieval_table(found)
    assert lines_of(table) == {
        "HOG": ["0.100 [0.090, 0.110]", "no value (1)"],
        "S+I L7": ["0.200 [0.190, 0.210]", "0.300 [0.290, 0.310]"],
    }
    assert "(1) no value: P@10 has none on data of this size." in markdown(table)
    assert "the paper" not in markdown(table)


def voc(seed, fold):
    """A result of the protocol itself, on noise: two classes, 20 photos."""
    rng = np.random.default_rng(seed)
    easy = np.zeros((20, 2), bool)
    easy[:4, 0], easy[2:7, 1] = True, True
    return voc_retrieval(
        rng.normal(size=(6, 3)).astype(np.float32),
        np.arange(6) % 2,
        rng.normal(size=(20, 3)).astype(np.float32),
        Shown(easy, np.zeros_like(easy)),
        class_names=("bicycle", "car"),
        configuration={"checkpoint": f"S/fold{fold}"},
        negatives=(0, 5, None),
    )


def test_curves_of_one_result_are_its_own():
    result = voc(0, 0)
    curves = curves_of(result)
    assert list(curves) == ["bicycle", "car"]
    assert [(p.size, p.negatives) for p in curves["car"]] == [("0", 0), ("5", 5), ("all", 15)]
    assert curves["car"][0].value == Measure(1, 1, 1)
    assert curves["car"][-1].value == result.numbers["bounded mAP@150/car"]


def test_curves_of_folds_are_their_mean_and_range():
    folds = [voc(seed, seed) for seed in range(3)]
    values = [r.numbers["bounded mAP@150/bicycle"].value for r in folds]
    got = curves_of(over_folds(folds))["bicycle"][-1]
    assert got.negatives == 16
    np.testing.assert_allclose(got.value, (np.mean(values), min(values), max(values)))


def test_figure_4_as_a_table():
    table = figure_4({"S": voc(0, 0), "S+I": MISSING})
    sizes = ("0", "5", "1000", "5000", "all")
    assert table.columns == tuple(
        f"{name}, {size} negatives" for name in ("bicycle", "car") for size in sizes
    )
    lines = lines_of(table)
    assert lines["the paper, L6+L7"] == [*["–"] * 4, "0.760 / –", *["–"] * 4, "0.900 / –"]
    assert lines["S"][0] == "– / 1.000 (no interval)"
    assert lines["S"][2] == "– / no value (1)"
    assert lines["S+I"] == ["– / not run (2)"] * 10
    assert any(re.fullmatch(r"Options: K 150, seed \d, difficult_as \w+\.", x) for x in table.notes)
    assert any(note.startswith("bounded mAP: sum of P(k)") for note in table.notes)


def test_figure_4_without_any_result_still_has_the_papers_numbers():
    table = figure_4(dict.fromkeys(numbers.TABLE_3, MISSING))
    assert len(table.columns) == 8
    assert lines_of(table)["the paper, L6+L7"][3] == "0.900 / –"
    assert {row["missing"] for row in rows_of(table)} == {"", f"not run: {MISSING.reason}"}


@pytest.mark.parametrize("make", [figure_4, table_1])
def test_nothing_is_filled_in(make):
    names = numbers.RUNS if make is table_1 else tuple(numbers.TABLE_3)
    table = make(dict.fromkeys(names, MISSING))
    assert all(cell.ours is None for row in table.rows for cell in row.cells)
