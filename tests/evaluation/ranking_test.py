"""Metrics against plain loops, hand-worked cases, SciPy and, where installed, scikit-learn."""

import fractions
import itertools
import math
import re

import hypothesis
import hypothesis.strategies as st
import jax
import numpy as np
import pytest

from dsf_jax.evaluation import ranking
from dsf_jax.retrieval.distances import rank_by_distance

ONE = ("mAP", "recall@1")
RANDOMLY = hypothesis.settings(max_examples=60, derandomize=True)


def loop_bounded(relevant, k, divisor) -> float:
    """AP@K, in exact fractions."""
    hits, total = 0, fractions.Fraction(0)
    for rank, hit in enumerate(relevant[:k], start=1):
        if hit:
            hits += 1
            total += fractions.Fraction(hits, rank)
    best = {"possible": min(k, sum(map(bool, relevant))), "retrieved": hits}[divisor]
    return float(total / best) if best else 0.0


def loop_interpolated(relevant, k) -> float:
    """AP@K of interpolated precision, in exact fractions."""
    found = [bool(hit) for hit in relevant[:k]]
    precision = [fractions.Fraction(sum(found[:rank]), rank) for rank in range(1, len(found) + 1)]
    total = sum(max(precision[i:]) for i, hit in enumerate(found) if hit)
    best = min(k, sum(map(bool, relevant)))
    return float(total / best) if best else 0.0


def loop_average_precision(relevant) -> float:
    hits, total = 0, 0.0
    for rank, hit in enumerate(relevant, start=1):
        if hit:
            hits += 1
            total += hits / rank
    return total / hits if hits else 0.0


def loop_ndcg(grades, k) -> float:
    def gain(ordered):
        return sum((2.0**g - 1) / math.log2(i + 2) for i, g in enumerate(ordered[:k]))

    ideal = gain(sorted(grades, reverse=True))
    return gain(list(grades)) / ideal if ideal else 0.0


def loop_sums(order, query_labels, gallery_labels, k) -> dict[str, float]:
    names = ("mAP", "mAP (interpolated)", f"recall@{k}", f"P@{k}", f"NDCG@{k}", f"bounded mAP@{k}")
    ways = (f"bounded mAP@{k} (retrieved)", f"bounded mAP@{k} (interpolated)")
    sums = dict.fromkeys((*names, *ways), 0.0)
    for row, label in zip(order, query_labels, strict=True):
        relevant = [bool(gallery_labels[i] == label) for i in row]
        if not any(relevant):
            continue
        sums["mAP"] += loop_average_precision(relevant)
        sums[f"recall@{k}"] += sum(relevant[:k]) / sum(relevant)
        sums[f"P@{k}"] += sum(relevant[:k]) / k
        sums[f"NDCG@{k}"] += loop_ndcg(relevant, k)
        sums[f"bounded mAP@{k}"] += loop_bounded(relevant, k, "possible")
        sums[f"bounded mAP@{k} (retrieved)"] += loop_bounded(relevant, k, "retrieved")
        sums[f"bounded mAP@{k} (interpolated)"] += loop_interpolated(relevant, k)
        sums["mAP (interpolated)"] += loop_interpolated(relevant, len(relevant))
    return sums


def sums(scores) -> dict[str, float]:
    """Over the counted queries."""
    return {name: x.sum(where=scores.counted) for name, x in scores.values.items()}


def same_class(query_labels, gallery_labels):
    return query_labels[:, None] == gallery_labels[None, :]


