import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lrbench.analyse.intervals import (
    bootstrap_interval,
    equivalence_p,
    geometric_mean,
    holm,
    iqm,
    median_interval,
    not_separated,
    paired_p,
    ratio_interval,
    seed_warning,
    seeds_interval,
)

values = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30)
probabilities = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@given(values)
def test_the_iqm_is_the_trimmed_mean(sample):
    assert iqm(sample) == pytest.approx(stats.trim_mean(sample, 0.25), abs=1e-9)


def test_the_iqm_ignores_the_outer_quarters():
    assert iqm([-1e9, 1.0, 2.0, 3.0, 1e9]) == 2.0
    assert np.isnan(iqm([]))


def test_the_iqm_works_along_the_last_axis():
    assert iqm(np.arange(8.0).reshape(2, 4)).tolist() == [1.5, 5.5]


@given(st.permutations([0.1, 0.5, 0.4, 0.9, 0.2]))
def test_the_interval_over_seeds_does_not_depend_on_their_order(sample):
    assert seeds_interval(sample) == seeds_interval([0.1, 0.2, 0.4, 0.5, 0.9])


def test_one_value_has_no_interval():
    assert np.isnan(seeds_interval([0.5])).all()
    assert np.isnan(seeds_interval([0.5, np.nan])).all()
    assert np.isnan(seeds_interval([])).all()


def test_equal_values_have_an_interval_of_no_width():
    assert seeds_interval([0.5] * 5) == (0.5, 0.5)


@given(st.floats(0.1, 10), st.floats(-5, 5))
def test_intervals_follow_scale_and_shift(scale, shift):
    sample = np.array([0.1, 0.5, 0.4, 0.9, 0.2])
    low, high = seeds_interval(sample)
    assert seeds_interval(scale * sample + shift) == pytest.approx((scale * low + shift, scale * high + shift))


def test_the_stratified_bootstrap_keeps_the_groups_apart():
    # Constant groups: resampled within themselves nothing varies, resampled together it would.
    rng = np.random.default_rng(0)
    assert bootstrap_interval([[0.0] * 5, [1.0] * 5], rng) == (0.5, 0.5)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = [low <= 0.0 <= high for low, high in (bootstrap_interval([rng.normal(size=10)], rng, resamples=400) for _ in range(200))]
    assert 0.84 <= np.mean(hits) <= 0.98


@given(st.lists(st.floats(-10, 10).map(lambda x: round(x, 3)), min_size=2, max_size=8).filter(lambda d: np.std(d) > 1e-3))
def test_the_paired_test_is_the_t_test(difference):
    assert paired_p(difference) == pytest.approx(stats.ttest_1samp(difference, 0.0).pvalue, abs=1e-9)


def test_the_paired_test_without_variation():
    assert paired_p([0.0, 0.0, 0.0]) == 1.0
    assert paired_p([0.1, 0.1, 0.1]) == 0.0
    assert np.isnan(paired_p([0.1]))
    assert paired_p([0.1, 0.3, np.nan]) == paired_p([0.1, 0.3])


def test_holm_by_hand():
    # Sorted: 0.005 x 4, 0.01 x 3, 0.03 x 2, 0.04 x 1 -> 0.02, 0.03, 0.06, and 0.04 is raised to 0.06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_does_not_count_what_was_not_tested():
    assert holm([0.02, np.nan, 0.04]) == pytest.approx([0.04, np.nan, 0.04], nan_ok=True)
    assert holm([]).shape == (0,)


@given(probabilities)
def test_holm_lies_between_the_raw_and_the_bonferroni_values_in_the_same_order(p):
    adjusted, raw = holm(p), np.array(p)
    assert (adjusted >= raw).all()
    assert (adjusted <= np.minimum(1.0, raw * len(p)) + 1e-12).all()
    assert (np.diff(adjusted[np.argsort(raw, kind="stable")]) >= 0).all()


def test_the_best_is_separated_from_what_is_clearly_worse_only():
    rng = np.random.default_rng(0)
    best = 0.9 + rng.normal(0, 0.01, 5)
    assert not_separated(best, [best - 0.1 + rng.normal(0, 0.005, 5), best + rng.normal(0, 0.01, 5)]) == [False, True]


def test_one_seed_separates_nothing():
    assert not_separated([0.9], [[0.1]]) == [True]


@pytest.mark.parametrize(("seeds", "words"), [(1, "Only 1 seed:"), (4, "Only 4 seeds:")])
def test_few_seeds_are_warned_of(seeds, words):
    assert (seed_warning(seeds) or "").startswith(words)


