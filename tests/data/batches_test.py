"""Stacking and padding: every example once, padding never counted."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from tqdm import tqdm

from dsf_jax.data.batches import collate, content, evaluation_batches, mapped, pad_batch
from dsf_jax.images.points import PADDING


def drawing(i):
    """Drawing i has i + 1 points (i, i, i)."""
    return {"points": np.full((i + 1, 3), i, np.uint16), "label": 10 + i}


def photo(i):
    return {"photo": np.full((256, 256, 3), i, np.uint8), "label": 10 + i}


def resized(i):
    return {"drawing": np.full((8, 8), i, np.uint8), "label": 10 + i}


def test_drawings_are_stacked_and_padded_off_the_canvas():
    batch = collate([drawing(2), drawing(0)], first=5)
    assert {name: (x.shape, x.dtype) for name, x in batch.items()} == {
        "points": ((2, 512, 3), np.uint16),
        "label": ((2,), np.int32),
        "weight": ((2,), np.float32),
        "example": ((2,), np.int32),
    }
    for row, i in zip(batch["points"], (2, 0), strict=True):
        assert (row[: i + 1] == i).all() and (row[i + 1 :, :2] == PADDING).all()
    np.testing.assert_array_equal(batch["label"], [12, 10])
    np.testing.assert_array_equal(batch["weight"], [1, 1])
    np.testing.assert_array_equal(batch["example"], [5, 6])


def test_photos_are_stacked():
    batch = collate([photo(3), photo(1)])
    assert batch["photo"].shape == (2, 256, 256, 3) and batch["photo"].dtype == np.uint8
    np.testing.assert_array_equal(batch["photo"][:, 0, 0, 0], [3, 1])
    np.testing.assert_array_equal(batch["example"], [0, 1])
    assert "points" not in batch


def test_resized_drawings_are_stacked_whatever_the_length_of_lists():
    batch = collate([resized(3), resized(1)], points_length=512)
    assert batch["drawing"].shape == (2, 8, 8) and batch["drawing"].dtype == np.uint8
    np.testing.assert_array_equal(batch["drawing"][:, 0, 0], [3, 1])
    assert not {"points", "photo"} & batch.keys()


def test_lists_take_the_length_asked_for_and_are_never_cut():
    assert collate([drawing(1)], points_length=7)["points"].shape == (1, 7, 3)
    assert collate([drawing(600)])["points"].shape == (1, 1024, 3)
    with pytest.raises(ValueError, match="a list of 9 points does not fit into length=7"):
        collate([drawing(0), drawing(8)], points_length=7)


@pytest.mark.parametrize(
    ("make", "name"), [(drawing, "points"), (resized, "drawing"), (photo, "photo")]
)
def test_content_is_what_views_are_made_of(make, name):
    batch = collate([make(0), make(1)])
    assert list(content(batch)) == [name] and content(batch)[name] is batch[name]


@pytest.mark.parametrize("make", [drawing, resized, photo])
def test_padding_repeats_the_last_example_with_weight_0(make):
    batch = collate([make(0), make(1)])
    before = {name: x.copy() for name, x in batch.items()}
    padded = pad_batch(batch, 5)
    np.testing.assert_array_equal(padded["weight"], [1, 1, 0, 0, 0])
    for name, x in padded.items():
        assert len(x) == 5 and x.dtype == batch[name].dtype
        np.testing.assert_array_equal(x[:2], before[name])
        if name != "weight":
            np.testing.assert_array_equal(x[2:], np.repeat(x[1:2], 3, axis=0))
        np.testing.assert_array_equal(batch[name], before[name], err_msg="the batch itself")


def test_a_full_group_is_not_padded():
    batch = collate([drawing(0), drawing(1)])
    padded = pad_batch(batch, 2)
    for name, x in batch.items():
        np.testing.assert_array_equal(padded[name], x)


@hypothesis.given(n=st.integers(0, 40), batch_size=st.integers(1, 50))
@hypothesis.settings(max_examples=40, derandomize=True)
def test_evaluation_shows_every_example_exactly_once(n, batch_size):
    batches = list(evaluation_batches([drawing(i) for i in range(n)], batch_size))
    assert len(batches) == -(-n // batch_size)
    seen = []
    for batch in batches:
        assert {len(x) for x in batch.values()} == {batch_size}
        real = batch["weight"] == 1
        assert ((batch["weight"] == 0) | real).all()
        assert real[: int(real.sum())].all(), "padding comes last"
        for number, label, points in zip(
            batch["example"][real], batch["label"][real], batch["points"][real], strict=True
        ):
            assert label == 10 + number
            assert (points[: number + 1] == number).all() and (
                points[number + 1 :, :2] == PADDING
            ).all()
            seen.append(number)
    assert seen == list(range(n))


def test_groups_asked_for_are_those_of_the_whole():
    examples = [drawing(i) for i in range(11)]
    whole = list(evaluation_batches(examples, 4))
    some = list(evaluation_batches(examples, 4, numbers=[2, 0]))
    assert len(whole) == 3 and len(some) == 2
    for got, number in zip(some, (2, 0), strict=True):
        for name, array in whole[number].items():
            np.testing.assert_array_equal(got[name], array)


@pytest.mark.parametrize("batch_size", [1, 3, 4, 10])
def test_mapped_gives_every_example_once_without_padding(batch_size):
    examples, seen = [drawing(i) for i in range(7)], []

    def function(batch):
        seen.append(len(batch["label"]))
        return {"twice": 2 * batch["label"], "first": [batch["example"][:, None]]}

    blocks = list(mapped(examples, function, batch_size=batch_size, label="test"))
    assert seen == [min(batch_size, 7)] * -(-7 // batch_size), "one shape for the device"
    assert [block.number for block in blocks] == list(range(len(blocks)))
    assert [block.first for block in blocks] == [i * batch_size for i in range(len(blocks))]
    labels = np.array([example["label"] for example in examples])
    joined = {
        name: np.concatenate([block.outputs[name] for block in blocks]) for name in ("twice",)
    }
    np.testing.assert_array_equal(joined["twice"], 2 * labels)
    np.testing.assert_array_equal(np.concatenate([block.labels for block in blocks]), labels)
    places = np.concatenate([block.outputs["first"][0] for block in blocks])
    np.testing.assert_array_equal(places[:, 0], np.arange(7))


def test_mapped_computes_the_blocks_asked_for_and_counts_them(capsys):
    examples = [drawing(i) for i in range(7)]
    with tqdm(total=4) as bar:
        blocks = list(
            mapped(examples, lambda b: b["label"], batch_size=3, label=bar, numbers=[2, 0])
        )
        assert bar.n == 4, "one example of the last block, three of the first"
    assert [(block.number, block.first, len(block.outputs)) for block in blocks] == [
        (2, 6, 1),
        (0, 0, 3),
    ]
