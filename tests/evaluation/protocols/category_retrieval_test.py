"""Retrieval scores against a brute force in float64, one query at a time."""

import functools
import math

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from dsf_jax.evaluation.protocols import category_retrieval as protocol
from dsf_jax.evaluation.statistics import bootstrap
from dsf_jax.retrieval import distances as tables

category_retrieval = functools.partial(
    protocol.category_retrieval, configuration={"layer": "L6+L7"}
)


def values(result):
    return {name: measure.value for name, measure in result.numbers.items()}


def vectors(seed, count, d=4):
    """Small integers: float32 holds their distances exactly, and many tie."""
    return np.random.default_rng(seed).integers(-3, 4, (count, d)).astype(np.float32)


def by_hand(queries, query_labels, gallery, gallery_labels, ks):
    """Metrics over the queries that have relevant photos, and how many have none."""
    scores, without = [], 0
    for query, label in zip(queries.astype(np.float64), query_labels, strict=True):
        distances = [((photo - query) ** 2).sum() for photo in gallery.astype(np.float64)]
        ranking = sorted(range(len(gallery)), key=lambda i: (distances[i], i))
        relevant = [gallery_labels[i] == label for i in ranking]
        if not any(relevant):
            without += 1
            continue
        hits, precisions = 0, []
        for rank, hit in enumerate(relevant, start=1):
            hits += hit
            if hit:
                precisions.append(hits / rank)
        score = {"mAP": sum(precisions) / hits}
        for k in ks:
            score[f"recall@{k}"] = sum(relevant[:k]) / hits
            score[f"P@{k}"] = sum(relevant[:k]) / k
            found = sum(1 / math.log2(r + 1) for r, hit in enumerate(relevant[:k], 1) if hit)
            best = sum(1 / math.log2(r + 1) for r in range(1, min(hits, k) + 1))
            score[f"NDCG@{k}"] = found / best
        scores.append(score)
    by_name = {name: np.array([s[name] for s in scores]) for name in scores[0]} if scores else {}
    return by_name, len(scores), without


def assert_equals_brute_force(queries, query_labels, gallery, gallery_labels, ks, allowed):
    result = category_retrieval(queries, query_labels, gallery, gallery_labels, ks=ks)
    expected, counted, without = by_hand(queries, query_labels, gallery, gallery_labels, allowed)
    assert result.numbers.keys() == expected.keys()
    for name, scores in expected.items():
        assert result.numbers[name] == pytest.approx(bootstrap(scores), rel=1e-5), name
    assert result.counts == {
        "queries": counted,
        "queries_without_relevant": without,
        "gallery": len(gallery),
        "classes": len(set(query_labels.tolist()) & set(gallery_labels.tolist())),
    }
    assert result.configuration["layer"] == "L6+L7" and result.configuration["ks"] == list(allowed)


@pytest.mark.slow
@hypothesis.given(
    # Few shapes, since each is compiled.
    q=st.sampled_from([1, 9]),
    n=st.sampled_from([1, 7, 30]),
    classes=st.integers(1, 6),
    seed=st.integers(0, 99),
)
@hypothesis.settings(max_examples=40, derandomize=True)
def test_equals_brute_force_with_ties_and_classes_without_photos(q, n, classes, seed):
    rng = np.random.default_rng(seed)
    query_labels, gallery_labels = rng.integers(0, classes, q), rng.integers(0, classes, n)
    hypothesis.assume(np.isin(query_labels, gallery_labels).any())
    ks = (1, 5, 10)
    assert_equals_brute_force(
        vectors(seed, q), query_labels, vectors(seed + 1, n), gallery_labels, ks,
        [k for k in ks if k <= n],
    )  # fmt: skip


def test_one_query_several_relevant_by_pencil():
    gallery = np.array([[3.0], [1.0], [2.0], [4.0]], np.float32)
    labels = np.array([7, 7, 0, 0])  # ranks 1, 3 are relevant
    result = category_retrieval(
        np.array([[0.0]], np.float32), np.array([7]), gallery, labels, ks=(1, 2, 4)
    )
    assert values(result) == pytest.approx(
        {
            "mAP": (1 / 1 + 2 / 3) / 2,
            "recall@1": 0.5,
            "recall@2": 0.5,
            "recall@4": 1.0,
            "P@1": 1.0,
            "P@2": 0.5,
            "P@4": 0.5,
            "NDCG@1": 1.0,
            "NDCG@2": 1 / (1 + 1 / math.log2(3)),
            "NDCG@4": (1 + 1 / 2) / (1 + 1 / math.log2(3)),
        }
    )


def test_queries_without_a_relevant_photo_are_left_out_and_counted():
    queries, gallery = vectors(0, 6), vectors(1, 20)
    query_labels, gallery_labels = np.array([0, 9, 1, 8, 2, 0]), np.arange(20) % 3
    result = category_retrieval(queries, query_labels, gallery, gallery_labels)
    kept = query_labels < 3
    alone = category_retrieval(queries[kept], query_labels[kept], gallery, gallery_labels)
    counts = result.counts
    assert (counts["queries"], counts["queries_without_relevant"], counts["classes"]) == (4, 2, 3)
    assert values(result) == pytest.approx(values(alone))


def test_no_relevant_photo_at_all_is_an_error():
    with pytest.raises(ValueError, match="none of 3 queries has a photo of its class among 5"):
        category_retrieval(vectors(0, 3), np.zeros(3, int), vectors(1, 5), np.ones(5, int))


