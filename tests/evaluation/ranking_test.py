"""Metrics against plain loops, hand-worked cases and, where installed, scikit-learn."""

import math

import jax
import numpy as np
import pytest

from dsf_jax.evaluation import ranking


def loop_average_precision(relevant) -> float:
    hits, total = 0, 0.0
    for rank, hit in enumerate(relevant, start=1):
        if hit:
            hits += 1
            total += hits / rank
    return total / hits if hits else 0.0


def loop_sums(order, query_labels, gallery_labels, k) -> dict[str, float]:
    sums = {"mAP": 0.0, f"recall@{k}": 0.0, f"precision@{k}": 0.0}
    for row, label in zip(order, query_labels, strict=True):
        relevant = [gallery_labels[i] == label for i in row]
        if not any(relevant):
            continue
        sums["mAP"] += loop_average_precision(relevant)
        sums[f"recall@{k}"] += sum(relevant[:k]) / sum(relevant)
        sums[f"precision@{k}"] += sum(relevant[:k]) / k
    return sums


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


def test_recall_and_precision_by_hand() -> None:
    relevant = np.array([0, 1, 0, 1, 1], bool)
    for k, hits in ((1, 0), (2, 1), (4, 2), (5, 3)):
        assert float(ranking.recall_at_k(relevant, k)) == pytest.approx(hits / 3)
        assert float(ranking.precision_at_k(relevant, k)) == pytest.approx(hits / k)
    assert float(ranking.recall_at_k(np.zeros(5, bool), 2)) == 0.0


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
    found = ranking.ranking_sums(
        order[1:], np.array([7]), np.array([7, 1, 1, 7, 1]), recall_at=(1,)
    )
    assert found.sums["mAP"] == pytest.approx((1 + 2 / 4) / 2)
    assert found.sums["recall@1"] == 0.5


@pytest.fixture
def case() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    order = np.stack([rng.permutation(60) for _ in range(23)]).astype(np.int32)
    # Label 9 is asked for and not in the gallery.
    return order, rng.integers(0, 10, 23), rng.integers(0, 9, 60)


def test_sums_equal_a_plain_loop(case) -> None:
    query_labels = case[1]
    query_labels[:2] = 9
    found = ranking.ranking_sums(*case, recall_at=(5,), precision_at=(5,))
    expected = loop_sums(*case, 5)
    assert found.sums == pytest.approx(expected, rel=1e-6)
    assert found.without_relevant == (query_labels == 9).sum() >= 2
    assert found.count == 23 - found.without_relevant
    assert found.means()["mAP"] == pytest.approx(expected["mAP"] / found.count)


def test_blocks_with_padding_add_up_to_the_whole(case) -> None:
    order, query_labels, gallery_labels = case
    whole = ranking.ranking_sums(*case, precision_at=(3,))
    total = None
    for start in range(0, 23, 10):
        rows = np.arange(start, start + 10)
        safe = np.minimum(rows, 22)  # padding repeats the last query: only the mask keeps it out
        part = ranking.ranking_sums(
            order[safe], query_labels[safe], gallery_labels, query_mask=rows < 23, precision_at=(3,)
        )
        total = part if total is None else total + part
    assert total.sums == pytest.approx(whole.sums, rel=1e-6)
    assert (total.count, total.without_relevant) == (whole.count, whole.without_relevant)


def test_nothing_relevant_anywhere_is_counted_and_has_no_mean() -> None:
    found = ranking.ranking_sums(
        np.array([[0, 1], [1, 0]]), np.array([5, 6]), np.array([1, 2]), recall_at=(1,)
    )
    assert (found.count, found.without_relevant) == (0, 2)
    assert found.sums == {"mAP": 0.0, "recall@1": 0.0}
    assert all(math.isnan(x) for x in found.means().values())


def test_everything_relevant_is_perfect() -> None:
    found = ranking.ranking_sums(
        np.array([[2, 0, 1]]), np.array([4]), np.array([4, 4, 4]), recall_at=(1,), precision_at=(2,)
    )
    assert found.sums == pytest.approx({"mAP": 1.0, "recall@1": 1 / 3, "precision@2": 1.0})


@pytest.mark.parametrize("row", [[0, 0, 1], [0, 1, 3], [0, 1, -1], [-3, 1, 2]])
def test_a_ranking_that_is_no_permutation_is_refused(row: list[int]) -> None:
    with pytest.raises(ValueError, match=r"ranking row 1 is not a permutation of 0\.\.2"):
        ranking.ranking_sums(
            np.array([[2, 1, 0], row]), np.array([1, 1]), np.array([1, 2, 3]), recall_at=(1,)
        )


def test_a_masked_row_may_hold_anything() -> None:
    found = ranking.ranking_sums(
        np.array([[2, 1, 0], [0, 0, 0]]),
        np.array([1, 1]),
        np.array([1, 2, 3]),
        query_mask=np.array([True, False]),
        recall_at=(3,),
    )
    assert (found.count, found.sums["mAP"]) == (1, pytest.approx(1 / 3))


def test_wrong_arguments_are_refused() -> None:
    order, labels = np.array([[0, 1, 2]]), np.array([1, 2, 3])
    with pytest.raises(ValueError, match=r"ranking \(1, 2\) needs .* rank the whole gallery"):
        ranking.ranking_sums(order[:, :2], labels[:1], labels)
    with pytest.raises(ValueError, match=r"query labels and mask \(1,\)"):
        ranking.ranking_sums(order, labels[:2], labels)
    for k in (0, 4):
        with pytest.raises(ValueError, match=f"at {k}, expected K between 1 and n = 3"):
            ranking.ranking_sums(order, labels[:1], labels, recall_at=(k,))
    found = ranking.ranking_sums(order, labels[:1], labels, recall_at=(1,))
    other = ranking.ranking_sums(order, labels[:1], labels, recall_at=(2,))
    with pytest.raises(ValueError, match="use the same recall_at"):
        found + other
