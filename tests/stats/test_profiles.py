"""The score against closed forms, against the rule written out slowly, and against what must not matter."""

import itertools
import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrbench.stats.score import (
    POINTS,
    area,
    bases,
    median_over_studies,
    paced,
    profile,
    qualified,
    ratios,
    score_bounds,
    scored,
    speedup,
    taus,
)

INF, NAN = math.inf, math.nan
ALONE = np.arange(1)


def own(n):
    return np.arange(n)


@pytest.mark.parametrize("tau_max", [1.5, 2.0, 4.0, 10.0])
@pytest.mark.parametrize("ratio", [1.0, 1.001, 1.2, 1.49, 2.5, 9.0])
def test_one_workload_scores_the_length_of_tau_beyond_the_ratio(ratio, tau_max):
    """Exactly (tau_max - ratio) / (tau_max - 1), but for the half of an interval that a grid cannot see."""
    [score] = area(np.array([[ratio if ratio <= tau_max else INF]]), tau_max)
    assert score == pytest.approx(max(0.0, tau_max - ratio) / (tau_max - 1), abs=0.5 / (POINTS - 1) + 1e-12)


def test_the_grid_in_closed_form():
    """A strategy twice as slow with tau_max 4: the points from tau = 2 = 1 + 33 * 3 / 99 on, and half of the interval before."""
    assert area(np.array([[1.0, 2.0, 4.0, INF]]), 4.0).tolist() == pytest.approx([1.0, 66.5 / 99, 0.5 / 99, 0.0])


@given(st.lists(st.floats(1.0, 5.0), min_size=1, max_size=8), st.floats(1.1, 8.0))
def test_the_area_is_the_trapezoid_of_the_profile(values, tau_max):
    ratio_BS = np.array(values)[:, None]
    tau_T = taus(tau_max)
    assert area(ratio_BS, tau_max)[0] == pytest.approx(
        np.trapezoid(profile(ratio_BS, tau_T)[0], tau_T) / (tau_max - 1), abs=1e-9
    )


def test_the_only_strategy_is_the_fastest():
    assert scored(np.array([[5.0], [7.0]]), own(2), 4.0).tolist() == [1.0]
    assert scored(np.array([[5.0], [INF]]), own(2), 4.0).tolist() == [0.5]
    assert scored(np.array([[INF], [NAN]]), own(2), 4.0).tolist() == [0.0]


def test_all_that_are_equally_fast_are_the_fastest_even_in_no_time():
    assert ratios(np.array([[3.0, 3.0, 6.0], [0.0, 0.0, 1.0], [INF, INF, INF]])).tolist() == [
        [1, 1, 2],
        [1, 1, INF],
        [INF, INF, INF],
    ]


def test_up_to_tau_max_times_the_fastest_counts():
    assert paced(np.array([[1.0, 4.0, 4.0001, NAN]]), ALONE, 4.0).tolist() == [[1.0, 4.0, INF, INF]]


BASE = np.array([0, 0, 2])
"""Workload 1 is a variant of workload 0; workload 2 stands alone."""


@pytest.mark.parametrize(
    ("times", "left"),
    [
        ([[1, 2], [1, 2], [1, 2]], [[1, 2], [1, 2], [1, 2]]),
        ([[1, 2], [1, INF], [1, 2]], [[1, INF], [1, INF], [1, 2]]),  # a base fails with its variant
        ([[INF, 2], [1, 2], [1, 2]], [[INF, 2], [INF, 2], [1, 2]]),  # and a variant with its base
        (
            [[INF, 2], [1, 50], [1, 2]],
            [[INF, 2], [INF, 50], [1, 2]],
        ),  # a variant whose base is not reached sets no pace
        ([[1, 4.5], [9, 1], [1, 2]], [[INF, INF], [INF, INF], [1, 2]]),  # but one whose base is only too slow does
        ([[1, 2], [1, NAN], [NAN, 2]], [[1, INF], [1, INF], [INF, 2]]),  # what was not measured has failed
    ],
)
def test_a_base_and_its_variant_fail_together(times, left):
    assert qualified(np.array(times, float), BASE, 4.0).tolist() == left


def test_variants_are_not_in_the_profile():
    assert bases(np.array([[1.0], [2.0], [3.0]]), BASE).tolist() == [[1.0], [3.0]]


def test_the_median_is_over_the_studies_that_there_are():
    times = [[[1, 9, 2], [1, 3, NAN], [1, INF, NAN], [INF, INF, 1], [NAN, NAN, NAN], [INF, NAN, NAN], [1, 2, INF]]]
    found = median_over_studies(np.array(times, float))
    np.testing.assert_array_equal(found, [[2, 2, INF, INF, NAN, INF, 2]])


def by_the_rule(times, base, tau_max):
    """Scores by loops: ``times[w][s]`` lists studies."""
    here, there = range(len(times)), range(len(times[0]))
    t = [[statistics.median(times[w][s]) if times[w][s] else INF for s in there] for w in here]
    t = [[INF if t[base[w]][s] == INF else t[w][s] for s in there] for w in here]
    t = [[INF if x > tau_max * min(row) else x for x in row] for row in t]
    whole = [[all(t[v][s] < INF for v in here if base[v] == base[w]) for s in there] for w in here]
    rows = [[t[w][s] if whole[w][s] else INF for s in there] for w in here if base[w] == w]
    grid = [1 + i * (tau_max - 1) / 99 for i in range(100)]
    scores = []
    for s in there:
        rho = [sum(row[s] < INF and row[s] / min(row) <= tau + 1e-9 for row in rows) / len(rows) for tau in grid]
        scores.append(sum((a + b) / 2 for a, b in itertools.pairwise(rho)) / 99)
    return scores


