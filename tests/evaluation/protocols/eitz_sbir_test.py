"""Correlations against SciPy, sketch by sketch; what has none is left out and counted."""

import numpy as np
import pytest
import scipy.stats

from dsf_jax.evaluation.protocols import eitz_sbir as protocol
from dsf_jax.evaluation.statistics import bootstrap

NAMES = [f"sketch {i}" for i in range(40)]


def eitz_sbir(queries, query_labels, gallery, gallery_labels, ratings):
    return protocol.eitz_sbir(
        queries, query_labels, gallery, gallery_labels, ratings=ratings, class_names=NAMES,
        configuration={"layer": "L7"},
    )  # fmt: skip


@pytest.fixture
def benchmark():
    """31 sketches with 40 images each, in any order, ratings with ties."""
    rng = np.random.default_rng(0)
    gallery_labels = rng.permutation(np.repeat(np.arange(31), 40))
    queries, gallery = (rng.standard_normal((n, 8)).astype("f4") for n in (31, len(gallery_labels)))
    distances = np.linalg.norm(gallery - queries[gallery_labels], axis=1)
    ratings = np.round(-distances + rng.standard_normal(len(distances)) * 2, 1)
    return queries, np.arange(31), gallery, gallery_labels, ratings


def test_equals_scipy_over_each_sketchs_own_images(benchmark):
    queries, query_labels, gallery, gallery_labels, ratings = benchmark
    order = np.random.default_rng(1).permutation(31)  # the sketches may come in any order
    result = eitz_sbir(queries[order], query_labels[order], gallery, gallery_labels, ratings)
    expected = []
    for i in order:
        own = gallery_labels == i
        distances = np.linalg.norm(gallery[own] - queries[i], axis=1)
        tau = scipy.stats.kendalltau(-distances, ratings[own], variant="b").statistic
        expected.append(tau)
        told = result.details["per_sketch"][f"sketch {i}"]
        assert told["tau-b"] == pytest.approx(tau) and told["images"] == 40
    assert result.numbers["tau-b"] == pytest.approx(bootstrap(np.array(expected)))
    assert 0 < result.numbers["tau-a"].value < result.numbers["tau-b"].value
    assert result.counts == {
        "queries": 31,
        "queries_without_correlation": 0,
        "queries_with_equal_distances": 0,
        "gallery": 1240,
        "pairs": 1240,
    }
    assert result.interval == "95 % bootstrap over sketches, 1000 draws, seed 0"
    assert result.configuration["layer"] == "L7"


def on_a_line(distances, ratings_of):
    """One sketch a list at 0, its images at the given places."""
    gallery = np.concatenate(distances)[:, None].astype("f4")
    labels = np.repeat(np.arange(len(distances)), [len(d) for d in distances])
    queries = np.zeros((len(distances), 1), "f4")
    return eitz_sbir(
        queries, np.arange(len(distances)), gallery, labels, np.concatenate(ratings_of)
    )


def test_near_and_rated_high_is_one_and_its_reverse_minus_one():
    result = on_a_line([[1.0, 2, 3], [1.0, 2, 3]], [[7.0, 5, 1], [1.0, 5, 7]])
    told = [result.details["per_sketch"][f"sketch {i}"]["tau-b"] for i in range(2)]
    assert told == pytest.approx([1, -1]) and result.numbers["tau-b"].value == pytest.approx(0)


def test_ties_count_as_tau_b_says():
    # Ratings 5, 5, 3: one tie. 2 concordant of 3 pairs.
    result = on_a_line([[1.0, 2, 3]], [[5.0, 5, 3]])
    value = 2 / np.sqrt(2 * 3)
    assert result.numbers["tau-b"] == pytest.approx((value, value, value))
    assert result.numbers["tau-a"].value == pytest.approx(2 / 3)


def test_equal_images_tie_whatever_their_features():
    rng = np.random.default_rng(0)
    queries, image = rng.standard_normal((2, 1, 4096)).astype("f4")
    gallery = np.concatenate([image, image + 1, image])
    result = eitz_sbir(queries, np.array([0]), gallery, np.zeros(3, int), np.array([1.0, 0, 2]))
    distances = np.linalg.norm(gallery - queries, axis=1)
    assert distances[0] == distances[2]
    expected = scipy.stats.kendalltau(-distances, [1, 0, 2], variant="b").statistic
    assert result.numbers["tau-b"].value == pytest.approx(expected)
    assert abs(expected) == pytest.approx(2 / np.sqrt(6))


def test_sketches_without_a_correlation_are_left_out_and_counted():
    result = on_a_line(
        [[1.0, 2, 3], [1.0, 2], [1.0], []], [[3.0, 2, 1], [4.0, 4], [2.0], np.zeros(0)]
    )
    assert result.numbers["tau-b"].value == pytest.approx(1)
    assert list(result.details["per_sketch"]) == ["sketch 0"]
    assert result.counts["queries"] == 1 and result.counts["queries_without_correlation"] == 3
    assert result.counts["gallery"] == 6 and result.counts["pairs"] == 3


def test_a_sketch_that_tells_no_images_apart_counts_as_zero():
    result = on_a_line([[1.0, 2, 3], [1.0, 1, 1]], [[3.0, 2, 1], [3.0, 2, 1]])
    assert result.numbers["tau-b"].value == pytest.approx(0.5)
    assert result.counts["queries"] == 2 and result.counts["queries_with_equal_distances"] == 1


def test_images_of_other_sketches_do_not_count(benchmark):
    queries, query_labels, gallery, gallery_labels, ratings = benchmark
    alone = gallery_labels == 4
    few = eitz_sbir(queries[4:5], query_labels[4:5], gallery, gallery_labels, ratings)
    own = eitz_sbir(
        queries[4:5], query_labels[4:5], gallery[alone], gallery_labels[alone], ratings[alone]
    )
    assert few.numbers == own.numbers


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (1, np.zeros(30, int), r"31 sketches and 1240 images need labels \(31,\).* got \(30,\)"),
        (1, np.zeros(31, int), "31 sketches have 1 labels; give each sketch once"),
        (2, np.zeros((1240, 7), "f4"), r"features of \(8,\), images of \(7,\)"),
        (4, np.zeros(1240), "none of 31 sketches has two images that are rated differently"),
        (4, np.full(1240, np.nan), "the rating of image 0 is nan; leave the image out"),
        (0, np.full((31, 8), np.nan, "f4"), "distances of sketch 'sketch 0' are not all finite"),
    ],
)
def test_what_is_wrong_is_named(benchmark, place, value, words):
    args = list(benchmark)
    args[place] = value
    with pytest.raises(ValueError, match=words):
        eitz_sbir(*args)