def test_five_seeds_are_enough():
    assert seed_warning(5) is None


@pytest.mark.parametrize(("seeds", "expected"), [(3, 0.75), (5, 0.89), (10, 0.94)])
def test_the_stated_coverage_of_small_samples_is_the_measured_one(seeds, expected):
    draws = np.random.default_rng(0).normal(size=(400, seeds))
    inside = [low <= 0.0 <= high for low, high in map(seeds_interval, draws)]
    assert np.mean(inside) == pytest.approx(expected, abs=0.05)


def test_a_difference_of_copies_below_the_margin_is_none():
    assert paired_p([1e-9] * 5, margin=1e-3) == 1.0
    assert paired_p([1e-2] * 5, margin=1e-3) == 0.0


samples = st.lists(st.floats(-10, 10).map(lambda x: round(x, 3)), min_size=2, max_size=8).filter(lambda d: np.std(d) > 1e-3)


@given(samples, st.floats(0.1, 5))
def test_the_equivalence_test_is_two_one_sided_t_tests(difference, margin):
    above = stats.ttest_1samp(difference, -margin, alternative="greater").pvalue
    below = stats.ttest_1samp(difference, margin, alternative="less").pvalue
    assert equivalence_p(difference, margin) == pytest.approx(max(above, below), abs=1e-9)


@given(samples, st.floats(0.1, 5))
def test_equivalence_has_no_direction(difference, margin):
    assert equivalence_p(difference, margin) == pytest.approx(equivalence_p(-np.array(difference), margin))


def test_equivalence_without_variation():
    assert equivalence_p([0.0] * 5, 0.1) == 0.0
    assert equivalence_p([0.05] * 5, 0.1) == 0.0
    assert equivalence_p([0.1] * 5, 0.1) == 1.0
    assert equivalence_p([0.2] * 5, 0.1) == 1.0
    assert np.isnan(equivalence_p([0.0], 0.1))
    assert equivalence_p([0.0, 0.01, np.nan, np.inf], 0.1) == equivalence_p([0.0, 0.01], 0.1)


@pytest.mark.parametrize(("shift", "least", "most"), [(1.0, 0.035, 0.065), (-1.0, 0.035, 0.065), (2.0, 0.0, 0.001), (0.0, 0.9, 1.0)])
def test_equivalence_is_claimed_of_unequal_arms_no_more_often_than_it_says(shift, least, most):
    """At the margin in 5 % of the cases, beyond it hardly, and nearly always where there is no difference and the spread is small."""
    draws = np.random.default_rng(2).normal(shift, 0.5, size=(3000, 10))
    assert least <= np.mean([equivalence_p(d, 1.0) < 0.05 for d in draws]) <= most


def test_the_interval_of_a_median_may_end_at_never():
    rng = np.random.default_rng(0)
    low, high = median_interval([1.0, 2.0, 3.0, 4.0, np.inf], rng)
    assert 1.0 <= low <= 2.0
    assert np.isinf(high)
    assert median_interval([np.inf] * 5, rng) == (np.inf, np.inf)
    assert median_interval([3.0] * 5, rng) == (3.0, 3.0)
    assert np.isnan(median_interval([1.0], rng)).all()
    assert np.isnan(median_interval([1.0, np.nan], rng)).all()


@given(st.permutations([1.0, 5.0, 4.0, 9.0, 2.0, np.inf]))
def test_the_interval_of_a_median_does_not_depend_on_the_order(sample):
    assert median_interval(sample, np.random.default_rng(0)) == median_interval([1.0, 2.0, 4.0, 5.0, 9.0, np.inf], np.random.default_rng(0))


def test_ratios_are_averaged_on_a_log_scale():
    assert geometric_mean([0.5, 2.0]) == pytest.approx(1.0)
    assert geometric_mean([1.0, 10.0, 100.0]) == pytest.approx(10.0)
    assert np.isnan(geometric_mean([]))
    low, high = ratio_interval([2.0] * 4, np.random.default_rng(0))
    assert (low, high) == (pytest.approx(2.0), pytest.approx(2.0))
    one, other = ratio_interval([2.0, 3.0, 5.0], np.random.default_rng(0)), ratio_interval([1 / 2, 1 / 3, 1 / 5], np.random.default_rng(0))
    assert one.low < geometric_mean([2.0, 3.0, 5.0]) < one.high
    assert one.low == pytest.approx(1 / other.high, rel=0.1)
