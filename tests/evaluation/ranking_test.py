"""Metrics against plain loops, hand-worked cases, SciPy and, where installed, scikit-learn."""

import fractions
import itertools
import math

import hypothesis
import hypothesis.strategies as st
import jax
import numpy as np
import pytest
import scipy.stats

from dsf_jax.evaluation import ranking
from dsf_jax.evaluation.ranking import Cutoffs

ONE = Cutoffs(recall=(1,))
RANDOMLY = hypothesis.settings(max_examples=60, deadline=None, derandomize=True)


def loop_bounded(relevant, k, divisor) -> float:
    """AP@K, in exact fractions."""
    hits, total = 0, fractions.Fraction(0)
    for rank, hit in enumerate(relevant[:k], start=1):
        if hit:
            hits += 1
            total += fractions.Fraction(hits, rank)
    best = {"possible": min(k, sum(map(bool, relevant))), "retrieved": hits}[divisor]
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
    names = ("mAP", f"recall@{k}", f"P@{k}", f"NDCG@{k}", f"bounded mAP@{k}")
    sums = dict.fromkeys((*names, f"bounded mAP@{k} (retrieved)"), 0.0)
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
    return sums


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
            order = np.asarray(ranking.rank_by_distance(distances[None]))[0]
            expected = metrics.average_precision_score(relevant, -distances)
            found = float(ranking.average_precision(relevant[order]))
            assert found == pytest.approx(expected, rel=1e-6)


def test_ties_rank_in_gallery_order() -> None:
    distances = np.array([[1, 0, 1, 0, 1], [2, 2, 2, 2, 2]], np.float32)
    order = ranking.rank_by_distance(distances)
    assert order.dtype == np.int32
    np.testing.assert_array_equal(order, [[1, 3, 0, 2, 4], [0, 1, 2, 3, 4]])
    # The second row: items 0 and 3 are relevant and keep ranks 1 and 4.
    relevant = np.array([[True, False, False, True, False]])
    found = ranking.ranking_scores(order[1:], relevant, cutoffs=ONE)
    assert found.values["mAP"] == pytest.approx([(1 + 2 / 4) / 2])
    assert found.values["recall@1"] == [0.5]


@pytest.fixture
def case() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    order = np.stack([rng.permutation(60) for _ in range(23)]).astype(np.int32)
    query_labels = rng.integers(0, 10, 23)
    query_labels[:2] = 9  # which is asked for and not in the gallery
    return order, query_labels, rng.integers(0, 9, 60)


FIVE = Cutoffs(precision=(5,), recall=(5,), ndcg=(5,), bounded=(5,))


def test_sums_equal_a_plain_loop(case) -> None:
    order, *labels = case
    scores = ranking.ranking_scores(order, same_class(*labels), cutoffs=FIVE)
    np.testing.assert_array_equal(scores.counted, labels[0] < 9)
    found, expected = scores.sums(), loop_sums(*case, 5)
    assert found.sums == pytest.approx(expected, rel=1e-6)
    assert found.without_relevant == (labels[0] == 9).sum() >= 2
    assert found.count == 23 - found.without_relevant
    assert found.means()["mAP"] == pytest.approx(expected["mAP"] / found.count)


def test_scores_are_those_of_each_query_alone(case) -> None:
    order, *labels = case
    scores = ranking.ranking_scores(order, same_class(*labels), cutoffs=FIVE)
    for i in (0, 5, 22):
        expected = loop_sums(order[i : i + 1], labels[0][i : i + 1], labels[1], 5)
        found = {name: x[i] for name, x in scores.values.items() if scores.counted[i]}
        assert found == pytest.approx(expected if scores.counted[i] else {}, rel=1e-6)


def test_blocks_add_up_to_the_whole(case) -> None:
    order, *labels = case
    relevance = same_class(*labels)
    whole = ranking.ranking_scores(order, relevance, cutoffs=FIVE)
    parts = [
        ranking.ranking_scores(order[i : i + 10], relevance[i : i + 10], cutoffs=FIVE)
        for i in (0, 10, 20)
    ]
    joined = parts[0] + parts[1] + parts[2]
    np.testing.assert_array_equal(joined.counted, whole.counted)
    for name, values in whole.values.items():
        np.testing.assert_allclose(joined.values[name], values, rtol=1e-6)
    total = parts[0].sums() + parts[1].sums() + parts[2].sums()
    assert total.sums == pytest.approx(whole.sums().sums, rel=1e-6)
    assert total.count == whole.counted.sum() and total.without_relevant == (~whole.counted).sum()


def test_grades_are_relevant_above_zero() -> None:
    grades = np.array([[0, 3, 1]])
    scores = ranking.ranking_scores(
        np.array([[2, 1, 0]]), grades, cutoffs=Cutoffs(ndcg=(2,), recall=(1,))
    )
    assert scores.values["mAP"] == [1.0] and scores.values["recall@1"] == [0.5]
    expected = (1 + 7 / math.log2(3)) / (7 + 1 / math.log2(3))
    assert scores.values["NDCG@2"] == pytest.approx([expected])


