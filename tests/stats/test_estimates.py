import re
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lrbench.stats.estimates import (
    COVERAGE,
    balance,
    bootstrap_interval,
    bootstrap_intervals,
    cell_intervals,
    geometric_mean,
    iqm,
    mean,
    median_interval,
    over_groups,
    ratio_interval,
    seed_warning,
    seeds_interval,
    seeds_intervals,
)

values = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30)


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
    hits = [
        low <= 0.0 <= high
        for low, high in (bootstrap_interval([rng.normal(size=10)], rng, resamples=400) for _ in range(200))
    ]
    assert 0.84 <= np.mean(hits) <= 0.98


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
    assert median_interval(sample, np.random.default_rng(0)) == median_interval(
        [1.0, 2.0, 4.0, 5.0, 9.0, np.inf], np.random.default_rng(0)
    )


def test_ratios_are_averaged_on_a_log_scale():
    assert geometric_mean([0.5, 2.0]) == pytest.approx(1.0)
    assert geometric_mean([1.0, 10.0, 100.0]) == pytest.approx(10.0)
    assert np.isnan(geometric_mean([]))
    low, high = ratio_interval([2.0] * 4, np.random.default_rng(0))
    assert (low, high) == (pytest.approx(2.0), pytest.approx(2.0))
    one, other = (
        ratio_interval([2.0, 3.0, 5.0], np.random.default_rng(0)),
        ratio_interval([1 / 2, 1 / 3, 1 / 5], np.random.default_rng(0)),
    )
    assert one.low < geometric_mean([2.0, 3.0, 5.0]) < one.high
    assert one.low == pytest.approx(1 / other.high, rel=0.1)


@given(st.lists(st.tuples(st.floats(-1e3, 1e3), st.integers(1, 5)), min_size=1, max_size=12))
def test_counting_a_value_is_repeating_it(pairs):
    value, count = map(np.array, zip(*pairs, strict=True))
    repeated = np.repeat(value, count)
    assert iqm(value, count) == pytest.approx(iqm(repeated), abs=1e-9)
    assert mean(value, count) == pytest.approx(repeated.mean(), abs=1e-9)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=5))
def test_balanced_groups_weigh_alike(sizes):
    counts = balance(sizes)
    weights = np.ones(sum(sizes)) if counts is None else counts
    assert len({int(part.sum()) for part in np.split(weights, np.cumsum(sizes)[:-1])}) == 1


def test_odd_sizes_are_balanced_within_rounding():
    sizes = list(range(41, 60))
    assert balance(sizes).dtype == np.int64
    weights = [float(part.sum()) for part in np.split(balance(sizes), np.cumsum(sizes)[:-1])]
    assert max(weights) == pytest.approx(min(weights), rel=1e-6)


def test_groups_of_other_sizes_weigh_alike():
    assert over_groups([[0.0] * 5, [1.0] * 10], statistic=mean) == 0.5
    assert over_groups([[0.0] * 5, [1.0] * 10, [np.nan]]) == 0.5
    assert np.isnan(over_groups([[], [np.nan]]))


@given(st.permutations([0.1, 0.5, 0.4, 0.9, 0.2]), st.permutations([3.0, 1.0, 2.0]))
def test_order_changes_no_digit_of_a_mean_over_groups(one, other):
    for statistic in (iqm, mean):
        assert over_groups([one, other], statistic=statistic) == over_groups(
            [sorted(one), sorted(other)], statistic=statistic
        )


def test_the_bootstrap_finds_the_bounds_of_all_resamples():
    """Four seeds have 256 resamples: the quantiles of their means are known."""
    sample = np.array([1.0, 2.0, 4.0, 9.0])
    all_means = [np.mean(drawn) for drawn in product(sample, repeat=4)]
    expected = np.quantile(all_means, [0.025, 0.975], method="inverted_cdf")
    assert bootstrap_interval([sample], np.random.default_rng(0), statistic=mean, resamples=20_000) == pytest.approx(
        expected
    )


@pytest.mark.parametrize("statistic", [mean, iqm])
def test_the_interval_is_that_of_scipy(statistic):
    sample = np.random.default_rng(3).normal(size=12)
    theirs = stats.bootstrap(
        (sample,),
        lambda x, axis: statistic(np.moveaxis(x, axis, -1)),
        n_resamples=20_000,
        method="percentile",
        rng=np.random.default_rng(1),
    )
    mine = bootstrap_interval([sample], np.random.default_rng(2), statistic=statistic, resamples=20_000)
    assert mine == pytest.approx(tuple(theirs.confidence_interval), abs=0.03)


@pytest.mark.parametrize("statistic", [mean, iqm])
def test_the_stratified_interval_is_that_of_a_loop(statistic):
    groups = [np.array([0.1, 0.5, 0.3]), np.array([0.9, 0.4, 0.8, 0.7, 0.95])]
    rng = np.random.default_rng(7)
    drawn = [group[rng.integers(len(group), size=(500, len(group)))] for group in groups]
    resampled = [np.concatenate([np.repeat(drawn[0][b], 5), np.repeat(drawn[1][b], 3)]) for b in range(500)]
    trim = 0.25 if statistic is iqm else 0.0
    expected = np.quantile([stats.trim_mean(sample, trim) for sample in resampled], [0.025, 0.975])
    assert bootstrap_interval(groups, np.random.default_rng(7), statistic=statistic, resamples=500) == pytest.approx(
        expected, abs=1e-12
    )


cell = st.lists(st.one_of(st.floats(-5, 5), st.just(np.nan), st.just(np.inf)), max_size=6)


@given(st.lists(cell, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_many_cells_at_once_are_as_each_alone_in_any_order(cells, random):
    together = seeds_intervals(cells)
    np.testing.assert_array_equal(together, [seeds_interval(one) for one in cells])
    places = list(range(len(cells)))
    random.shuffle(places)
    shuffled = seeds_intervals([random.sample(cells[i], len(cells[i])) for i in places])
    np.testing.assert_array_equal(shuffled, [together[i] for i in places])


def test_no_cells_have_no_intervals():
    assert seeds_intervals([]) == []


def test_cells_of_several_groups_are_as_each_alone():
    cells = [[[0.1, 0.2, 0.5], [1.0, 2.0]], [[3.0, 1.0], []], [[], []], [[0.3, 0.2, 0.1], [5.0, 4.0]]]
    sorted_cells = [[np.sort(group) for group in groups] for groups in cells]
    alone = [bootstrap_interval(groups, np.random.default_rng(0), statistic=mean) for groups in sorted_cells]
    np.testing.assert_array_equal(cell_intervals(cells, statistic=mean), alone)


def test_cells_that_do_not_fit_into_one_draw_are_as_those_that_do(monkeypatch):
    value_CS = np.random.default_rng(0).normal(size=(7, 5))
    whole = bootstrap_intervals([value_CS], np.random.default_rng(0))
    monkeypatch.setattr("lrbench.stats.estimates.DRAWN_AT_ONCE", 25_000)
    np.testing.assert_array_equal(bootstrap_intervals([value_CS], np.random.default_rng(0)), whole)


@pytest.mark.parametrize("seeds", COVERAGE)
def test_the_warning_names_the_coverage(seeds):
    draws = np.random.default_rng(0).normal(size=(600, seeds))
    inside = [low <= 0.0 <= high for low, high in seeds_intervals(draws)]
    assert np.mean(inside) == pytest.approx(COVERAGE[seeds], abs=0.06)
    assert re.search(rf"\b{100 * COVERAGE[seeds]:.0f} %", seed_warning(seeds))
