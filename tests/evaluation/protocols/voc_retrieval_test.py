"""Scores in galleries of every size against a plain loop; nested negatives; difficult objects."""

import functools
import math

import numpy as np
import pytest

from dsf_jax.evaluation.protocols import voc_retrieval as protocol
from dsf_jax.evaluation.protocols.voc_retrieval import Shown, shown_classes
from dsf_jax.evaluation.statistics import bootstrap
from dsf_jax.retrieval import distances

CLASSES = ("bicycle", "car", "person")
voc_retrieval = functools.partial(
    protocol.voc_retrieval, class_names=CLASSES, configuration={"layer": "L6+L7"}
)


@pytest.fixture
def data():
    """120 photos, most of which show several classes; 5 bicycles and 4 cars asked for."""
    rng = np.random.default_rng(0)
    # Small integers: float32 holds their distances exactly, and many tie.
    queries, gallery = (rng.integers(-2, 3, (n, 3)).astype("f4") for n in (9, 120))
    easy, difficult = rng.random((2, 120, 3)) < np.array([0.2, 0.3, 0.5])
    return queries, np.array([0, 1, 0, 1, 0, 1, 0, 1, 0]), gallery, Shown(easy, difficult)


def loop_scores(query, gallery, relevant, k):
    """Both readings of bounded AP@K of one query over the photos given, ties in their order."""
    distances = ((gallery.astype(float) - query) ** 2).sum(1)
    order = sorted(range(len(gallery)), key=lambda i: (distances[i], i))[:k]
    hits, total = 0, 0.0
    for rank, i in enumerate(order, 1):
        if relevant[i]:
            hits += 1
            total += hits / rank
    return total / min(k, relevant.sum()), total / hits if hits else 0.0


@pytest.mark.slow
@pytest.mark.parametrize("difficult_as", ["positive", "negative", "left_out"])
@pytest.mark.parametrize("k", [4, 150])
def test_all_negatives_equal_a_plain_loop(data, difficult_as, k):
    queries, query_classes, gallery, (easy, difficult) = data
    result = voc_retrieval(*data, difficult_as=difficult_as, negatives=(0, 7, None), k=k)
    scores = []
    for query, label in zip(queries, query_classes, strict=True):
        relevant = easy[:, label] | (difficult_as == "positive") & difficult[:, label]
        kept = np.ones(120, bool)
        if difficult_as == "left_out":
            kept = easy[:, label] | ~difficult[:, label]
        scores.append(loop_scores(query, gallery[kept], relevant[kept], k))
        (point,) = (p for p in result.details["curve"][f"bounded mAP@{k}"][CLASSES[label]][-1:])
        assert point["gallery"] == kept.sum()
        assert point["negatives"] == kept.sum() - relevant.sum()
    for name, values in zip(
        (f"bounded mAP@{k}", f"bounded mAP@{k} (retrieved)"), np.transpose(scores), strict=True
    ):
        assert result.numbers[name] == pytest.approx(bootstrap(values), rel=1e-5)
        for label in (0, 1):
            own = bootstrap(values[query_classes == label])
            assert result.numbers[f"{name}/{CLASSES[label]}"] == pytest.approx(own, rel=1e-5)
            last = result.details["curve"][name][CLASSES[label]][-1]
            assert [last[x] for x in ("value", "low", "high")] == pytest.approx(own, rel=1e-5)
    assert result.counts == {
        "queries": 9, "queries_without_relevant": 0, "gallery": 120, "classes": 2,
    }  # fmt: skip


@pytest.fixture
def candidates(monkeypatch):
    """Which photos each ranking was of: [photos of query 0, ...] for each size."""
    seen = []
    original = distances.rank_by_distance

    def rank(table):
        seen.append([frozenset(np.flatnonzero(np.isfinite(row)).tolist()) for row in table])
        return original(table)

    monkeypatch.setattr(protocol, "rank_by_distance", rank)
    return seen


