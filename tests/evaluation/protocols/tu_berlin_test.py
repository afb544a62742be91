"""Accuracy of a network whose answers are known: it names the colour of what it sees."""

import dataclasses
import functools
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
import pytest

from dsf_jax.evaluation.protocols import tu_berlin as protocol
from dsf_jax.evaluation.protocols.tu_berlin import BATCH_SIZE, accuracies, join_folds
from dsf_jax.evaluation.results import read_result, write_result
from dsf_jax.evaluation.statistics import bootstrap
from dsf_jax.images.points import CANVAS

SIZE = 64
COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
CAFFE_MEAN_RGB = np.array([122.67891, 116.66877, 104.00699], np.float32)


@dataclasses.dataclass(frozen=True)
class Colours:
    """Class i is COLOURS[i]; a grey picture is class 0 if it is light, 1 if it is half dark."""

    variant: str = "caffe"
    num_classes: int = 3

    def apply(self, variables, inputs):
        del variables
        seen = inputs[..., ::-1].mean(axis=(1, 2)) + jnp.asarray(CAFFE_MEAN_RGB)[None]
        grey = jnp.ptp(seen, axis=-1, keepdims=True) < 20
        dark = seen[:, :1] < 180
        by_darkness = 20.0 * jnp.concatenate([~dark, dark, jnp.zeros_like(dark)], axis=1)
        return jnp.where(grey, by_darkness, seen / 12), {}


def photo(middle, border, label):
    """Of the nine patches only the middle one is mostly `middle`."""
    picture = np.broadcast_to(COLOURS[border], (256, 256, 3)).copy()
    picture[96:160, 96:160] = COLOURS[middle]
    return {"photo": picture, "label": label}


