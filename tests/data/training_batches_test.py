"""Training batches: a function of (seed, step), every example once an epoch, resumable anywhere."""

import itertools

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from dsf_jax.data.mixtures import Examples, Mixture
from dsf_jax.data.training_batches import (
    drawings_per_batch,
    held_out_batches,
    longest_list,
    prefetch,
    training_batches,
)


def examples(records, first_label):
    """Labels are the numbers of the examples, so that each can be told from all others."""
    n = len(records)
    return (
        Examples([records], [np.arange(n)], [first_label + np.arange(n)])
        if n
        else Examples([], [], [])
    )


def mixture(drawings, photos, longest=9):
    """Drawing i has 1 + i % longest points (i, i) and label i; photo i is i bright, label 1000 + i."""
    drawn = [{"points": np.full((1 + i % longest, 2), i, np.uint16)} for i in range(drawings)]
    shot = [{"image": np.full((256, 256, 3), i, np.uint8)} for i in range(photos)]
    return Mixture(("a",), examples(drawn, 0), examples(shot, 1000), ())


def assert_equal(a, b):
    assert a.keys() == b.keys()
    for kind, group in a.items():
        assert group.keys() == b[kind].keys()
        for name, x in group.items():
            np.testing.assert_array_equal(x, b[kind][name], err_msg=f"{kind} {name}")


def labels(batches, kind, steps):
    return np.concatenate([batches[step][kind]["label"] for step in range(steps)])


@hypothesis.given(
    drawings=st.integers(0, 500), photos=st.integers(0, 500), batch_size=st.integers(2, 64)
)
@hypothesis.settings(max_examples=100, derandomize=True)
def test_drawings_take_their_share_of_a_batch_and_nobody_is_left_out(drawings, photos, batch_size):
    hypothesis.assume(drawings + photos)
    fake = Mixture((), range(drawings), range(photos), ())
    drawn = drawings_per_batch(fake, batch_size)
    assert (drawn > 0) == (drawings > 0) and (drawn < batch_size) == (photos > 0)
    share = batch_size * drawings / (drawings + photos)
    assert abs(drawn - share) <= 1.0


def test_one_example_a_batch_cannot_be_both():
    with pytest.raises(ValueError, match="batch_size=1 cannot hold both drawings and photos"):
        training_batches(mixture(3, 3), batch_size=1, seed=0)
    assert drawings_per_batch(mixture(3, 0), 1) == 1
    assert drawings_per_batch(mixture(0, 3), 1) == 0


def test_all_lists_get_the_length_of_the_longest():
    assert longest_list(mixture(7, 0, longest=7).drawings) == 512
    mixed = mixture(600, 0, longest=600)
    assert longest_list(mixed.drawings) == 1024
    batches = training_batches(mixed, batch_size=2, seed=0)
    assert {batches[step]["drawings"]["points"].shape for step in range(20)} == {(2, 1024, 3)}


def test_a_batch_is_what_its_step_says():
    mixed = mixture(13, 7)
    batches = training_batches(mixed, batch_size=6, seed=4)
    for step in (0, 3, 50):
        batch = batches[step]
        assert list(batch) == ["drawings", "photos"]
        drawings, photos = batch["drawings"], batch["photos"]
        assert len(drawings["label"]) == 4 and len(photos["label"]) == 2
        numbers = np.concatenate([drawings["example"], photos["example"]])
        np.testing.assert_array_equal(numbers, np.arange(6))
        np.testing.assert_array_equal(drawings["points"][:, 0, 0], drawings["label"])
        np.testing.assert_array_equal(photos["photo"][:, 9, 9, 2], photos["label"] - 1000)
        assert drawings["weight"].sum() == 4 and photos["weight"].sum() == 2


def test_a_batch_is_a_function_of_seed_and_step():
    first = training_batches(mixture(13, 7), batch_size=6, seed=4)
    again = training_batches(mixture(13, 7), batch_size=6, seed=4)
    in_order = [first[step] for step in range(12)]
    for step in (11, 3, 0, 3, 8):  # whatever was read before
        assert_equal(again[step], in_order[step])
    other = training_batches(mixture(13, 7), batch_size=6, seed=5)
    assert not np.array_equal(labels(other, "drawings", 6), labels(first, "drawings", 6))
    assert not np.array_equal(labels(other, "photos", 6), labels(first, "photos", 6))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("drawings", "photos", "batch_size"),
    [(13, 7, 6), (12, 4, 4), (5, 0, 2), (0, 5, 3), (3, 2, 20), (1, 9, 4)],
)
def test_every_epoch_of_a_domain_shows_each_of_its_examples_once(drawings, photos, batch_size):
    batches = training_batches(mixture(drawings, photos), batch_size=batch_size, seed=1)
    for kind, n, first in (("drawings", drawings, 0), ("photos", photos, 1000)):
        if not n:
            assert kind not in batches[0]
            continue
        each = len(batches[0][kind]["label"])
        epochs = 6
        shown = labels(batches, kind, -(-epochs * n // each))[: epochs * n].reshape(epochs, n)
        np.testing.assert_array_equal(np.sort(shown), np.tile(first + np.arange(n), (epochs, 1)))
        if n > 4:
            orders = {tuple(row) for row in shown.tolist()}
            assert len(orders) == epochs, "each epoch has an order of its own"


@pytest.mark.slow
@pytest.mark.parametrize(("start", "stop"), [(0, 5), (7, 8), (3, 30)])
@pytest.mark.parametrize("threads", [1, 4])
def test_reading_ahead_changes_nothing(start, stop, threads):
    batches = training_batches(mixture(13, 7), batch_size=6, seed=4)
    ahead = list(prefetch(batches, start, stop, threads=threads))
    assert len(ahead) == stop - start
    for step, batch in zip(range(start, stop), ahead, strict=True):
        assert_equal(batch, batches[step])


def test_resuming_in_the_middle_equals_not_stopping():
    def begin(start):
        batches = training_batches(mixture(13, 7), batch_size=6, seed=4)
        return prefetch(batches, start, 20)

    whole = list(begin(0))
    stopped = list(itertools.islice(begin(0), 9))  # some batches read ahead are lost
    resumed = stopped + list(begin(9))
    for a, b in zip(whole, resumed, strict=True):
        assert_equal(a, b)


def test_steps_far_ahead_can_be_read_at_once():
    batches = training_batches(mixture(13, 7), batch_size=6, seed=4)
    assert_equal(next(prefetch(batches, 10**8, 10**8 + 1)), batches[10**8])


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3])
def test_processes_read_disjoint_parts_that_make_the_whole_batch(processes):
    mixed = mixture(23, 11)
    whole = training_batches(mixed, batch_size=11, seed=4)
    parts = [
        training_batches(mixed, batch_size=11, seed=4, process=i, processes=processes)
        for i in range(processes)
    ]
    for step in range(9):
        for kind, group in whole[step].items():
            read = [part[step][kind] for part in parts]
            assert len({tuple(x.shape for x in r.values()) for r in read}) == 1
            for name, x in group.items():
                real = np.concatenate([r[name][r["weight"] > 0] for r in read])
                np.testing.assert_array_equal(real, x, err_msg=f"{kind} {name}")


