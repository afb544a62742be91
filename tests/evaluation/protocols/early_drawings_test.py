"""Ranks of the first right photo against a plain loop, and what a record says of them."""

import dataclasses

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from dsf_jax.evaluation.protocols.early_drawings import (
    SHARES,
    early_curves,
    early_drawings,
    first_ranks,
)
from dsf_jax.evaluation.protocols.instance_retrieval import instance_retrieval
from dsf_jax.evaluation.statistics import bootstrap


def by_hand(query, label, gallery, gallery_labels):
    order = sorted(range(len(gallery)), key=lambda i: (((gallery[i] - query) ** 2).sum(), i))
    return next(rank for rank, i in enumerate(order, 1) if gallery_labels[i] == label)


@hypothesis.given(seed=st.integers(0, 999))
@hypothesis.settings(max_examples=15, derandomize=True)
def test_first_ranks_equal_a_plain_loop_with_ties(seed):
    rng = np.random.default_rng(seed)
    gallery = rng.integers(-2, 3, (12, 3)).astype(np.float32)
    labels = rng.integers(0, 4, 12)
    queries, wanted = rng.integers(-2, 3, (6, 3)).astype(np.float32), rng.choice(labels, 6)
    expected = [by_hand(q, w, gallery, labels) for q, w in zip(queries, wanted, strict=True)]
    assert first_ranks(queries, wanted, gallery, labels).tolist() == expected


@pytest.fixture(scope="module")
def record():
    """Sketch 0 comes nearer to the photo of its class; that of sketch 1 is not there."""
    gallery, labels = np.array([[0.0], [1.0], [2.0], [3.0]], np.float32), np.array([5, 5, 5, 7])
    queries = [np.array([[x], [0.0]], np.float32) for x in (0.0, 1.4, 1.9, 3.0)]
    return early_drawings(
        queries, np.array([7, 8]), gallery, labels, ks=(1, 3), configuration={"layer": "L7"}
    )


def test_each_share_has_its_numbers(record):
    values = {name: measure.value for name, measure in record.numbers.items()}
    shares = ("25 %", "50 %", "75 %", "100 %")
    assert [values[f"rank of the first right photo/{s}"] for s in shares] == [4, 4, 3, 1]
    assert [values[f"found in 3/{s}"] for s in shares] == [0, 0, 1, 1]
    assert [values[f"found in 1/{s}"] for s in shares] == [0, 0, 0, 1]
    # One of four is right: at random it is at rank 2.5 on average, and among the first three in 3 of 4.
    chance = [
        values[f"{n}/chance"] for n in ("rank of the first right photo", "found in 1", "found in 3")
    ]
    assert chance == [2.5, 0.25, 0.75]
    assert record.numbers["found in 3/75 %"] == bootstrap(np.array([1.0]))
    assert record.details["rank quartiles"]["25 %"] == [4, 4, 4]
    assert record.counts["queries_without_relevant"] == 1 and record.counts["queries"] == 1
    assert record.configuration["shares"] == list(SHARES)


def test_curves_are_read_from_the_record(record):
    drawn = early_curves(record)
    assert list(drawn) == ["L7", "chance"]
    curves, chance = drawn.values()
    assert list(curves) == list(chance) == ["found in 1", "found in 3"]
    expected = record.numbers["found in 3/chance"]
    assert chance["found in 3"] == [(percent, *expected) for percent in (25, 50, 75, 100)]
    assert curves["found in 3"] == [(25, 0, 0, 0), (50, 0, 0, 0), (75, 1, 1, 1), (100, 1, 1, 1)]
    nameless = dataclasses.replace(record, configuration={})  # scored without a word on the feature
    assert early_curves(nameless) == {"": curves, "chance": chance}
    other = instance_retrieval(
        np.zeros((1, 2), np.float32), np.zeros(1, int), np.zeros((1, 2), np.float32), np.zeros(1, int),
        query_photos=["a"], gallery_photos=["a"], configuration={}, ks=(1,),
    )  # fmt: skip
    with pytest.raises(ValueError, match="protocol instance_retrieval, expected early_drawings"):
        early_curves(other)


def test_no_query_with_a_photo_of_its_class():
    with pytest.raises(ValueError, match="none of 1 queries has a photo of its class among 2"):
        early_drawings(
            [np.zeros((1, 2), np.float32)] * 4, np.array([1]), np.zeros((2, 2), np.float32), np.zeros(2, int),
            configuration={},
        )  # fmt: skip