def drawing(dark, label):
    cells = CANVAS if dark else 4
    grid = np.stack(np.meshgrid(np.arange(0, cells, 9), np.arange(0, CANVAS // 2, 9)), -1)
    return {"points": grid.reshape(-1, 2).astype(np.uint16), "label": label}


NAMES = ("red", "green", "blue")
tu_berlin = functools.partial(
    protocol.tu_berlin, class_names=NAMES, size=SIZE, configuration={"checkpoint": "runs/colours"}
)


def values(result):
    """Single angle and voting."""
    return [result.numbers[f"accuracy/{way}"].value for way in ("single_angle", "voting")]


def test_one_view_sees_the_middle_and_the_vote_sees_the_most():
    # Middle is 0: single-angle says 0. Border is 1: eight of nine patches vote 1.
    for label, single, voted in ((0, 1.0, 0.0), (1, 0.0, 1.0), (2, 0.0, 0.0)):
        result = tu_berlin(Colours(), {}, [photo(0, 1, label)])
        assert values(result) == [single, voted]
        assert result.counts == {"examples": 1, "classes": 3}


@pytest.mark.parametrize("count", [1, BATCH_SIZE - 1, BATCH_SIZE, BATCH_SIZE + 1])
def test_the_last_group_counts_each_of_its_examples_once(count):
    """All are wrong but the last, whose copies pad the last group."""
    examples = [photo(1, 1, 2)] * (count - 1) + [photo(2, 2, 2)]
    result = tu_berlin(Colours(), {}, examples)
    assert values(result) == pytest.approx([1 / count, 1 / count])
    assert result.counts["examples"] == count


MIXED = [
    photo(0, 0, 0),  # both right
    photo(1, 1, 0),  # both wrong
    photo(2, 1, 2),  # single right
    photo(2, 1, 1),  # vote right
    photo(1, 0, 0),  # vote right
]


def test_a_mixed_bag():
    result = tu_berlin(Colours(), {}, MIXED)
    assert values(result) == pytest.approx([2 / 5, 3 / 5])
    assert result.protocol == "tu_berlin"
    assert result.configuration == {"checkpoint": "runs/colours", "size": SIZE, "views": 18}
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


def test_drawings_are_classified_too():
    examples = [drawing(False, 0), drawing(True, 1), drawing(True, 0), drawing(False, 2)]
    assert values(tu_berlin(Colours(), {}, examples)) == [0.5, 0.5]


class Counted(Sequence):
    def __init__(self, examples):
        self.examples, self.read = examples, []

    def __len__(self):
        return len(self.examples)

    def __getitem__(self, index):
        self.read.append(index)
        return self.examples[index]


def test_every_example_is_read_once():
    examples = Counted([photo(0, 0, 0)] * (BATCH_SIZE + 3))
    tu_berlin(Colours(), {}, examples)
    assert examples.read == list(range(BATCH_SIZE + 3))


def test_what_cannot_be_classified_is_refused():
    with pytest.raises(ValueError, match="no examples to classify; choose a split that has some"):
        tu_berlin(Colours(), {}, [])
    with pytest.raises(ValueError, match="class_names has 2 names, the network 3 classes"):
        tu_berlin(Colours(), {}, MIXED, class_names=NAMES[:2])


# --- going on after a kill


@pytest.fixture
def classified(monkeypatch):
    """Counts the groups that pass the network."""
    calls = []
    original = protocol._classified
    monkeypatch.setattr(
        protocol, "_classified", lambda *args: calls.append(len(calls)) or original(*args)
    )
    return calls


class Killed(Counted):
    def __getitem__(self, index):
        if index == 2 * BATCH_SIZE + 1:
            raise KeyboardInterrupt
        return super().__getitem__(index)


def many():
    """Three groups, right by single angle, by vote, or by neither, in no order."""
    draw = np.random.default_rng(0).integers(0, 3, (2 * BATCH_SIZE + 5, 3))
    return [photo(*row) for row in draw.tolist()]


PARAMS = {"fc8": {"kernel": np.eye(3, dtype=np.float32)}}


def test_a_killed_evaluation_goes_on_where_it_was(tmp_path, classified):
    expected = tu_berlin(Colours(), PARAMS, many())
    assert len(classified) == 3
    with pytest.raises(KeyboardInterrupt):
        tu_berlin(Colours(), PARAMS, Killed(many()), progress=tmp_path)
    assert len(classified) == 5 and len(list(tmp_path.iterdir())) == 2
    assert tu_berlin(Colours(), PARAMS, many(), progress=tmp_path) == expected
    assert len(classified) == 6
    assert tu_berlin(Colours(), PARAMS, many(), progress=tmp_path) == expected
    assert len(classified) == 6
    # A file a block, of probabilities alone.
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert sizes == [128 + BATCH_SIZE * 2 * 3 * 4] * 3


@pytest.mark.parametrize(
    ("changes", "computed"),
    [
        ({"params": {"fc8": {"kernel": 2 * np.eye(3, dtype=np.float32)}}}, 3),
        ({"params": {"fc7": PARAMS["fc8"]}}, 3),
        ({"size": SIZE + 1}, 3),
        ({"model": Colours(variant="torchvision")}, 3),
        ({"examples": [photo(1, 1, 1), *many()[1:]]}, 1),
        # Another order of the same examples is other blocks; labels are no part of probabilities.
        ({"examples": many()[::-1]}, 3),
        ({"examples": [example | {"label": 0} for example in many()]}, 0),
    ],
)
def test_nothing_is_taken_of_another_evaluation(tmp_path, classified, changes, computed):
    args = {"model": Colours(), "params": PARAMS, "examples": many()}
    tu_berlin(**args, progress=tmp_path)
    changed = args | changes
    expected = tu_berlin(**changed)
    classified.clear()
    assert tu_berlin(**changed, progress=tmp_path) == expected
    assert len(classified) == computed


@pytest.mark.parametrize("damage", [b"", b"half", np.zeros((2, 2, 3), np.float32)])
def test_a_damaged_file_of_progress_is_named(tmp_path, damage):
    tu_berlin(Colours(), PARAMS, many(), progress=tmp_path)
    path = sorted(tmp_path.iterdir())[0]
    if isinstance(damage, np.ndarray):
        np.save(path, damage)
    else:
        path.write_bytes(path.read_bytes()[:200] if damage else b"")
    with pytest.raises(ValueError, match=f"{path.name} .*remove it, and its block is computed"):
        tu_berlin(Colours(), PARAMS, many(), progress=tmp_path)


# --- scores of any classifier's guesses, and folds


def test_the_most_confused_come_first():
    labels = np.array([0, 0, 0, 1, 1, 2, 2])
    guesses = {"nearest": np.array([2, 2, 0, 0, 1, 0, 2])}
    result = accuracies(labels, guesses, class_names=NAMES, configuration={})
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
    result = accuracies(labels, {"voting": guesses}, class_names=names, configuration={})
    assert len(result.details["most_confused"]) == protocol.MOST_CONFUSED
    wrong = sum(n for taken in result.details["confusions"].values() for n in taken.values())
    assert wrong == (labels != guesses).sum()
    counts = [pair["examples"] for pair in result.details["most_confused"]]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == max(n for t in result.details["confusions"].values() for n in t.values())


def test_accuracy_is_the_mean_of_the_classes_by_their_examples():
    rng = np.random.default_rng(1)
    labels, guesses = rng.integers(0, 3, (2, 100))
    result = accuracies(labels, {"voting": guesses}, class_names=NAMES, configuration={})
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
            np.array(labels, int),
            {"voting": np.array(guesses, int)},
            class_names=NAMES,
            configuration={},
        )


def test_three_folds_together(tmp_path):
    rng = np.random.default_rng(2)
    folds = [rng.integers(0, 3, (3, n)) for n in (27, 27, 26)]
    records = [
        accuracies(
            labels,
            {"single_angle": single, "voting": voted},
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
        labels, {"single_angle": single, "voting": voted}, class_names=NAMES, configuration={}
    )
    for name in ("per_class", "confusions", "most_confused"):
        assert joined.details[name] == pooled.details[name]
    told = [fold["numbers"]["accuracy/voting"] for fold in joined.details["folds"]]
    assert told == pytest.approx(each)
    write_result(tmp_path / "folds.json", joined)
    assert read_result(tmp_path / "folds.json") == joined