def test_nothing_relevant_anywhere_is_counted_and_has_no_mean() -> None:
    scores = ranking.ranking_scores(np.array([[0, 1], [1, 0]]), np.zeros((2, 2), bool), cutoffs=ONE)
    found = scores.sums()
    assert (found.count, found.without_relevant) == (0, 2)
    assert found.sums == {"mAP": 0.0, "recall@1": 0.0}
    assert all(math.isnan(x) for x in found.means().values())


def test_everything_relevant_is_perfect() -> None:
    cutoffs = Cutoffs(recall=(1,), precision=(2,), ndcg=(2,), bounded=(2,))
    scores = ranking.ranking_scores(np.array([[2, 0, 1]]), np.ones((1, 3), bool), cutoffs=cutoffs)
    perfect = {"mAP", "P@2", "NDCG@2", "bounded mAP@2", "bounded mAP@2 (retrieved)"}
    assert scores.sums().sums == pytest.approx(dict.fromkeys(perfect, 1.0) | {"recall@1": 1 / 3})


@pytest.mark.parametrize("row", [[0, 0, 1], [0, 1, 3], [0, 1, -1], [-3, 1, 2]])
def test_a_ranking_that_is_no_permutation_is_refused(row: list[int]) -> None:
    with pytest.raises(ValueError, match=r"ranking row 1 is not a permutation of 0\.\.2"):
        ranking.ranking_scores(np.array([[2, 1, 0], row]), np.ones((2, 3), bool), cutoffs=ONE)


def test_wrong_arguments_are_refused() -> None:
    order, relevance = np.array([[0, 1, 2]]), np.ones((1, 3), bool)
    with pytest.raises(ValueError, match=r"ranking has shape \(1, 2\) and relevance \(1, 3\)"):
        ranking.ranking_scores(order[:, :2], relevance, cutoffs=ONE)
    for name, k in itertools.product(("precision", "recall", "ndcg"), (0, 4)):
        with pytest.raises(
            ValueError, match=f"cutoffs.{name} holds K = {k}, .* at least 1 and at most n = 3"
        ):
            ranking.ranking_scores(order, relevance, cutoffs=Cutoffs(**{name: (k,)}))
    with pytest.raises(ValueError, match=r"cutoffs.bounded holds K = 0, expected at least 1$"):
        ranking.ranking_scores(order, relevance, cutoffs=Cutoffs(bounded=(0,)))
    scores = [
        ranking.ranking_scores(order, relevance, cutoffs=Cutoffs(recall=(k,))) for k in (1, 2)
    ]
    for a, b in (scores, [score.sums() for score in scores]):
        with pytest.raises(ValueError, match="use the same cutoffs for every block"):
            a + b


@pytest.mark.parametrize("block", [1, 3, 7, 100])
def test_distances_of_any_blocks(monkeypatch, block) -> None:
    monkeypatch.setattr(ranking, "GALLERY_BLOCK", 5)
    rng = np.random.default_rng(0)
    queries, gallery = rng.standard_normal((7, 6)), rng.standard_normal((12, 6))
    found = list(ranking.distance_blocks(queries.astype("f4"), gallery.astype("f4"), block=block))
    assert [rows.start for rows, _ in found] == list(range(0, 7, block))
    expected = ((queries[:, None] - gallery[None]) ** 2).sum(-1)
    np.testing.assert_allclose(np.concatenate([d for _, d in found]), expected, rtol=1e-5)


@pytest.mark.parametrize("block", [100, 1000])
def test_equal_rows_tie_wherever_they_stand(monkeypatch, block) -> None:
    """Rounding of a matrix product depends on a row's place in its block."""
    monkeypatch.setattr(ranking, "GALLERY_BLOCK", block)
    rng = np.random.default_rng(0)
    queries, gallery = (np.abs(rng.standard_normal((n, 4096), np.float32)) for n in (20, 103))
    gallery[[1, 60, 101, 102]] = gallery[[40, 40, 40, 99]]
    ((_, distances),) = ranking.distance_blocks(queries, gallery)
    np.testing.assert_array_equal(distances[:, [1, 60, 101]], distances[:, [40, 40, 40]])
    np.testing.assert_array_equal(distances[:, 102], distances[:, 99])
    exact = np.square(queries[:, None].astype(np.float64) - gallery).sum(axis=2)
    np.testing.assert_allclose(distances, exact, rtol=1e-5)
    assert len(np.unique(distances[0])) == 99


def test_large_galleries_are_ranked_by_fewer_queries_at_a_time(monkeypatch) -> None:
    monkeypatch.setattr(ranking, "MOST_DISTANCES", 25)
    blocks = ranking.distance_blocks(np.zeros((5, 2), "f4"), np.zeros((10, 2), "f4"))
    assert [d.shape for _, d in blocks] == [(2, 10), (2, 10), (1, 10)]