@pytest.mark.parametrize("difficult_as", ["positive", "negative", "left_out"])
def test_negatives_are_nested_and_one_draw_a_class(data, candidates, difficult_as):
    result = voc_retrieval(*data, difficult_as=difficult_as, negatives=(0, 10, 20, None), k=5)
    _, query_classes, _, (easy, difficult) = data
    for i, label in enumerate(query_classes):
        none, ten, twenty, everyone = (rows[i] for rows in candidates)
        positive = easy[:, label] | (difficult_as == "positive") & difficult[:, label]
        assert none == set(np.flatnonzero(positive).tolist())
        assert none < ten < twenty < everyone
        assert (len(ten - none), len(twenty - none)) == (10, 20)
        dropped = (
            (difficult & ~easy)[:, label] if difficult_as == "left_out" else np.zeros(120, bool)
        )
        assert everyone == set(np.flatnonzero(~dropped).tolist())
        first = query_classes.tolist().index(label)
        assert [rows[first] for rows in candidates] == [none, ten, twenty, everyone]
        for rows, point in zip(
            candidates, result.details["curve"]["bounded mAP@5"][CLASSES[label]], strict=True
        ):
            assert point["gallery"] == len(rows[i])
            assert point["negatives"] == len(rows[i] - none)


def test_the_draw_depends_on_the_seed_alone(data, candidates):
    for seed, sizes in ((0, (10,)), (0, (5, 10)), (1, (10,))):
        voc_retrieval(*data, negatives=sizes, seed=seed)
    same, five, ten, other = candidates
    assert same == ten and all(a < b for a, b in zip(five, ten, strict=True))
    assert all(a != b for a, b in zip(same, other, strict=True))


def test_any_order_of_the_queries_gives_each_the_same(data):
    queries, query_classes, *photos = data
    order = np.random.default_rng(1).permutation(9)
    a = voc_retrieval(queries, query_classes, *photos, negatives=(0, 10), k=6)
    b = voc_retrieval(queries[order], query_classes[order], *photos, negatives=(0, 10), k=6)
    assert {n: m.value for n, m in a.numbers.items()} == pytest.approx(
        {n: m.value for n, m in b.numbers.items()}
    )


@pytest.mark.slow
@pytest.mark.parametrize("block", [1, 4])
def test_blocks_of_queries_do_not_matter(data, monkeypatch, block):
    whole = voc_retrieval(*data, negatives=(0, 10, None), k=6)
    monkeypatch.setattr(distances, "QUERY_BLOCK", block)
    assert voc_retrieval(*data, negatives=(0, 10, None), k=6) == whole


@pytest.mark.parametrize("k", [3, 150])
def test_without_negatives_it_is_exactly_one(data, k):
    result = voc_retrieval(*data, negatives=(0, None), k=k)
    for classes in result.details["curve"].values():
        for points in classes.values():
            assert (points[0]["value"], points[0]["low"]) == (1.0, 1.0)
            assert points[0]["negatives"] == 0
            assert points[-1]["value"] < 1


def test_the_two_readings_by_pencil():
    # Ranks: positive, negative, positive | negative, positive. K = 3 of R = 3.
    gallery = np.arange(1, 6, dtype="f4")[:, None]
    easy = np.array([[1, 0, 1, 0, 1]], bool).T
    result = protocol.voc_retrieval(
        np.zeros((1, 1), "f4"), np.array([0]), gallery, Shown(easy, np.zeros_like(easy)),
        class_names=["car"], configuration={}, k=3, negatives=(None,),
    )  # fmt: skip
    assert {name: m.value for name, m in result.numbers.items()} == pytest.approx(
        {
            "bounded mAP@3": (1 + 2 / 3) / 3,
            "bounded mAP@3/car": (1 + 2 / 3) / 3,
            "bounded mAP@3 (retrieved)": (1 + 2 / 3) / 2,
            "bounded mAP@3 (retrieved)/car": (1 + 2 / 3) / 2,
        }
    )