@pytest.mark.parametrize("jitted", [False, True])
@pytest.mark.parametrize(
    ("relevant", "expected"),
    [
        ([1, 0, 0, 0], 1.0),
        ([0, 0, 0, 1], 1 / 4),
        ([1, 0, 1, 0], (1 + 2 / 3) / 2),
        ([0, 1, 1, 0], (1 / 2 + 2 / 3) / 2),
        ([1, 1, 1, 1], 1.0),
        ([0, 0, 0, 0], 0.0),
        ([1], 1.0),
    ],
)
def test_average_precision_by_hand(relevant, expected: float, jitted: bool) -> None:
    function = jax.jit(ranking.average_precision) if jitted else ranking.average_precision
    assert float(function(np.array(relevant, bool))) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("relevant", "k", "possible", "retrieved"),
    [
        # R = 3, K = 2: one of the two places is right.
        ([1, 0, 1, 1], 2, 1 / 2, 1.0),
        # R = 3 < K = 4.
        ([1, 0, 1, 1], 4, (1 + 2 / 3 + 3 / 4) / 3, (1 + 2 / 3 + 3 / 4) / 3),
        # R = 2: the second one lies behind K.
        ([0, 1, 0, 0, 1], 3, (1 / 2) / 2, 1 / 2),
        ([0, 0, 0, 1], 3, 0.0, 0.0),  # nothing found
        ([0, 0, 0], 2, 0.0, 0.0),  # nothing there
        ([1, 1, 1, 1], 2, 1.0, 1.0),  # more relevant than places: perfect all the same
        ([1, 1], 150, 1.0, 1.0),  # no negatives
    ],
)
def test_bounded_average_precision_by_hand(relevant, k, possible, retrieved) -> None:
    relevant = np.array(relevant, bool)
    for divisor, expected in (("possible", possible), ("retrieved", retrieved)):
        found = ranking.bounded_average_precision(relevant, k, divisor=divisor)
        assert float(found) == pytest.approx(expected, rel=1e-6)


@hypothesis.given(
    relevant=st.lists(st.booleans(), min_size=12, max_size=12), k=st.sampled_from([1, 3, 12, 20])
)
@RANDOMLY
def test_bounded_average_precision_equals_exact_fractions(relevant, k) -> None:
    for divisor in ("possible", "retrieved"):
        found = ranking.bounded_average_precision(np.array(relevant), k, divisor=divisor)
        assert float(found) == pytest.approx(loop_bounded(relevant, k, divisor), rel=1e-5)


@hypothesis.given(
    relevant=st.lists(st.booleans(), min_size=12, max_size=12), k=st.sampled_from([1, 3, 12, 20])
)
@RANDOMLY
def test_interpolated_average_precision_equals_exact_fractions(relevant, k) -> None:
    found = float(ranking.interpolated_average_precision(np.array(relevant), k))
    assert found == pytest.approx(loop_interpolated(relevant, k), rel=1e-5)
    assert found >= loop_bounded(relevant, k, "possible") - 1e-6


def test_interpolated_average_precision_by_hand() -> None:
    # P is 1/2 at rank 2 and 3/4 at rank 4: the first two are raised to the latter.
    relevant = np.array([0, 1, 1, 1, 0, 0], bool)
    assert float(ranking.interpolated_average_precision(relevant)) == pytest.approx(3 / 4)
    # Within K = 2 there is nothing later to raise it to, and two of three could be found.
    assert float(ranking.interpolated_average_precision(relevant, 2)) == pytest.approx(1 / 2 / 2)


def test_a_k_above_any_integer_of_the_device_is_as_good_as_n() -> None:
    relevant = np.array([0, 1, 1], bool)
    for function in (ranking.bounded_average_precision, ranking.interpolated_average_precision):
        assert float(function(relevant, 5_000_000_000)) == float(function(relevant, 3))


@pytest.mark.parametrize("grade", [np.nan, -1.0])
def test_grades_that_are_none_are_refused(grade: float) -> None:
    relevance = np.array([[1.0, 0.0], [2.0, grade]])
    with pytest.raises(ValueError, match=r"relevance row 1 .* NaN or below 0; give grades"):
        ranking.ranking_scores(np.array([[0, 1], [1, 0]]), relevance)


def test_an_unknown_divisor_is_refused() -> None:
    with pytest.raises(ValueError, match="divisor='all' is unknown; choose possible or retrieved"):
        ranking.bounded_average_precision(np.ones(3, bool), 2, divisor="all")


def test_recall_and_precision_by_hand() -> None:
    relevant = np.array([0, 1, 0, 1, 1], bool)
    for k, hits in ((1, 0), (2, 1), (4, 2), (5, 3)):
        assert float(ranking.recall_at_k(relevant, k)) == pytest.approx(hits / 3)
        assert float(ranking.precision_at_k(relevant, k)) == pytest.approx(hits / k)
    assert float(ranking.recall_at_k(np.zeros(5, bool), 2)) == 0.0