def test_no_queries_are_an_error_too():
    with pytest.raises(ValueError, match="none of 0 queries"):
        category_retrieval(vectors(0, 0), np.zeros(0, int), vectors(1, 5), np.ones(5, int))


def test_ks_beyond_the_gallery_are_left_out():
    labels = np.array([0, 1, 0])
    args = (vectors(0, 2), np.array([0, 1]), vectors(1, 3), labels)
    assert_equals_brute_force(*args, ks=(1, 3, 4, 10), allowed=(1, 3))
    assert_equals_brute_force(*args, ks=(10,), allowed=())


def test_a_gallery_of_one():
    assert_equals_brute_force(
        vectors(0, 3), np.array([2, 2, 5]), vectors(1, 1), np.array([2]), ks=(1, 10), allowed=(1,)
    )


def test_ties_keep_gallery_order():
    gallery = np.zeros((4, 2), np.float32)
    for place in range(4):
        labels = np.zeros(4, int)
        labels[place] = 1
        result = category_retrieval(
            np.ones((1, 2), np.float32), np.array([1]), gallery, labels, ks=(1,)
        )
        assert values(result)["mAP"] == pytest.approx(1 / (place + 1))


@pytest.mark.slow
@pytest.mark.parametrize("block", [1, 3, 7, 256])
def test_blocks_of_queries_add_up(monkeypatch, block):
    monkeypatch.setattr(tables, "QUERY_BLOCK", block)
    rng = np.random.default_rng(0)
    # With block 3, one block has no query with a relevant photo.
    query_labels = np.array([0, 1, 2, 9, 9, 9, 1])
    assert_equals_brute_force(
        vectors(0, 7), query_labels, vectors(1, 15), rng.integers(0, 3, 15), (1, 10), (1, 10)
    )


def test_perfect_features_score_one():
    labels = np.repeat(np.arange(5), 4)
    features = np.eye(5, dtype=np.float32)
    result = category_retrieval(features, np.arange(5), features[labels], labels, ks=(1, 4))
    assert values(result) == pytest.approx(
        {"mAP": 1, "recall@1": 0.25, "recall@4": 1, "P@1": 1, "P@4": 1, "NDCG@1": 1, "NDCG@4": 1}
    )


@pytest.mark.parametrize(
    ("query_labels", "gallery_labels"),
    [(np.zeros(2, int), np.zeros(5, int)), (np.zeros(3, int), np.zeros(6, int))],
)
def test_shapes_that_do_not_fit_are_refused(query_labels, gallery_labels):
    with pytest.raises(ValueError, match="3 queries and 5 photos need as many labels"):
        category_retrieval(vectors(0, 3), query_labels, vectors(1, 5), gallery_labels)


def test_a_mapped_gallery_scores_as_one_in_memory(tmp_path):
    gallery, labels = vectors(1, 20), np.arange(20) % 3
    np.save(tmp_path / "gallery.npy", gallery)
    mapped = np.load(tmp_path / "gallery.npy", mmap_mode="r")
    results = [
        category_retrieval(vectors(0, 5), np.arange(5) % 3, features, labels)
        for features in (gallery, mapped)
    ]
    assert results[0] == results[1]


def test_features_that_are_not_finite_are_refused():
    gallery = vectors(1, 5)
    gallery[3] = np.nan
    with pytest.raises(ValueError, match="gallery row 3 is not finite"):
        category_retrieval(vectors(0, 3), np.zeros(3, int), gallery, np.zeros(5, int))


def test_the_record_says_what_it_measured():
    args = (vectors(0, 3), np.zeros(3, int), vectors(1, 5), np.zeros(5, int))
    result = category_retrieval(*args)
    assert result.protocol == "category_retrieval"
    assert result.interval == "95 % bootstrap over queries, 1000 draws, seed 0"
    assert "non-interpolated" in result.configuration["definitions"]["mAP"]
    with pytest.raises(ValueError, match="configuration has ks, which the protocol itself states"):
        category_retrieval(*args, configuration={"ks": 3})


def test_map_at_k_is_defined_in_every_way():
    """One query, relevant at ranks 1 and 4 of 5: by pencil."""
    gallery = np.arange(1, 6, dtype=np.float32)[:, None]
    labels = np.array([1, 0, 0, 1, 0])
    result = category_retrieval(
        np.zeros((1, 1), np.float32), np.array([1]), gallery, labels, ks=(1, 3, 5), bounded=True
    )
    found = values(result)
    assert found["bounded mAP@1"] == pytest.approx(1)
    assert found["bounded mAP@3"] == pytest.approx(1 / 2)
    assert found["bounded mAP@3 (retrieved)"] == pytest.approx(1)
    assert found["bounded mAP@5"] == pytest.approx((1 + 2 / 4) / 2) == pytest.approx(found["mAP"])
    # Hits at ranks 1 and 4, whose precision falls: there is nothing to raise.
    assert found["bounded mAP@5 (interpolated)"] == pytest.approx((1 + 2 / 4) / 2)
    assert found["mAP (interpolated)"] == pytest.approx((1 + 2 / 4) / 2)
    definitions = result.configuration["definitions"]
    assert {name.partition("@")[0] for name in result.numbers} - {"bounded mAP"} <= {*definitions}
    assert "omitted from every mean, and counted" in definitions["queries without relevant"]
    assert "divided by min(K, all relevant)" in definitions["bounded mAP"]
    assert "divided by the relevant among the first K" in definitions["bounded mAP (retrieved)"]
