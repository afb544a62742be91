"""Kendall's tau against a plain loop, hand-worked cases and SciPy."""

import itertools
import math

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.stats

from dsf_jax.evaluation.correlation import kendall_tau

RANDOMLY = hypothesis.settings(max_examples=60, derandomize=True)


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
    found = kendall_tau(first[None], second[None])
    expected = scipy.stats.kendalltau(first, second, variant="b").statistic
    np.testing.assert_allclose(found.tau_b[0], expected, rtol=1e-12, atol=1e-15)
    assert found.tau_a[0] == pytest.approx(loop_tau_a(first, second))


def test_kendall_of_a_sketch_with_40_images() -> None:
    rng = np.random.default_rng(0)
    ratings = rng.integers(4, 29, (31, 40)) / 4  # ties, as in mean ratings of few people
    closeness = ratings + rng.standard_normal((31, 40))
    found = kendall_tau(ratings, closeness)
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
    found = kendall_tau(np.array([first], float), np.array([second], float))
    np.testing.assert_allclose(found.tau_b, [tau_b], rtol=1e-12)
    np.testing.assert_allclose(found.tau_a, [tau_a], rtol=1e-12)


def test_kendall_of_padded_queries_is_that_of_each_alone() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.integers(0, 9, (2, 5, 12)).astype(float)
    lengths = np.array([12, 7, 3, 12, 2])
    mask = np.arange(12)[None] < lengths[:, None]
    mask[3, 2] = False  # padding may lie anywhere
    first[~mask] = np.nan  # and hold anything
    found = kendall_tau(first, second, mask=mask)
    for i in range(5):
        alone = kendall_tau(first[i : i + 1, mask[i]], second[i : i + 1, mask[i]])
        np.testing.assert_array_equal(found.tau_b[i], alone.tau_b[0])
        np.testing.assert_array_equal(found.tau_a[i], alone.tau_a[0])


def test_kendall_tells_ratings_apart_that_float32_would_tie() -> None:
    ratings = np.array([[4.0, 4.0 + 1e-9, 4.0 + 2e-9]])
    assert len(np.unique(ratings.astype(np.float32))) == 1
    assert kendall_tau(ratings, np.array([[1.0, 2.0, 3.0]])).tau_b == [1.0]


def test_kendall_refuses_what_has_no_order() -> None:
    with pytest.raises(ValueError, match="second of query 1 is NaN at item 2"):
        second = np.zeros((2, 3))
        second[1, 2] = np.nan
        kendall_tau(np.zeros((2, 3)), second)
    with pytest.raises(ValueError, match=r"first has shape \(2, 3\), second \(3, 2\)"):
        kendall_tau(np.zeros((2, 3)), np.zeros((3, 2)))
