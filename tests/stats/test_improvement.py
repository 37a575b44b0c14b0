import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lrbench.stats.comparison import improvement_interval, probability_of_improvement

scores = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=7)
workloads = st.lists(st.tuples(scores, scores), min_size=1, max_size=4)


@given(workloads)
def test_it_is_the_mean_of_mann_and_whitneys_u(pairs):
    expected = np.mean([stats.mannwhitneyu(x, y, method="asymptotic").statistic / (len(x) * len(y)) for x, y in pairs])
    assert probability_of_improvement(pairs) == pytest.approx(expected)


@given(workloads)
def test_the_other_way_round_it_is_the_rest(pairs):
    turned = [(y, x) for x, y in pairs]
    assert probability_of_improvement(turned) == pytest.approx(1.0 - probability_of_improvement(pairs))


@given(workloads, st.randoms(use_true_random=False))
def test_the_order_of_seeds_changes_nothing(pairs, random):
    shuffled = [(random.sample(x, len(x)), random.sample(y, len(y))) for x, y in pairs]
    assert probability_of_improvement(shuffled) == probability_of_improvement(pairs)
    one, other = (improvement_interval(p, np.random.default_rng(0), resamples=50) for p in (pairs, shuffled))
    np.testing.assert_array_equal(one, other)


def test_certain_and_undecided():
    assert probability_of_improvement([([2.0, 3.0], [0.0, 1.0])]) == 1.0
    assert probability_of_improvement([([1.0] * 5, [1.0] * 3)]) == 0.5


Z2 = stats.norm.ppf(0.975) ** 2


@pytest.mark.parametrize(("one", "other"), [(2, 2), (5, 5), (10, 5), (1, 4)])
def test_all_won_leaves_wilsons_lower_bound_of_the_smaller_arm(one, other):
    """n / (n + z^2) for n of n; beside a workload that has two seeds each, it counts for half."""
    pairs = [(np.arange(one) + 9.0, np.arange(other))]
    n = min(one, other)
    for these, at in [(pairs, 0.0), ([(y, x) for x, y in pairs], 1.0)]:
        found = improvement_interval(these, np.random.default_rng(0))
        expected = sorted([1.0 - at, abs(at - n / (n + Z2))]) if n > 1 else [np.nan] * 2
        assert found == pytest.approx(expected, nan_ok=True)
    both = improvement_interval([*pairs, ([3.0, 4.0], [1.0, 2.0])], np.random.default_rng(0))
    assert both == pytest.approx((1.0 - np.hypot(Z2 / (n + Z2), Z2 / (2 + Z2)) / 2, 1.0))


def test_all_tied_is_undecided_within_wilsons_bounds():
    bounds = stats.binomtest(2, 4).proportion_ci(method="wilson")
    assert improvement_interval([([1.0] * 4, [1.0] * 7)], np.random.default_rng(0)) == pytest.approx(
        (bounds.low, bounds.high)
    )


@given(workloads)
def test_it_is_never_empty_and_holds_the_estimate_between_nought_and_one(pairs):
    low, high = improvement_interval(pairs, np.random.default_rng(0), resamples=50)
    if any(min(len(x), len(y)) > 1 for x, y in pairs):
        assert 0.0 <= low <= high <= 1.0
        assert low < high or not all(len({np.sign(a - b) for a in x for b in y}) == 1 for x, y in pairs)
    else:
        assert np.isnan(low)


@pytest.mark.parametrize(("truth", "seeds"), [(0.98, 5), (0.9, 5), (0.98, 10)])
def test_a_sure_win_of_few_seeds_covers_the_truth(truth, seeds):
    rng, shift = np.random.default_rng(0), np.sqrt(2) * stats.norm.ppf(truth)
    inside = []
    for _ in range(300):
        low, high = improvement_interval([(rng.normal(shift, 1, seeds), rng.normal(0, 1, seeds))], rng, resamples=200)
        inside.append(low <= truth <= high)
    assert np.mean(inside) >= 0.85


def test_what_is_missing_says_nothing():
    assert probability_of_improvement([([2.0, np.nan], [1.0]), ([np.inf], [0.0]), ([], [1.0])]) == 1.0
    assert np.isnan(probability_of_improvement([]))
    assert np.isnan(probability_of_improvement([([], [1.0])]))
    assert np.isnan(improvement_interval([([2.0], [1.0, 3.0])], np.random.default_rng(0))).all()


def test_the_interval_is_that_of_a_loop():
    pairs = [
        (np.array([0.1, 0.4, 0.6]), np.array([0.2, 0.3])),
        (np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 2.5, 9.0])),
    ]
    rng = np.random.default_rng(11)
    found = np.zeros((300, 2))
    for w, (x, y) in enumerate(pairs):
        x_drawn, y_drawn = (rng.integers(len(a), size=(300, len(a))) for a in (x, y))
        for b in range(300):
            found[b, w] = np.mean([(u > v) + 0.5 * (u == v) for u in x[x_drawn[b]] for v in y[y_drawn[b]]])
    expected = np.quantile(found.mean(axis=1), [0.025, 0.975])
    assert improvement_interval(pairs, np.random.default_rng(11), resamples=300) == pytest.approx(expected)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    """X is one deviation above Y: P(X > Y) = Phi(1 / sqrt 2)."""
    rng, truth = np.random.default_rng(0), stats.norm.cdf(1 / np.sqrt(2))
    inside = []
    for _ in range(200):
        pairs = [(rng.normal(1, 1, 10), rng.normal(0, 1, 10)) for _ in range(3)]
        low, high = improvement_interval(pairs, rng, resamples=400)
        inside.append(low <= truth <= high)
    assert 0.88 <= np.mean(inside) <= 0.99