WHOLE = st.one_of(st.integers(1, 40).map(float), st.just(INF))
STUDIES = st.lists(WHOLE, max_size=4)


@st.composite
def problems(draw):
    workloads, strategies = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    times = [[draw(STUDIES) for _ in range(strategies)] for _ in range(workloads)]
    base = [0] + [draw(st.sampled_from([0, w])) for w in range(1, workloads)]
    return times, base


def cube(times):
    return np.array([[studies + [NAN] * (4 - len(studies)) for studies in row] for row in times], float)


@settings(max_examples=3 * settings.default.max_examples)
@given(problems(), st.sampled_from([1.5, 4.0, 7.0]))
def test_the_score_is_that_of_the_rule_written_out(problem, tau_max):
    times, base = problem
    found = scored(median_over_studies(cube(times)), np.array(base), tau_max)
    np.testing.assert_allclose(found, by_the_rule(times, base, tau_max), atol=1e-9)


@given(problems(), st.randoms())
def test_units_and_order_do_not_matter(problem, random):
    times, base = problem
    plain = scored(median_over_studies(cube(times)), np.array(base), 4.0)
    mixed = cube([[random.sample(studies, len(studies)) for studies in row] for row in times])
    order = random.sample(range(len(plain)), len(plain))
    units = np.array([2.0 ** random.randint(-3, 3) for _ in base])[:, None, None]
    np.testing.assert_array_equal(
        scored(median_over_studies((units * mixed)[:, order]), np.array(base), 4.0), plain[order]
    )


@given(problems(), st.data())
def test_a_slower_strategy_never_scores_more(problem, data):
    times, base = problem
    before = median_over_studies(cube(times))
    w, s = data.draw(st.integers(0, len(base) - 1)), data.draw(st.integers(0, before.shape[1] - 1))
    after = before.copy()
    after[w, s] *= data.draw(st.sampled_from([1.5, 3.0, INF]))
    assert scored(after, np.array(base), 4.0)[s] <= scored(before, np.array(base), 4.0)[s]


def test_studies_that_agree_leave_no_doubt_and_a_single_one_says_nothing_of_it():
    times = np.array([[[1.0, 1.0], [2.0, NAN]]])
    low, high = score_bounds(times, ALONE, 4.0, np.random.default_rng(0))
    np.testing.assert_allclose(low, [1.0, NAN])
    np.testing.assert_allclose(high, [1.0, NAN])


def test_a_single_study_on_one_workload_leaves_the_score_without_a_range():
    """Strategies: two studies everywhere; one alone on the second workload; not measured there at all; nowhere measured."""
    times = np.array(
        [[[1.0, 2.0], [2.0, 3.0], [2.0, 3.0], [NAN, NAN]], [[1.0, 2.0], [1.0, NAN], [NAN, NAN], [NAN, NAN]]]
    )
    bounds = score_bounds(times, own(2), 4.0, np.random.default_rng(0))
    assert np.isfinite(bounds).tolist() == [[True, False, True, False]] * 2


def test_the_bounds_of_a_strategy_that_reaches_in_three_of_five_studies():
    """Alone, it scores 1 where at least 3 of the 5 studies drawn reach, and 0 else: the interval is all there is."""
    low, high = score_bounds(np.array([[[1.0, 1.0, 1.0, INF, INF]]]), ALONE, 4.0, np.random.default_rng(0))
    assert (low.tolist(), high.tolist()) == ([0.0], [1.0])


def test_the_bootstrap_distribution_is_the_binomial_one():
    """The mean of the scores above is P(at least 3 of 5 draws reach) = 0.68256."""
    from lrbench.stats.score import _drawn

    times = np.array([[[1.0, 1.0, 1.0, INF, INF]]])
    drawn = median_over_studies(_drawn(times, np.array([[5]]), 20_000, np.random.default_rng(0)))
    assert np.isfinite(drawn).mean() == pytest.approx(0.68256, abs=0.015)


def test_the_bounds_depend_neither_on_the_order_of_studies_nor_on_the_size_of_chunks(monkeypatch):
    rng = np.random.default_rng(1)
    times = rng.uniform(1, 4, (3, 4, 5))
    before = score_bounds(times, own(3), 4.0, np.random.default_rng(0))
    monkeypatch.setattr("lrbench.stats.score.DRAWN_AT_ONCE", 1000)
    after = score_bounds(rng.permuted(times, axis=2), own(3), 4.0, np.random.default_rng(0))
    np.testing.assert_array_equal(before, after)
    score = scored(median_over_studies(times), own(3), 4.0)
    assert (before.low_S <= score).all()
    assert (score <= before.high_S).all()


def test_a_speedup_is_the_geometric_mean_over_the_workloads_that_both_reach():
    found = speedup(np.array([1.0, 2.0, 5.0, INF, NAN, INF]), np.array([2.0, 16.0, INF, 7.0, 3.0, INF]))
    assert found == (pytest.approx(4.0), 2, 1, 2)
    assert math.isnan(speedup(np.array([INF]), np.array([1.0])).ratio)