def test_classes_that_no_photo_shows_are_left_out_and_counted(data):
    queries, query_classes, gallery, (easy, difficult) = data
    easy[:, 1] = False  # difficult cars alone
    args = (queries, query_classes, gallery, Shown(easy, difficult))
    result = voc_retrieval(*args, difficult_as="negative", negatives=(None,))
    assert result.counts["queries"] == 5 and result.counts["queries_without_relevant"] == 4
    assert list(result.details["curve"]["bounded mAP@150"]) == ["bicycle"]
    assert voc_retrieval(*args, negatives=(None,)).counts["queries"] == 9
    nothing = Shown(np.zeros_like(easy), np.zeros_like(easy))
    with pytest.raises(ValueError, match="none of 9 queries has a positive among 120 photos"):
        voc_retrieval(queries, query_classes, gallery, nothing)


def test_the_record_says_what_it_measured(data):
    result = voc_retrieval(*data, negatives=(0, 10, None), seed=7)
    assert result.protocol == "voc_retrieval"
    configuration = dict(result.configuration)
    assert set(configuration.pop("definitions")) == {"bounded mAP", "bounded mAP (retrieved)"}
    assert configuration == {
        "layer": "L6+L7",
        "K": 150,
        "seed": 7,
        "difficult_as": "positive",
        "negatives": [0, 10, "all"],
    }


def test_shown_classes_of_records():
    records = [
        {"object_labels": np.array([0, 2, 2]), "object_difficult": np.array([False, True, False])},
        {"object_labels": np.array([1]), "object_difficult": np.array([True])},
        {"object_labels": np.array([2, 2]), "object_difficult": np.array([True, True])},
    ]
    shown = shown_classes(records, 3)
    np.testing.assert_array_equal(shown.easy, np.array([[1, 0, 1], [0, 0, 0], [0, 0, 0]], bool))
    np.testing.assert_array_equal(
        shown.difficult, np.array([[0, 0, 1], [0, 1, 0], [0, 0, 1]], bool)
    )
    with pytest.raises(ValueError, match="photo 0 shows the class 2, expected 0 to 1"):
        shown_classes(records, 2)
    with pytest.raises(ValueError, match="no photos; choose a split that has some"):
        shown_classes([], 3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"difficult_as": "hard"}, "difficult_as='hard' is unknown; choose one of positive, nega"),
        ({"negatives": (0, 1000)}, r"class bicycle has \d+ negatives, 1000 are asked for; take"),
        ({"negatives": (10, 5)}, r"negatives=\(10, 5\): expected .* ascending"),
        ({"negatives": (None, 5)}, "None .all. last"),
        ({"negatives": (-1,)}, "ascending from 0"),
        ({"negatives": ()}, "at least one size"),
        ({"k": 0}, "bounded mAP@0 has K = 0"),
        ({"configuration": {"K": 3}}, "configuration has K, which the protocol itself states"),
        ({"class_names": CLASSES[:2]}, r"shown.easy is bool \(120, 3\), expected bool \(120, 2\)"),
    ],
)
def test_options_that_make_no_sense_are_refused(data, options, words):
    with pytest.raises(ValueError, match=words):
        voc_retrieval(*data, **({"negatives": (0, None)} | options))


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (1, np.zeros(8, int), r"9 queries need as many classes, got \(8,\)"),
        (1, np.full(9, 3), "a query has the class 3, expected 0 to 2"),
        (2, np.zeros((119, 3), "f4"), r"shown.easy is bool \(120, 3\), expected bool \(119, 3\)"),
        (3, Shown(np.ones((120, 3), bool), np.ones((120, 3))), "shown.difficult is float64"),
        (2, np.full((120, 3), math.nan, "f4"), "query 0 to gallery row 0 is not finite"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(data, place, value, words):
    args = list(data)
    args[place] = value
    with pytest.raises(ValueError, match=words):
        voc_retrieval(*args, negatives=(0, None))
