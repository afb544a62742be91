"""Accuracy of answers that are known, the most confused classes, and folds."""

import functools

import numpy as np
import pytest

from dsf_jax.evaluation.protocols import tu_berlin as protocol
from dsf_jax.evaluation.protocols.tu_berlin import accuracies, join_folds
from dsf_jax.evaluation.results import read_result, write_result
from dsf_jax.evaluation.statistics import bootstrap

SIZE = 64
NAMES = ("red", "green", "blue")
tu_berlin = functools.partial(
    protocol.tu_berlin, class_names=NAMES, configuration={"checkpoint": "runs/colours"}
)


def answers(single, voted):
    """Probabilities whose largest are these classes."""
    return {
        "single_angle": 0.25 + 0.25 * np.eye(3, dtype=np.float32)[single],
        "voting": 0.1 + 0.7 * np.eye(3, dtype=np.float32)[voted],
    }


def test_a_mixed_bag():
    # Both right, both wrong, single right, vote right, vote right.
    probabilities = answers([0, 1, 2, 2, 1], [0, 1, 1, 1, 0])
    result = tu_berlin(probabilities, np.array([0, 0, 2, 1, 0]))
    values = [result.numbers[f"accuracy/{name}"].value for name in ("single_angle", "voting")]
    assert values == pytest.approx([2 / 5, 3 / 5])
    assert result.counts == {"examples": 5, "classes": 3}
    assert result.protocol == "tu_berlin"
    assert result.configuration == {"checkpoint": "runs/colours", "views": 18}
    assert result.interval == "95 % bootstrap over examples, 1000 draws, seed 0"
    assert result.numbers["accuracy/voting"] == bootstrap(np.array([1.0, 0, 0, 1, 1]))
    # The same examples are resampled for both, so that the gain has an interval of its own.
    gain = result.numbers["accuracy/voting minus single_angle"]
    assert gain == bootstrap(np.array([0.0, 0, -1, 1, 1])) and gain.value == pytest.approx(1 / 5)
    assert result.details["per_class"] == {
        "red": {
            "examples": 3,
            "single_angle": pytest.approx(1 / 3),
            "voting": pytest.approx(2 / 3),
        },
        "green": {"examples": 1, "single_angle": 0.0, "voting": 1.0},
        "blue": {"examples": 1, "single_angle": 1.0, "voting": 0.0},
    }
    assert result.details["confusions"] == {"blue": {"green": 1}, "red": {"green": 1}}


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="no examples to classify; choose a split that has some"):
        tu_berlin(answers([], []), np.zeros(0, int))
    words = (
        r"single_angle are \[2, 3\], expected 2 examples of 2 classes; take them from the network"
    )
    with pytest.raises(ValueError, match=words):
        tu_berlin(answers([0, 1], [0, 1]), np.array([0, 1]), class_names=NAMES[:2])
    with pytest.raises(ValueError, match=r"\[2, 3\], expected 3 examples of 3 classes"):
        tu_berlin(answers([0, 1], [0, 1]), np.array([0, 1, 2]))


# --- scores of any classifier's guesses, and folds


def test_the_most_confused_come_first():
    labels = np.array([0, 0, 0, 1, 1, 2, 2])
    guesses = {"nearest": np.array([2, 2, 0, 0, 1, 0, 2])}
    result = accuracies(guesses, labels, class_names=NAMES, configuration={})
    assert result.details["most_confused"] == [
        {"class": "red", "taken_for": "blue", "examples": 2},
        {"class": "blue", "taken_for": "red", "examples": 1},
        {"class": "green", "taken_for": "red", "examples": 1},
    ]
    assert list(result.numbers) == ["accuracy/nearest"]


def test_the_most_confused_are_a_few_and_the_confusions_all():
    rng = np.random.default_rng(0)
    labels, guesses = rng.integers(0, 30, (2, 3000))
    names = [f"c{i}" for i in range(30)]
    result = accuracies({"voting": guesses}, labels, class_names=names, configuration={})
    assert len(result.details["most_confused"]) == protocol.MOST_CONFUSED
    wrong = sum(n for taken in result.details["confusions"].values() for n in taken.values())
    assert wrong == (labels != guesses).sum()
    counts = [pair["examples"] for pair in result.details["most_confused"]]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == max(n for t in result.details["confusions"].values() for n in t.values())


def test_accuracy_is_the_mean_of_the_classes_by_their_examples():
    rng = np.random.default_rng(1)
    labels, guesses = rng.integers(0, 3, (2, 100))
    result = accuracies({"voting": guesses}, labels, class_names=NAMES, configuration={})
    assert result.numbers["accuracy/voting"].value == pytest.approx(np.mean(labels == guesses))
    per_class = result.details["per_class"].values()
    hits = sum(scores["examples"] * scores["voting"] for scores in per_class)
    assert hits == pytest.approx((labels == guesses).sum())


@pytest.mark.parametrize(
    ("labels", "guesses", "words"),
    [
        ([], [], "no examples to score"),
        ([0, 1], [0], r"guesses\['voting'\] has shape \(1,\), the labels \(2,\)"),
        ([0, 3], [0, 1], "labels holds the class 3, expected 0 to 2"),
        ([0, 1], [0, -1], "voting holds the class -1, expected 0 to 2"),
    ],
)
def test_guesses_that_do_not_fit_are_refused(labels, guesses, words):
    with pytest.raises(ValueError, match=words):
        accuracies(
            {"voting": np.array(guesses, int)},
            np.array(labels, int),
            class_names=NAMES,
            configuration={},
        )


def test_three_folds_together(tmp_path):
    rng = np.random.default_rng(2)
    folds = [rng.integers(0, 3, (3, n)) for n in (27, 27, 26)]
    records = [
        accuracies(
            {"single_angle": single, "voting": voted},
            labels,
            class_names=NAMES,
            configuration={"size": SIZE, "checkpoint": f"runs/fold{i}"},
        )
        for i, (labels, single, voted) in enumerate(folds)
    ]
    joined = join_folds(records)
    each = [np.mean(voted == labels) for labels, _, voted in folds]
    assert joined.numbers["accuracy/voting"] == pytest.approx((np.mean(each), min(each), max(each)))
    assert joined.counts == {"examples": 80, "classes": 3, "folds": 3}
    # The details are those of all 80 examples at once.
    labels, single, voted = np.concatenate(folds, axis=1)
    pooled = accuracies(
        {"single_angle": single, "voting": voted}, labels, class_names=NAMES, configuration={}
    )
    for name in ("per_class", "confusions", "most_confused"):
        assert joined.details[name] == pooled.details[name]
    told = [fold["numbers"]["accuracy/voting"] for fold in joined.details["folds"]]
    assert told == pytest.approx(each)
    write_result(tmp_path / "folds.json", joined)
    assert read_result(tmp_path / "folds.json") == joined
