"""The cut is stratified, stays where it is, and never takes a class's last example."""

import dataclasses

import hypothesis
import hypothesis.strategies as st
import pytest

from data_builders.splits import shuffled, train_and_test


@dataclasses.dataclass(frozen=True)
class Keyed:
    key: str
    where: str = ""


def _classes(counts):
    return {f"c{k}": [Keyed(f"c{k}/{i}") for i in range(count)] for k, count in enumerate(counts)}


@hypothesis.given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.floats(0.01, 0.9))
def test_every_class_is_cut_by_the_share(counts, share):
    classes = _classes(counts)
    cut = train_and_test(classes, test_share=share, seed=0)
    assert sorted(e.key for e in [*cut["train"], *cut["test"]]) == sorted(
        e.key for examples in classes.values() for e in examples
    )
    for name, count in zip(classes, counts, strict=True):
        testing = sum(e.key.startswith(f"{name}/") for e in cut["test"])
        assert testing == min(max(round(share * count), 1), count - 1)


@hypothesis.given(st.integers(2, 40), st.integers(0, 5), st.randoms())
def test_the_cut_ignores_order_and_barely_moves(count, seed, random):
    (examples,) = _classes([count]).values()
    before = set(train_and_test({"c0": examples}, test_share=0.5, seed=seed)["test"])
    mixed = list(examples)
    random.shuffle(mixed)
    assert set(train_and_test({"c0": mixed}, test_share=0.5, seed=seed)["test"]) == before
    more = [*mixed, Keyed("new")]
    assert len(before - set(train_and_test({"c0": more}, test_share=0.5, seed=seed)["test"])) <= 1


def test_the_order_is_pinned():
    # Computed once: another hash would make results incomparable.
    keys = [Keyed(str(i)) for i in range(6)]
    assert [e.key for e in shuffled(keys, 0)] == PINNED
    assert [e.key for e in shuffled(keys, 1)] != PINNED


def test_keys_that_are_no_text_have_a_place_too():
    """Their files are refused as they are read."""
    keys = [Keyed("caf\udce9"), *(Keyed(str(i)) for i in range(6))]
    assert [e.key for e in shuffled(keys, 0) if e is not keys[0]] == PINNED


PINNED = ["4", "3", "2", "0", "5", "1"]


def test_a_share_of_nothing_tests_nothing():
    cut = train_and_test(_classes([5]), test_share=0.0, seed=0)
    assert len(cut["train"]) == 5 and cut["test"] == []


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_outside_its_range_is_an_error(share):
    with pytest.raises(ValueError, match=r"test_share=.* must be at least 0 and less than 1"):
        train_and_test(_classes([5]), test_share=share, seed=0)
