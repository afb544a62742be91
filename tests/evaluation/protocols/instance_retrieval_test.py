"""Instance retrieval against a plain loop, by pencil, and its errors."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from dsf_jax.evaluation.protocols.instance_retrieval import instance_retrieval
from dsf_jax.evaluation.statistics import bootstrap


def by_hand(queries, labels, gallery, gallery_labels, own, k, *, within):
    """Whether each query's own photo is among the first K, one query at a time."""
    hits = []
    for query, label, mine in zip(queries, labels, own, strict=True):
        candidates = [i for i in range(len(gallery)) if not within or gallery_labels[i] == label]
        candidates.sort(key=lambda i: (float(((gallery[i] - query) ** 2).sum()), i))
        hits.append(float(mine in candidates[:k]))
    return np.array(hits)


@hypothesis.given(seed=st.integers(0, 999))
@hypothesis.settings(max_examples=10, derandomize=True)
def test_equals_a_plain_loop_with_ties(seed):
    rng = np.random.default_rng(seed)
    gallery = rng.integers(-2, 3, (12, 3)).astype(np.float32)  # many distances tie
    gallery_labels, own = rng.integers(0, 3, 12), rng.integers(0, 12, 7)
    queries = rng.integers(-2, 3, (7, 3)).astype(np.float32)
    labels = gallery_labels[own]
    result = instance_retrieval(
        queries, labels, gallery, gallery_labels, ks=(1, 5), configuration={"layer": "L7"},
        query_photos=[f"p{i}" for i in own], gallery_photos=[f"p{i}" for i in range(12)],
    )  # fmt: skip
    for k in (1, 5):
        for within, name in ((False, f"acc@{k}"), (True, f"acc@{k} within class")):
            hits = by_hand(queries, labels, gallery, gallery_labels, own, k, within=within)
            assert result.numbers[name] == bootstrap(hits), name
    chance = {name: m.value for name, m in result.numbers.items() if "chance" in name}
    assert chance["acc@1, chance"] == pytest.approx(1 / 12)
    sizes = np.array([(gallery_labels == label).sum() for label in labels])
    assert chance["acc@5 within class, chance"] == pytest.approx(np.minimum(5 / sizes, 1).mean())
    assert result.counts["queries"] == 7 and result.configuration["ks"] == [1, 5]


def one(**changes):
    """One class of two photos and another of one; three sketches, the last of a photo that is absent."""
    given = {
        "queries": np.array([[0.0], [4.0], [1.0]], np.float32),
        "query_labels": np.array([0, 1, 0]),
        "gallery": np.array([[3.0], [1.0], [2.0]], np.float32),
        "gallery_labels": np.array([0, 0, 1]),
        "query_photos": ["a", "c", "gone"],
        "gallery_photos": ["a", "b", "c"],
        "configuration": {},
    }
    return instance_retrieval(**given | changes)


def test_by_pencil():
    """Sketch 0 finds b, c, a; sketch 1 finds a, c, b, and c alone in its class."""
    result = one(ks=(1, 2, 3))
    values = {n: m.value for n, m in result.numbers.items() if "chance" not in n}
    assert values == {
        "acc@1": 0, "acc@2": 0.5, "acc@3": 1,
        "acc@1 within class": 0.5, "acc@2 within class": 1, "acc@3 within class": 1,
    }  # fmt: skip
    assert result.counts == {
        "queries": 2, "queries_without_photo": 1, "gallery": 3, "classes": 2,
    }  # fmt: skip
    definitions = result.configuration["definitions"]
    assert "Sketchy" in definitions["acc@K"] and "omitted" in definitions["queries without photo"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"query_photos": ["x", "y", "z"]}, "none of 3 sketches has its own photo among 3; choose"),
        ({"gallery_photos": ["a", "b", "a"]}, "the photo a is in the gallery twice"),
        ({"query_labels": np.array([0, 0, 0])}, "sketch 1 is of another class than its own photo"),
        (
            {"query_labels": np.array([0, 0])},
            "3 queries and 3 photos need as many labels and names",
        ),
        ({"configuration": {"ks": 1}}, "configuration has ks, which the protocol itself states"),
    ],
)
def test_what_is_wrong_is_said(changes, words):
    with pytest.raises(ValueError, match=words):
        one(**changes)
