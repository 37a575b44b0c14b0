"""Comparisons of two arms: known answers, and scipy as an independent implementation."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lrbench.stats.comparison import (
    BETTER,
    DIFFERENT,
    EQUIVALENT,
    NOT_TESTED,
    PAIRS_NEEDED,
    TIED,
    UNDECIDED,
    WORSE,
    compare,
    corrected,
)
from lrbench.stats.significance import holm

values = st.lists(st.floats(-1e3, 1e3).map(lambda v: round(v, 3)), min_size=0, max_size=8)


def arm(numbers, first=0):
    return pd.Series(numbers, index=range(first, first + len(numbers)), dtype=float)


def difference(base, head, margin=0.0, *, is_deterministic=False):
    return compare(
        base,
        head,
        paired_by=(base.index, head.index),
        margin=margin,
        least=PAIRS_NEEDED,
        constant_arms="independent",
        is_deterministic=is_deterministic,
    )


def test_paired_by_seed_in_closed_form():
    """Differences 1, 2, 3: mean 2, standard error 1/sqrt(3), t(2) = 4.302653 at 97.5 %."""
    found = difference(arm([10.0, 20.0, 30.0]), arm([33.0, 11.0, 22.0]).rename({0: 2, 1: 0, 2: 1}))
    assert (found.a, found.b, found.effect.value, found.n, found.is_paired) == (20.0, 22.0, 2.0, 3, True)
    assert found.effect.high - found.effect.value == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert found.p == pytest.approx(2 * stats.t.sf(2 * math.sqrt(3), 2))


@pytest.mark.parametrize("seed", range(5))
def test_shared_seeds_as_scipys_paired_test(seed):
    base, head = np.random.default_rng(seed).normal(0, 1, (2, 6))
    found, other = difference(arm(base), arm(head)), stats.ttest_rel(head, base)
    assert (found.p, found.effect.low, found.effect.high) == pytest.approx(
        (other.pvalue, *other.confidence_interval(0.95))
    )


@pytest.mark.parametrize("size", [1e-200, 1e-12, 1e120])
def test_other_seeds_of_any_size(size):
    one, other = np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 9.0])
    expected = stats.ttest_ind(other, one, equal_var=False)
    assert difference(arm(size * one), arm(size * other, first=9)).p == pytest.approx(expected.pvalue)


@pytest.mark.parametrize("seed", range(5))
def test_other_seeds_as_scipys_welch_test(seed):
    rng = np.random.default_rng(seed)
    base, head = rng.normal(0, 1, 4), rng.normal(1, 3, 7)
    found, other = difference(arm(base), arm(head, first=100)), stats.ttest_ind(head, base, equal_var=False)
    assert not found.is_paired
    assert (found.p, found.effect.low, found.effect.high) == pytest.approx(
        (other.pvalue, *other.confidence_interval(0.95))
    )


def test_of_seeds_that_one_arm_lacks_nothing_is_made_up():
    found = difference(arm([1.0, 2.0, 3.0, math.nan]), arm([1.5, 2.5, 3.6, 9.0]))
    assert (found.n, found.a) == (3, 2.0)


def test_one_common_seed_does_not_make_pairs():
    assert not difference(arm([1.0, 2.0, 3.0]), arm([1.0, 2.0, 3.1], first=2)).is_paired


@pytest.mark.parametrize(("shift", "p"), [(0.125, 1.0), (0.25, 0.0)])
def test_within_the_margin_is_no_difference_however_sure_it_is(shift, p):
    base = arm([0.0] * 5)
    assert difference(base, base + shift, 0.125, is_deterministic=True).p == p
    assert difference(base, arm([shift] * 5, first=10), 0.125, is_deterministic=True).p == p


def test_seeds_that_all_move_by_the_same_may_do_so_by_chance():
    """On a metric that counts examples: as often as five signs agree."""
    base = arm([0.0, 0.25, 0.5, 0.0, 0.25])
    assert difference(base, base + 0.25).p == 1 / 16


@pytest.mark.parametrize("first", [0, 20])
@pytest.mark.parametrize(("n", "m"), [(5, 5), (3, 5), (3, 10)])
def test_arms_that_do_not_vary(n, m, first):
    """Each at its own value: at most as often as for the worst of all shares of two values, found by trying many."""
    if first == 0 and n != m:
        first = 4  # one shared seed: no pairs
    found = difference(arm([0.0] * n), arm([1.0] * m, first)).p
    share = np.linspace(0, 1, 10_001)
    worst = (share**n * (1 - share) ** m + share**m * (1 - share) ** n).max()
    assert worst <= found * (1 + 1e-9)
    assert found <= 2 * worst
    if n == m:
        assert found == pytest.approx(2.0 ** (1 - 2 * n))


@pytest.mark.parametrize("first", [0, 10])
@pytest.mark.parametrize("n", range(PAIRS_NEEDED))
def test_too_few_seeds_separate_nothing(n, first):
    assert math.isnan(difference(arm([0.0] * n), arm([1.0] * n, first)).p)


@given(values, values, st.integers(0, 12))
def test_exchanging_the_arms_changes_signs_alone(base, head, first):
    one, other = difference(arm(base), arm(head, first)), difference(arm(head, first), arm(base))
    back = (one.b, one.a, -one.effect.value, -one.effect.high, -one.effect.low, one.p, one.n, one.is_paired)
    there = (
        other.a,
        other.b,
        other.effect.value,
        other.effect.low,
        other.effect.high,
        other.p,
        other.n,
        other.is_paired,
    )
    assert there == pytest.approx(back, nan_ok=True)


@pytest.mark.parametrize("seed", range(5))
def test_equivalence_as_two_one_sided_scipy_tests(seed):
    base, head = np.random.default_rng(seed).normal(0, 1, (2, 8))
    below, above = (
        stats.ttest_1samp(head - base, bound, alternative=side).pvalue
        for bound, side in ((-2.0, "greater"), (2.0, "less"))
    )
    assert compare(base, head, equivalence_margin=2.0).p_equivalent == pytest.approx(max(below, above))


@pytest.mark.parametrize(
    ("head", "equivalence_margin", "verdict"),
    [
        ([1.1, 2.1, 3.1, 4.11], None, DIFFERENT),
        ([1.1, 2.1, 3.1, 4.11], 0.5, EQUIVALENT),
        ([1.1, 2.1, 3.1, 4.11], 0.01, DIFFERENT),
        ([0.0, 3.0, 2.0, 5.1], None, TIED),
        ([0.0, 3.0, 2.0, 5.1], 0.5, UNDECIDED),
    ],
)
def test_the_verdict_says_equivalent_before_different(head, equivalence_margin, verdict):
    assert compare([1.0, 2.0, 3.0, 4.0], head, equivalence_margin=equivalence_margin).verdict == verdict


def test_one_seed_is_not_tested():
    assert compare([1.0], [2.0]).verdict == NOT_TESTED


@pytest.mark.parametrize(("higher_is_better", "verdict"), [(True, BETTER), (False, WORSE)])
def test_the_direction_is_that_of_the_metric(higher_is_better, verdict):
    found = compare([1.0, 2.0, 3.0], [1.5, 2.5, 3.51])
    assert found.direction(higher_is_better=higher_is_better) == verdict
    assert compare([1.0, 2.0, 3.0], [3.0, 1.0, 2.0]).direction(higher_is_better=higher_is_better) == TIED


def test_a_family_is_corrected_for_its_number_and_each_test_apart():
    family = [compare([0.0, 0.1, 0.0, 0.1], [b, b, b + 0.1, b], equivalence_margin=1.0) for b in (0.0, 0.5, 2.0)]
    for name in ("p", "p_equivalent"):
        expected = holm([getattr(one, name) for one in family])
        assert [getattr(one, name) for one in corrected(family)] == pytest.approx(list(expected))
    assert [(one.effect, one.n) for one in corrected(family)] == [(one.effect, one.n) for one in family]
