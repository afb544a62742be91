"""Accuracy of a network whose answers are known: it names the colour of what it sees."""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
import pytest

from dsf_jax.evaluation.protocols.recognition import BATCH_SIZE, RecognitionResult, recognition
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


def test_one_view_sees_the_middle_and_the_vote_sees_the_most():
    # Middle is 0: single-angle says 0. Border is 1: eight of nine patches vote 1.
    for label, single, voted in ((0, 1.0, 0.0), (1, 0.0, 1.0), (2, 0.0, 0.0)):
        result = recognition(Colours(), {}, [photo(0, 1, label)], size=SIZE)
        assert result == RecognitionResult(single, voted, 1, 3)


@pytest.mark.parametrize("count", [1, BATCH_SIZE - 1, BATCH_SIZE, BATCH_SIZE + 1])
def test_the_last_group_counts_each_of_its_examples_once(count):
    """All are wrong but the last, whose copies pad the last group."""
    examples = [photo(1, 1, 2)] * (count - 1) + [photo(2, 2, 2)]
    result = recognition(Colours(), {}, examples, size=SIZE)
    assert result.single_angle == pytest.approx(1 / count)
    assert result.voting == pytest.approx(1 / count)
    assert result.examples == count


def test_a_mixed_bag():
    examples = [
        photo(0, 0, 0),  # both right
        photo(1, 1, 0),  # both wrong
        photo(2, 1, 2),  # single right
        photo(2, 1, 1),  # vote right
        photo(1, 0, 0),  # vote right
    ]
    result = recognition(Colours(), {}, examples, size=SIZE)
    assert result == RecognitionResult(pytest.approx(2 / 5), pytest.approx(3 / 5), 5, 3)


def test_drawings_are_classified_too():
    examples = [drawing(False, 0), drawing(True, 1), drawing(True, 0), drawing(False, 2)]
    result = recognition(Colours(), {}, examples, size=SIZE)
    assert result == RecognitionResult(0.5, 0.5, 4, 3)


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
    recognition(Colours(), {}, examples, size=SIZE)
    assert examples.read == list(range(BATCH_SIZE + 3))


def test_no_examples_are_an_error():
    with pytest.raises(ValueError, match="no examples to classify; choose a split that has some"):
        recognition(Colours(), {}, [], size=SIZE)
