import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.duration.survfunc import SurvfuncRight

from lrbench.stats.survival import kaplan_meier

REMISSION = [6, 6, 6, 7, 10, 13, 16, 22, 23]
STILL_IN_REMISSION = [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
PLACEBO = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]
"""Weeks of remission of 42 children with leukemia, with 6-mercaptopurine and without: Freireich et al. 1963."""


def curve(reached, censored=()):
    n, m = len(reached), len(censored)
    return kaplan_meier([*reached, *[np.nan] * m], [*[1e9] * n, *censored])


def at(found, step):
    return found.share_T[np.searchsorted(found.step_T, step, side="right") - 1]


def test_the_published_curve_of_the_treated():
    found = curve(REMISSION, STILL_IN_REMISSION)
    published = {6: 0.857, 7: 0.807, 10: 0.753, 13: 0.690, 16: 0.627, 22: 0.538, 23: 0.448, 35: 0.448}
    assert {step: round(float(at(found, step)), 3) for step in published} == published
    assert (found.n, found.reached, found.median) == (21, 9, 23.0)
    assert found.median_interval == (13.0, np.inf)


def test_the_published_medians_of_the_untreated():
    found = curve(PLACEBO)
    assert found.median == 8.0
    assert found.median_interval == (4.0, 11.0)


times = st.lists(st.tuples(st.integers(1, 12), st.booleans()), min_size=1, max_size=12)


def split(pairs):
    return [float(t) for t, there in pairs if there], [float(t) for t, there in pairs if not there]


@given(times)
def test_the_curve_is_that_of_scipy(pairs):
    reached, censored = split(pairs)
    found, theirs = curve(reached, censored), stats.ecdf(stats.CensoredData(uncensored=reached, right=censored)).sf
    assert found.step_T[1:].tolist() == theirs.quantiles.tolist()
    assert found.share_T[1:] == pytest.approx(theirs.probabilities)


@given(times.filter(lambda pairs: any(there for _, there in pairs)))
def test_the_bounds_are_those_of_statsmodels(pairs):
    reached, censored = split(pairs)
    found = curve(reached, censored)
    theirs = SurvfuncRight(np.array([*reached, *censored]), np.array([1] * len(reached) + [0] * len(censored)))
    inside = theirs.surv_prob > 1e-9
    error, share = theirs.surv_prob_se[inside], theirs.surv_prob[inside]
    width = stats.norm.ppf(0.975) * error / (share * np.log(share))
    places = np.searchsorted(found.step_T, theirs.surv_times[inside])
    assert found.low_T[places] == pytest.approx(share ** np.exp(-width), abs=1e-9)
    assert found.high_T[places] == pytest.approx(share ** np.exp(width), abs=1e-9)


@given(times, st.randoms(use_true_random=False))
def test_the_order_of_runs_changes_nothing(pairs, random):
    one, other = curve(*split(pairs)), kaplan_meier(*mixed(random.sample(pairs, len(pairs))))
    np.testing.assert_array_equal(one.share_T, other.share_T)
    np.testing.assert_array_equal(one.high_T, other.high_T)
    np.testing.assert_array_equal([one.median, *one.median_interval], [other.median, *other.median_interval])


def mixed(pairs):
    return [float(t) if there else np.nan for t, there in pairs], [1e9 if there else float(t) for t, there in pairs]


@given(times)
def test_the_curve_falls_within_its_bounds(pairs):
    found = curve(*split(pairs))
    assert (np.diff(found.share_T) <= 0.0).all()
    assert (found.low_T <= found.share_T + 1e-12).all()
    assert (found.share_T <= found.high_T + 1e-12).all()
    low, high = found.median_interval
    assert len(pairs) < 2 or low <= found.median <= high


@given(st.lists(st.one_of(st.integers(1, 20).map(float), st.just(np.inf)), min_size=1, max_size=9))
def test_with_one_budget_the_median_is_the_one_that_everybody_knows(steps):
    assert kaplan_meier(steps, [30.0] * len(steps)).median == np.median(steps)


def test_runs_that_never_arrive():
    found = curve([], [60.0] * 4)
    assert found.share_T.tolist() == [1.0, 1.0]
    assert found.median == np.inf
    assert found.median_interval == (np.inf, np.inf)
    assert np.isnan(curve([3.0]).median_interval).all()
    assert (curve([3.0]).median, kaplan_meier([], []).median) == (3.0, np.inf)
    assert curve([5.0] * 5).median_interval == (5.0, 5.0)
