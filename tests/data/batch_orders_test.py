"""The order of batches by class: as promised for any labels and domains, and a function of (seed, step)."""

import collections

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from dsf_jax.data.batch_orders import by_class

DOMAINS = np.array(["sketch", "photo", "edge"])


@hypothesis.given(st.data())
@hypothesis.settings(max_examples=60, derandomize=True)
def test_a_batch_holds_as_many_of_each_class_from_each_domain(data):
    n = data.draw(st.integers(1, 60))
    labels = np.int32(data.draw(st.lists(st.integers(0, 6), min_size=n, max_size=n)))
    domains = DOMAINS[data.draw(st.lists(st.integers(0, 2), min_size=n, max_size=n))]
    present, classes = np.unique(domains), np.unique(labels)
    per_class = data.draw(st.integers(1, 4))
    number = data.draw(st.integers(1, len(classes)))
    size = number * per_class * len(present)
    order = by_class(labels, domains, per_class=per_class, batch_size=size, seed=3)
    for step in (0, 7):
        rows = order(step)
        assert len(rows) == size
        assert collections.Counter(domains[rows]) == dict.fromkeys(present, number * per_class)
        blocks = rows.reshape(len(present), number, per_class)
        for block in blocks.reshape(-1, per_class):
            assert len(set(labels[block])) == 1
            own = ((labels == labels[block[0]]) & (domains == domains[block[0]])).sum()
            assert len(set(block.tolist())) == per_class or own < per_class
        # Domains that have every class show the same ones, each once.
        complete = [
            labels[block[:, 0]].tolist()
            for name, block in zip(present, blocks, strict=True)
            if set(labels[domains == name]) == set(classes)
        ]
        assert all(own == complete[0] and len(set(own)) == number for own in complete)
        np.testing.assert_array_equal(rows, order(step))


@pytest.mark.slow
@hypothesis.given(st.data())
@hypothesis.settings(max_examples=60, derandomize=True)
def test_an_example_is_shown_twice_only_where_there_are_too_few(data):
    n = data.draw(st.integers(8, 80))
    labels = np.int32(data.draw(st.lists(st.integers(0, 6), min_size=n, max_size=n)))
    domains = DOMAINS[data.draw(st.lists(st.integers(0, 1), min_size=n, max_size=n))]
    per_class = data.draw(st.integers(1, 3))
    number = data.draw(st.integers(1, len(np.unique(labels))))
    present = np.unique(domains)
    size = number * per_class * len(present)
    order = by_class(labels, domains, per_class=per_class, batch_size=size, seed=3)
    for rows in map(order, range(4)):
        shown = collections.Counter(rows.tolist())
        for name in present:
            for label in np.unique(labels[rows]):
                own = np.flatnonzero((labels == label) & (domains == name))
                times = [shown[row] for row in own.tolist()]
                assert max(times, default=0) <= -(-sum(times) // max(len(own), 1))


def test_a_class_stands_in_that_is_not_in_the_batch_yet():
    # Of 20 classes of sketches 5 have photos, 40 each: enough for 20 places whatever is drawn.
    labels = np.int32([*np.repeat(np.arange(20), 40), *np.repeat(np.arange(5), 40)])
    domains = DOMAINS[np.repeat([0, 1], [800, 200])]
    order = by_class(labels, domains, per_class=2, batch_size=40, seed=0)
    for rows in map(order, range(50)):
        photos = rows[rows >= 800]
        assert len(photos) == len(set(photos.tolist())) == 20
        assert np.bincount(labels[photos]).tolist() == [4] * 5  # evenly
    order = by_class(labels, domains, per_class=2, batch_size=12, seed=0)
    for rows in map(order, range(50)):
        assert sorted(np.bincount(labels[rows[rows >= 800]], minlength=5)) in ([0, 0, 2, 2, 2],)


def test_a_class_with_too_few_stands_in_for_none_while_another_has_enough():
    labels = np.int32([*np.repeat(np.arange(6), 9), 0, *[1] * 30])
    domains = DOMAINS[np.repeat([0, 1], [54, 31])]
    order = by_class(labels, domains, per_class=2, batch_size=24, seed=0)
    for rows in map(order, range(20)):
        shown = collections.Counter(rows[rows >= 54].tolist())
        assert shown.pop(54) == 2 and set(shown.values()) == {1}


def test_classes_are_shown_equally_often_and_steps_differ():
    labels = np.int32([0] * 50 + [1] * 2 + [2] * 5)
    domains = np.array(["sketch"] * 57)
    order = by_class(labels, domains, per_class=2, batch_size=4, seed=0)
    shown = collections.Counter(labels[np.concatenate([order(step) for step in range(600)])])
    assert all(abs(count - 800) < 80 for count in shown.values())
    other = by_class(labels, domains, per_class=2, batch_size=4, seed=1)
    assert any((order(step) != other(step)).any() for step in range(3))


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (7, r"batch_size=7 is no multiple of 4, .*=2 from each of 2 domain\(s\); take 4 or 8"),
        (3, r"batch_size=3 is no multiple of 4, .*; take 4$"),
        (16, "holds 4 examples of each of 4 classes, and there are 3; take 12 or less"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(size, message):
    labels, domains = np.int32([0, 1, 2, 0]), DOMAINS[[0, 0, 0, 1]]
    with pytest.raises(ValueError, match=message):
        by_class(labels, domains, per_class=2, batch_size=size, seed=0)
