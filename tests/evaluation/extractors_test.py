"""Class probabilities of a network whose answers are known: it names the colour of what it sees."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from dsf_jax.evaluation import extractors
from dsf_jax.evaluation.evaluate import recognition
from dsf_jax.evaluation.extractors import CLASSIFIED_AT_ONCE, NamedModel, class_probabilities
from dsf_jax.images.points import CANVAS
from dsf_jax.images.resize import PEN
from dsf_jax.models.backbone import INPUT, Backbone, PixelFormat
from dsf_jax.models.backbones import BACKBONES
from dsf_jax.models.model import Model, ModelConfig
from tests.backbones import TWO_LAYERS

SIZE = 64
BATCH_SIZE = CLASSIFIED_AT_ONCE
COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)


class Gain(nn.Module):
    @nn.compact
    def __call__(self, x):
        return x * self.param("gain", nn.initializers.ones, (1,))[None]


class Colours(nn.Module):
    """Class i is COLOURS[i]; a grey picture is class 0 if it is light, 1 if it is half dark."""

    num_classes: int = 3
    dropout_rate: float = 0.0
    dtype: type = jnp.float32

    @nn.compact
    def __call__(self, inputs, dropout_keys=None, start=INPUT):
        seen = Gain(name="eye")(inputs.mean(axis=(1, 2)))
        grey = jnp.ptp(seen, axis=-1, keepdims=True) < 20
        dark = seen[:, :1] < 180
        by_darkness = 20.0 * jnp.concatenate([~dark, dark, jnp.zeros_like(dark)], axis=1)
        return jnp.where(grey, by_darkness, seen / 12), {}


NAMES = ("red", "green", "blue")
PIXELS = PixelFormat("RGB", 1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@pytest.fixture(autouse=True)
def backbones(monkeypatch):
    for name in ("colours", "other colours"):
        own = {**vars(TWO_LAYERS), "name": name, "build": Colours, "pixels": PIXELS, "size": SIZE}
        monkeypatch.setitem(BACKBONES, name, Backbone(**own))


def colours(gain=1.0, *, size=SIZE, backbone="colours"):
    config = ModelConfig(backbone, NAMES, size, ())
    return Model({"eye": {"gain": np.full(1, gain, np.float32)}}, config)


def tu_berlin(examples, folder, model=None):
    named = NamedModel("runs/colours", model or colours())
    labels = np.array([example["label"] for example in examples], np.int32)
    return recognition(named, examples, labels, configuration={}, progress=folder)


def photo(middle, border, label):
    """Of the nine patches only the middle one is mostly `middle`."""
    picture = np.broadcast_to(COLOURS[border], (256, 256, 3)).copy()
    picture[96:160, 96:160] = COLOURS[middle]
    return {"photo": picture, "label": label}


def drawing(dark, label):
    cells = CANVAS if dark else 4
    grid = np.stack(np.meshgrid(np.arange(0, cells, 9), np.arange(0, CANVAS // 2, 9)), -1)
    return {"points": grid.reshape(-1, 2).astype(np.uint16), "label": label}


def values(result):
    """Single angle and voting."""
    return [result.numbers[f"accuracy/{way}"].value for way in ("single_angle", "voting")]


def test_one_view_sees_the_middle_and_the_vote_sees_the_most(tmp_path):
    # Middle is 0: single-angle says 0. Border is 1: eight of nine patches vote 1.
    for label, single, voted in ((0, 1.0, 0.0), (1, 0.0, 1.0), (2, 0.0, 0.0)):
        result = tu_berlin([photo(0, 1, label)], tmp_path / str(label))
        assert values(result) == [single, voted]
        assert result.counts == {"examples": 1, "classes": 3}


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, BATCH_SIZE - 1, BATCH_SIZE, BATCH_SIZE + 1])
def test_the_last_batch_counts_each_of_its_examples_once(count, tmp_path):
    """All are wrong but the last, whose copies pad the last batch."""
    examples = [photo(1, 1, 2)] * (count - 1) + [photo(2, 2, 2)]
    result = tu_berlin(examples, tmp_path)
    assert values(result) == pytest.approx([1 / count, 1 / count])
    assert result.counts["examples"] == count


def test_drawings_are_classified_too(tmp_path):
    examples = [drawing(False, 0), drawing(True, 1), drawing(True, 0), drawing(False, 2)]
    assert values(tu_berlin(examples, tmp_path)) == [0.5, 0.5]


class Counted(Sequence):
    def __init__(self, examples):
        self.examples, self.read = examples, []

    def __len__(self):
        return len(self.examples)

    def __getitem__(self, index):
        self.read.append(index)
        return self.examples[index]


def test_every_example_is_read_once(tmp_path):
    examples = Counted([photo(0, 0, 0)] * (BATCH_SIZE + 3))
    class_probabilities(colours(), examples, tmp_path / "probabilities")
    assert examples.read == list(range(BATCH_SIZE + 3))


def test_what_the_result_depends_on_is_recorded(tmp_path):
    result = tu_berlin([photo(0, 1, 0)], tmp_path)
    assert result.configuration == {"size": SIZE, "views": 18}
    assert NamedModel("a", colours()).configuration()["checkpoint"] == {
        "name": "a", "digest": colours().digest(), "backbone": "colours", "size": SIZE,
        "resizing": "edge_preserving", "pen": PEN,
    }  # fmt: skip


def test_nothing_to_classify_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no examples to classify; choose a split that has some"):
        class_probabilities(colours(), [], tmp_path / "probabilities")
    assert not (tmp_path / "probabilities").exists()


# --- going on after a kill


@pytest.fixture
def classified(monkeypatch):
    """Counts the batches that pass the network."""
    calls = []
    original = extractors.CLASSIFIERS["voting"]
    monkeypatch.setitem(
        extractors.CLASSIFIERS, "voting", lambda *args: calls.append(1) or original(*args)
    )
    return calls


class Killed(Counted):
    def __getitem__(self, index):
        if index == 2 * BATCH_SIZE + 1:
            raise KeyboardInterrupt
        return super().__getitem__(index)


def many():
    """Three batches, right by single angle, by vote, or by neither, in no order."""
    draw = np.random.default_rng(0).integers(0, 3, (2 * BATCH_SIZE + 5, 3))
    return [photo(*row) for row in draw.tolist()]


@pytest.mark.slow
def test_a_killed_evaluation_goes_on_where_it_was(tmp_path, classified):
    expected = tu_berlin(many(), tmp_path / "whole")
    assert len(classified) == 3
    folder = tmp_path / "probabilities"
    with pytest.raises(KeyboardInterrupt):
        class_probabilities(colours(), Killed(many()), folder)
    assert len(classified) == 5 and np.load(folder / "done.npy").tolist() == [True, True, False]
    assert tu_berlin(many(), tmp_path) == expected
    assert len(classified) == 6
    assert tu_berlin(many(), tmp_path) == expected
    assert len(classified) == 6
    # A file per classifier, of probabilities only.
    for name in ("single_angle", "voting"):
        assert (folder / f"{name}.npy").stat().st_size == 128 + (2 * BATCH_SIZE + 5) * 3 * 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gain": 2.0}, "parameters is"),
        ({"size": SIZE + 1}, "size is 64 there and 65 now"),
        ({"backbone": "other colours"}, "backbone is 'colours' there and 'other colours' now"),
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_nothing_is_taken_of_another_model(tmp_path, classified, changes, words, finished):
    folder = tmp_path / "probabilities"
    if finished:
        class_probabilities(colours(), many(), folder)
    else:
        with pytest.raises(KeyboardInterrupt):
            class_probabilities(colours(), Killed(many()), folder)
    classified.clear()
    with pytest.raises(ValueError, match=f"{words}.*; choose another folder"):
        class_probabilities(colours(**changes), many(), folder)
    assert not classified


def test_labels_are_no_part_of_probabilities(tmp_path, classified):
    tu_berlin(many(), tmp_path)
    relabelled = [example | {"label": 0} for example in many()]
    expected = tu_berlin(relabelled, tmp_path / "other")
    classified.clear()
    assert tu_berlin(relabelled, tmp_path) == expected
    assert not classified


@pytest.mark.slow
@pytest.mark.parametrize("damage", [b"", b"half", np.zeros((2, 2, 3), np.float32)])
def test_a_damaged_file_of_progress_is_named(tmp_path, damage):
    tu_berlin(many(), tmp_path)
    path = tmp_path / "probabilities" / "voting.npy"
    if isinstance(damage, np.ndarray):
        np.save(path, damage)
    else:
        path.write_bytes(path.read_bytes()[:200] if damage else b"")
    with pytest.raises(
        ValueError, match=f"{path.name} .*remove the folder and run the command again"
    ):
        tu_berlin(many(), tmp_path)