def test_a_batch_smaller_than_its_processes_is_refused():
    with pytest.raises(ValueError, match="batch_size=6 gives 1 photos to 2 processes; raise it"):
        training_batches(mixture(50, 10), batch_size=6, seed=0, processes=2)


def test_drawings_and_photos_of_one_number_come_in_different_orders():
    batches = training_batches(mixture(40, 40), batch_size=20, seed=4)
    drawings, photos = (labels(batches, kind, 4) for kind in ("drawings", "photos"))
    assert (drawings == photos - 1000).mean() < 0.3


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize(
    ("drawings", "photos"), [(13, 7), (12, 6), (1, 1), (5, 0), (0, 8), (7, 13), (4, 5)]
)
def test_held_out_examples_are_shown_exactly_once_in_order(drawings, photos, processes):
    """6 examples a step over all processes; whatever else stands in a batch has weight 0."""
    mixed = mixture(drawings, photos)
    parts = [
        held_out_batches(mixed, batch_size=6, process=i, processes=processes)
        for i in range(processes)
    ]
    steps = -(-drawings // 6) + -(-photos // 6)
    assert {len(part) for part in parts} == {steps}, "every process takes as many steps"
    shown, shapes = {"drawings": [], "photos": []}, set()
    for step in range(steps):
        batches = [part[step] for part in parts]
        (kind,) = batches[0]  # the same on every process, or the devices would wait for ever
        for batch in batches:
            group = batch[kind]
            assert batch.keys() == {kind} and len(group["label"]) == 6 // processes
            content = group["points"] if kind == "drawings" else group["photo"]
            shapes.add(content.shape)
            assert set(np.unique(group["weight"])) <= {0.0, 1.0}
            real = group["label"][group["weight"] > 0]
            shown[kind].extend(real)
            values = content[:, 0, 0] if kind == "drawings" else content[:, 9, 9, 2]
            np.testing.assert_array_equal(values, group["label"] % 1000)
    assert len(shapes) == (drawings > 0) + (photos > 0), "one compilation a kind"
    assert shown == {
        "drawings": list(range(drawings)),
        "photos": list(range(1000, 1000 + photos)),
    }


def test_a_batch_that_processes_do_not_divide_still_shows_every_example_once():
    """7 examples for 3 processes make steps of 9."""
    parts = [
        held_out_batches(mixture(11, 0), batch_size=7, process=i, processes=3) for i in range(3)
    ]
    groups = [part[step]["drawings"] for step in range(len(parts[0])) for part in parts]
    assert {len(group["label"]) for group in groups} == {3} and len(groups) == 6
    real = np.concatenate([group["label"][group["weight"] > 0] for group in groups])
    np.testing.assert_array_equal(real, np.arange(11))
    np.testing.assert_array_equal(groups[5]["weight"], 0.0)


def test_nothing_held_out_has_no_batches():
    assert len(held_out_batches(mixture(0, 0), batch_size=4)) == 0


class Labelled(list):
    """Records of one domain."""

    domain = "sketch"


def test_batches_by_class_hold_both_kinds_of_the_same_classes():
    labels = np.arange(12) % 4
    drawn, shot = mixture(12, 12).drawings, mixture(12, 12).photos
    for kind, domain in ((drawn, "sketch"), (shot, "photo")):
        kind._records = [Labelled(kind._records[0])]
        kind._records[0].domain = domain
        kind.labels = labels
    mixed = Mixture(tuple("abcd"), drawn, shot, ())
    whole = training_batches(mixed, batch_size=12, seed=0, per_class=2)
    shards = [
        training_batches(mixed, batch_size=12, seed=0, per_class=2, process=i, processes=3)
        for i in range(3)
    ]
    for step in range(5):
        batch = whole[step]
        counts = [np.unique(batch[kind]["label"], return_counts=True) for kind in batch]
        np.testing.assert_array_equal(counts[0], counts[1])
        assert counts[0][1].tolist() == [2, 2, 2]
        numbers = np.concatenate([batch[kind]["example"] for kind in ("drawings", "photos")])
        np.testing.assert_array_equal(numbers, np.arange(12))
        for kind in batch:
            joined = np.concatenate([shard[step][kind]["label"] for shard in shards])
            np.testing.assert_array_equal(joined, batch[kind]["label"])