@pytest.mark.parametrize(
    ("grades", "k", "expected"),
    [
        ([1, 0, 0], 3, 1.0),
        ([0, 1, 0], 3, 1 / math.log2(3)),
        ([0, 1], 1, 0.0),
        # Gains 1, 7, 0 where 7, 1, 0 is best; both within K.
        ([1, 3, 0], 2, (1 + 7 / math.log2(3)) / (7 + 1 / math.log2(3))),
        # The best item lies behind K, and the ideal has it all the same.
        ([1, 0, 2], 1, 1 / 3),
        ([0, 0, 0], 2, 0.0),
    ],
)
def test_ndcg_by_hand(grades, k, expected) -> None:
    assert float(ranking.ndcg_at_k(np.array(grades), k)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
@hypothesis.given(
    grades=st.lists(st.integers(0, 4), min_size=9, max_size=9), k=st.sampled_from([1, 4, 9])
)
@RANDOMLY
def test_ndcg_equals_a_plain_loop_and_scikit_learn(grades, k) -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    found = float(ranking.ndcg_at_k(np.array(grades), k))
    assert found == pytest.approx(loop_ndcg(grades, k), rel=1e-5)
    gains = 2.0 ** np.array(grades)[None] - 1
    if gains.any():
        expected = metrics.ndcg_score(gains, -np.arange(9.0)[None], k=k, ignore_ties=True)
        assert found == pytest.approx(expected, rel=1e-5)


def test_average_precision_of_a_long_ranking_keeps_its_digits() -> None:
    relevant = np.random.default_rng(0).random(200_000) < 0.3
    expected = loop_average_precision(relevant)
    assert float(ranking.average_precision(relevant)) == pytest.approx(expected, rel=1e-5)


def test_average_precision_equals_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    rng = np.random.default_rng(1)
    for n in (1, 10, 500):
        for _ in range(10):
            distances = rng.permutation(n).astype(np.float32)  # without ties
            relevant = rng.random(n) < 0.3
            relevant[rng.integers(n)] = True
            order = np.asarray(rank_by_distance(distances[None]))[0]
            expected = metrics.average_precision_score(relevant, -distances)
            found = float(ranking.average_precision(relevant[order]))
            assert found == pytest.approx(expected, rel=1e-6)


def test_ties_rank_in_gallery_order() -> None:
    distances = np.array([[1, 0, 1, 0, 1], [2, 2, 2, 2, 2]], np.float32)
    order = rank_by_distance(distances)
    assert order.dtype == np.int32
    np.testing.assert_array_equal(order, [[1, 3, 0, 2, 4], [0, 1, 2, 3, 4]])
    # The second row: items 0 and 3 are relevant and keep ranks 1 and 4.
    relevant = np.array([[True, False, False, True, False]])
    found = ranking.ranking_scores(order[1:], relevant, metrics=ONE)
    assert found.values["mAP"] == pytest.approx([(1 + 2 / 4) / 2])
    assert found.values["recall@1"] == [0.5]


@pytest.fixture
def case() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    order = np.stack([rng.permutation(60) for _ in range(23)]).astype(np.int32)
    query_labels = rng.integers(0, 10, 23)
    query_labels[:2] = 9  # which is asked for and not in the gallery
    return order, query_labels, rng.integers(0, 9, 60)


FIVE = tuple(
    ranking.at_cutoff(name, 5) if metric.cutoff else name
    for name, metric in ranking.METRICS.items()
)


def test_sums_equal_a_plain_loop(case) -> None:
    order, *labels = case
    scores = ranking.ranking_scores(order, same_class(*labels), metrics=FIVE)
    np.testing.assert_array_equal(scores.counted, labels[0] < 9)
    assert sums(scores) == pytest.approx(loop_sums(order, *labels, k=5), rel=1e-6)
    assert (~scores.counted).sum() == (labels[0] == 9).sum() >= 2


def test_scores_are_those_of_each_query_alone(case) -> None:
    order, *labels = case
    scores = ranking.ranking_scores(order, same_class(*labels), metrics=FIVE)
    for i in (0, 5, 22):
        expected = loop_sums(order[i : i + 1], labels[0][i : i + 1], labels[1], 5)
        found = {name: x[i] for name, x in scores.values.items() if scores.counted[i]}
        assert found == pytest.approx(expected if scores.counted[i] else {}, rel=1e-6)


@pytest.mark.slow
def test_blocks_add_up_to_the_whole(case) -> None:
    order, *labels = case
    relevance = same_class(*labels)
    whole = ranking.ranking_scores(order, relevance, metrics=FIVE)
    parts = [
        ranking.ranking_scores(order[i : i + 10], relevance[i : i + 10], metrics=FIVE)
        for i in (0, 10, 20)
    ]
    joined = parts[0] + parts[1] + parts[2]
    np.testing.assert_array_equal(joined.counted, whole.counted)
    for name, values in whole.values.items():
        np.testing.assert_allclose(joined.values[name], values, rtol=1e-6)
    assert sums(joined) == pytest.approx(sums(whole), rel=1e-6)


def test_grades_are_relevant_above_zero() -> None:
    grades = np.array([[0, 3, 1]])
    scores = ranking.ranking_scores(
        np.array([[2, 1, 0]]), grades, metrics=("mAP", "NDCG@2", "recall@1")
    )
    assert scores.values["mAP"] == [1.0] and scores.values["recall@1"] == [0.5]
    expected = (1 + 7 / math.log2(3)) / (7 + 1 / math.log2(3))
    assert scores.values["NDCG@2"] == pytest.approx([expected])


def test_nothing_relevant_anywhere_is_not_counted() -> None:
    scores = ranking.ranking_scores(np.array([[0, 1], [1, 0]]), np.zeros((2, 2), bool), metrics=ONE)
    assert scores.counted.tolist() == [False, False]
    assert sums(scores) == {"mAP": 0.0, "recall@1": 0.0}


def test_everything_relevant_is_perfect() -> None:
    perfect = ("mAP", "P@2", "NDCG@2", "bounded mAP@2", "bounded mAP@2 (retrieved)")
    scores = ranking.ranking_scores(
        np.array([[2, 0, 1]]), np.ones((1, 3), bool), metrics=(*perfect, "recall@1")
    )
    assert sums(scores) == pytest.approx(dict.fromkeys(perfect, 1.0) | {"recall@1": 1 / 3})


@pytest.mark.parametrize("row", [[0, 0, 1], [0, 1, 3], [0, 1, -1], [-3, 1, 2]])
def test_a_ranking_that_is_no_permutation_is_refused(row: list[int]) -> None:
    with pytest.raises(ValueError, match=r"ranking row 1 is not a permutation of 0\.\.2"):
        ranking.ranking_scores(np.array([[2, 1, 0], row]), np.ones((2, 3), bool), metrics=ONE)


def test_wrong_arguments_are_refused() -> None:
    order, relevance = np.array([[0, 1, 2]]), np.ones((1, 3), bool)
    with pytest.raises(ValueError, match=r"ranking has shape \(1, 2\) and relevance \(1, 3\)"):
        ranking.ranking_scores(order[:, :2], relevance, metrics=ONE)
    for name, k in itertools.product(("P", "recall", "NDCG"), (0, 4)):
        with pytest.raises(
            ValueError, match=f"metric {name}@{k} has K = {k}, .* at least 1 and at most n = 3"
        ):
            ranking.ranking_scores(order, relevance, metrics=(f"{name}@{k}",))
    with pytest.raises(ValueError, match=r"bounded mAP@0 has K = 0, expected at least 1; choose"):
        ranking.ranking_scores(order, relevance, metrics=("bounded mAP@0",))
    for name in ("MAP", "P", "mAP@3", "P@-1", "bounded mAP@3 (found)"):
        with pytest.raises(
            ValueError, match=re.escape(f"metric {name!r} is unknown; choose one of ")
        ):
            ranking.ranking_scores(order, relevance, metrics=(name,))
    a, b = (ranking.ranking_scores(order, relevance, metrics=(f"recall@{k}",)) for k in (1, 2))
    with pytest.raises(ValueError, match="use the same metrics for every block"):
        a + b


def test_a_new_metric_is_a_function_and_a_row(monkeypatch) -> None:
    """Here the rank of the first relevant item."""
    row = ranking.Metric(lambda relevance: (relevance > 0).argmax() + 1, "", cutoff=False)
    monkeypatch.setitem(ranking.METRICS, "first rank", row)
    relevance = np.array([[False, True, False], [True, False, True]])
    order = np.array([[2, 0, 1], [2, 1, 0]])
    scores = ranking.ranking_scores(order, relevance, metrics=("first rank", "P@1"))
    assert scores.values["first rank"].tolist() == [3, 1]
    assert scores.values["P@1"].tolist() == [0, 1]