def test_distances_that_cannot_be_are_refused() -> None:
    gallery = np.zeros((4, 3), np.float32)
    with pytest.raises(ValueError, match=r"queries \(2, 2\) and gallery \(4, 3\).* same layers"):
        next(ranking.distance_blocks(np.zeros((2, 2), np.float32), gallery))
    gallery[2, 1] = np.nan
    with pytest.raises(ValueError, match="query 0 to gallery row 2 is not finite"):
        next(ranking.distance_blocks(np.zeros((2, 3), np.float32), gallery))


# --- Kendall


def loop_tau_a(first, second) -> float:
    pairs = list(itertools.combinations(range(len(first)), 2))
    score = sum(
        int(np.sign(first[i] - first[j]) * np.sign(second[i] - second[j])) for i, j in pairs
    )
    return score / len(pairs)


@hypothesis.given(
    # Few values: most pairs tie in one or both.
    values=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=8, max_size=8)
)
@RANDOMLY
def test_kendall_equals_scipy_with_ties(values) -> None:
    first, second = np.array(values, np.float64).T
    found = ranking.kendall_tau(first[None], second[None])
    expected = scipy.stats.kendalltau(first, second, variant="b").statistic
    np.testing.assert_allclose(found.tau_b[0], expected, rtol=1e-12, atol=1e-15)
    assert found.tau_a[0] == pytest.approx(loop_tau_a(first, second))


def test_kendall_of_a_sketch_with_40_images() -> None:
    rng = np.random.default_rng(0)
    ratings = rng.integers(4, 29, (31, 40)) / 4  # ties, as in mean ratings of few people
    closeness = ratings + rng.standard_normal((31, 40))
    found = ranking.kendall_tau(ratings, closeness)
    for i in range(31):
        expected = scipy.stats.kendalltau(ratings[i], closeness[i], variant="b").statistic
        assert found.tau_b[i] == pytest.approx(expected, rel=1e-12)
        assert abs(found.tau_a[i]) < abs(found.tau_b[i])  # the ties of the ratings count against it


@pytest.mark.parametrize(
    ("first", "second", "tau_b", "tau_a"),
    [
        ([1, 2, 3], [1, 2, 3], 1.0, 1.0),
        ([1, 2, 3], [3, 2, 1], -1.0, -1.0),
        # Pairs: 01 ties in first, 02 and 12 concordant: 2 / sqrt(2 * 3), 2 / 3.
        ([1, 1, 2], [1, 2, 3], 2 / math.sqrt(6), 2 / 3),
        # A tie of the system: 01 concordant, 02 concordant, 12 ties.
        ([1, 2, 3], [1, 2, 2], 2 / math.sqrt(6), 2 / 3),
        # A tie in both does not lower tau-b.
        ([1, 1, 2], [5, 5, 6], 1.0, 2 / 3),
        ([1, 1, 1], [1, 2, 3], math.nan, 0.0),
        ([1, 2, 3], [1, 1, 1], math.nan, 0.0),
        ([1], [1], math.nan, math.nan),
        ([], [], math.nan, math.nan),
    ],
)
def test_kendall_by_hand(first, second, tau_b, tau_a) -> None:
    found = ranking.kendall_tau(np.array([first], float), np.array([second], float))
    np.testing.assert_allclose(found.tau_b, [tau_b], rtol=1e-12)
    np.testing.assert_allclose(found.tau_a, [tau_a], rtol=1e-12)


def test_kendall_of_padded_queries_is_that_of_each_alone() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.integers(0, 9, (2, 5, 12)).astype(float)
    lengths = np.array([12, 7, 3, 12, 2])
    mask = np.arange(12)[None] < lengths[:, None]
    mask[3, 2] = False  # padding may lie anywhere
    first[~mask] = np.nan  # and hold anything
    found = ranking.kendall_tau(first, second, mask=mask)
    for i in range(5):
        alone = ranking.kendall_tau(first[i : i + 1, mask[i]], second[i : i + 1, mask[i]])
        np.testing.assert_array_equal(found.tau_b[i], alone.tau_b[0])
        np.testing.assert_array_equal(found.tau_a[i], alone.tau_a[0])


def test_kendall_tells_ratings_apart_that_float32_would_tie() -> None:
    ratings = np.array([[4.0, 4.0 + 1e-9, 4.0 + 2e-9]])
    assert len(np.unique(ratings.astype(np.float32))) == 1
    assert ranking.kendall_tau(ratings, np.array([[1.0, 2.0, 3.0]])).tau_b == [1.0]


def test_kendall_refuses_what_has_no_order() -> None:
    with pytest.raises(ValueError, match="second of query 1 is NaN at item 2"):
        second = np.zeros((2, 3))
        second[1, 2] = np.nan
        ranking.kendall_tau(np.zeros((2, 3)), second)
    with pytest.raises(ValueError, match=r"first has shape \(2, 3\), second \(3, 2\)"):
        ranking.kendall_tau(np.zeros((2, 3)), np.zeros((3, 2)))
