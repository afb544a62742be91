"""Bootstrap intervals against SciPy's, and what they must be in cases that have an answer."""

import math

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.stats

from dsf_jax.evaluation.statistics import bootstrap, bootstrap_with_differences, describe_bootstrap


def test_a_bootstrap_is_scipys_percentile_interval() -> None:
    values = np.random.default_rng(1).exponential(size=60)
    found = bootstrap(values, draws=4000)
    expected = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=1
    ).confidence_interval
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(expected.low, abs=0.03)
    assert found.high == pytest.approx(expected.high, abs=0.03)


def test_a_bootstrap_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    found = [bootstrap(rng.standard_normal(50), draws=200) for _ in range(300)]
    covered = np.mean([m.low <= 0 <= m.high for m in found])
    assert 0.88 < covered < 0.98  # the percentile interval is a little short for 50 values


@hypothesis.given(st.lists(st.floats(-100, 100), min_size=1, max_size=20), st.integers(0, 5))
@hypothesis.settings(max_examples=40, derandomize=True)
def test_a_bootstrap_lies_within_its_values(values, seed) -> None:
    found = bootstrap(np.array(values), draws=20, seed=seed)
    assert min(values) <= found.low <= found.high <= max(values)
    assert found == bootstrap(np.array(values), draws=20, seed=seed)


@pytest.mark.parametrize("n", [1, 9, 129, 2**14 // 3, 20_000])
def test_many_draws_at_a_time_are_one_by_one(n) -> None:
    values = np.random.default_rng(5).random(n)
    rng = np.random.default_rng(2)
    means = [values[rng.integers(n, size=n)].mean() for _ in range(40)]
    found = bootstrap(values, draws=40, seed=2)
    assert found[1:] == tuple(np.quantile(means, [0.025, 0.975]))


def test_a_single_value_and_equal_values_have_no_width() -> None:
    assert bootstrap(np.array([0.3])) == (0.3, 0.3, 0.3)
    assert bootstrap(np.full(7, 0.1)) == (0.1, 0.1, 0.1)


def test_the_interval_is_described() -> None:
    assert describe_bootstrap("queries") == "95 % bootstrap over queries, 1000 draws, seed 0"


@pytest.mark.parametrize(
    ("values", "words"),
    [([], r"shape \(0,\)"), ([[1.0]], r"shape \(1, 1\)"), ([1.0, math.nan], "NaN or infinity")],
)
def test_a_bootstrap_of_nothing_is_refused(values, words) -> None:
    with pytest.raises(ValueError, match=words + ".* leave out the queries without a value"):
        bootstrap(np.array(values))


# --- whole groups


def test_the_interval_has_the_width_theory_gives() -> None:
    values = np.random.default_rng(3).standard_normal(400) + 5
    for groups in (None, np.arange(400)):
        interval = bootstrap(values, groups, draws=10_000)
        error = values.std() / 20
        assert interval.value == pytest.approx(values.mean())
        assert interval.low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
        assert interval.high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)


def test_groups_are_drawn_whole() -> None:
    # Ten groups of 40 equal values hold no more than ten values do.
    values = np.random.default_rng(4).standard_normal(10)
    repeated = bootstrap(np.repeat(values, 40), np.repeat(np.arange(10), 40), draws=10_000)
    assert repeated == pytest.approx(bootstrap(values, np.arange(10), draws=10_000))
    assert repeated.low < bootstrap(np.repeat(values, 40), draws=10_000).low - 0.1


def test_groups_of_any_size_leave_a_constant_alone() -> None:
    interval = bootstrap(np.full(12, 3.0), list("aaaaaaabbccd"))
    assert interval == pytest.approx((3.0, 3.0, 3.0))


def test_groups_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"values are \[2\] and groups \[3\]"):
        bootstrap(np.zeros(2), [0, 0, 1])


@pytest.mark.parametrize(
    ("groups", "draws", "expected"),
    [
        (None, 1000, (0.44597521962495035, 0.38430193615179337, 0.5093148179214602)),
        (np.arange(60) % 7, 10_000, (0.44597521962495035, 0.4381091414041779, 0.4574219527849243)),
    ],
)
def test_intervals_are_those_of_the_results_made_before(groups, draws, expected) -> None:
    """Expected: this package's first two bootstraps, of results and of similarities, with NumPy 2."""
    values = np.random.default_rng(8).random(60)
    assert bootstrap(values, groups, draws=draws) == expected


# --- several methods on the same items


def test_differences_are_resampled_as_pairs() -> None:
    rng = np.random.default_rng(6)
    single = (rng.random(80) < 0.5).astype(float)
    voted = np.maximum(single, rng.random(80) < 0.1)
    found = bootstrap_with_differences({"single": single, "voted": voted}, "accuracy")
    assert list(found) == ["accuracy/single", "accuracy/voted", "accuracy/voted minus single"]
    assert found["accuracy/voted"] == bootstrap(voted)
    gain = found["accuracy/voted minus single"]
    assert gain == bootstrap(voted - single)
    assert gain.high - gain.low < found["accuracy/voted"].high - found["accuracy/voted"].low
