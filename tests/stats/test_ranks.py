from itertools import permutations, product
from math import factorial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lrbench.stats import ranks
from lrbench.stats.comparison import compact_letters
from lrbench.stats.ranks import APPROXIMATE, EXACT, SAMPLED, apart, critical_difference, friedman

C45 = np.array(
    [
        [0.763, 0.768, 0.771, 0.798], [0.599, 0.591, 0.590, 0.569], [0.954, 0.971, 0.968, 0.967], [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898], [0.936, 0.931, 0.916, 0.931], [0.661, 0.668, 0.609, 0.685], [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875], [1.000, 1.000, 1.000, 1.000], [0.940, 0.962, 0.965, 0.962], [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.9751, 0.975], [0.957, 0.978, 0.946, 0.970],
    ]
)  # fmt: skip
"""AUC of C4.5, with m, with cf and with both, on 14 data sets: table 6 of Demsar 2006.

There, the last but one row has 0.975 twice, with ranks 2 and 3: the first was greater before it was rounded."""


def test_the_published_example_of_friedmans_test():
    found = friedman(C45, ties=False)
    assert found.ranks_C == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=5e-4)
    assert found.chi2 == pytest.approx(9.28, abs=0.005)
    assert found.f == pytest.approx(3.69, abs=0.005)
    assert stats.f.isf(0.05, 3, 39) < found.f


def test_the_published_critical_differences():
    assert critical_difference(4, 14) == pytest.approx(1.25, abs=0.005)
    assert critical_difference(4, 14, 0.90) == pytest.approx(1.12, abs=0.005)


@pytest.mark.parametrize(
    ("strategies", "q"),
    [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (6, 2.850), (7, 2.949), (8, 3.031), (9, 3.102), (10, 3.164)],
)
def test_the_published_table_of_critical_values(strategies, q):
    assert critical_difference(strategies, 1) / np.sqrt(strategies * (strategies + 1) / 6) == pytest.approx(q, abs=1e-3)


def test_groups_of_the_published_example():
    """No two differ by the critical difference at 5 %; at 10 % the best two differ from C4.5, as section 3.2.4 says."""
    mean = friedman(C45).ranks_C
    order = np.argsort(mean)
    assert compact_letters(apart(mean[order], critical_difference(4, 14))) == ["a"] * 4
    assert compact_letters(apart(mean[order], critical_difference(4, 14, 0.90))) == ["a", "a", "ab", "b"]


tables = st.tuples(st.integers(2, 8), st.integers(3, 6)).flatmap(
    lambda shape: st.lists(
        st.lists(st.integers(0, 5), min_size=shape[1], max_size=shape[1]), min_size=shape[0], max_size=shape[0]
    )
)


@given(tables.filter(lambda t: any(len(set(row)) > 1 for row in t)))
def test_the_test_is_that_of_scipy_with_ties(table):
    found, theirs = friedman(table), stats.friedmanchisquare(*np.array(table).T)
    assert found.chi2 == pytest.approx(theirs.statistic, abs=1e-9)
    assert found.chi2_p == pytest.approx(theirs.pvalue, abs=1e-9)
    assert found.ranks_C.sum() == pytest.approx(found.ranks_C.size * (found.ranks_C.size + 1) / 2)


@given(tables, st.randoms(use_true_random=False))
def test_order_changes_nothing(table, random):
    table = np.array(table, float)
    rows, columns = (random.sample(range(n), n) for n in table.shape)
    found, other = friedman(table), friedman(table[np.ix_(rows, columns)])
    assert other.ranks_C == pytest.approx(found.ranks_C[columns])
    assert other[1:4] == pytest.approx(found[1:4], nan_ok=True)
    assert other.p == pytest.approx(found.p, nan_ok=True)
    assert (other.method, other.least) == (found.method, pytest.approx(found.least, nan_ok=True))


def test_what_cannot_be_tested():
    assert np.isnan(friedman([[1.0, 2.0, 3.0]])[1:5]).all()
    assert np.isnan(friedman([[1.0], [2.0]])[1:5]).all()
    assert np.isnan(friedman([[1.0, 1.0], [2.0, 2.0]])[1:5]).all()
    assert friedman(np.empty((0, 0))).ranks_C.shape == (0,)
    assert np.isnan(critical_difference(1, 5))
    assert not apart([1.0, 2.0], np.nan).any()


def test_the_same_order_everywhere_is_as_far_from_chance_as_can_be():
    found = friedman([[1.0, 2.0, 3.0]] * 4)
    assert found.ranks_C.tolist() == [3.0, 2.0, 1.0]
    assert (found.chi2, found.f, found.method) == (8.0, np.inf, EXACT)
    assert found.p == pytest.approx(6.0**-3)
    assert found.least == pytest.approx(6.0**-3)


@pytest.mark.parametrize(("workloads", "strategies"), [(2, 2), (2, 3), (3, 2), (5, 2), (3, 4), (2, 7)])
def test_one_order_everywhere_is_as_likely_as_one_way_of_ordering_all_but_the_first(workloads, strategies):
    found = friedman([[*range(strategies)]] * workloads)
    assert found.p == pytest.approx(factorial(strategies) ** (1.0 - workloads))


@pytest.mark.parametrize(("workloads", "strategies"), [(3, 2), (3, 3), (4, 3), (5, 2)])
def test_the_p_value_does_not_reject_more_often_than_it_says(workloads, strategies):
    """Over all tables of ranks, each with one row held: P(p <= a) <= a, and p itself is P(p' <= p)."""
    orders = list(permutations(range(strategies)))
    found = np.array([friedman([orders[0], *others]).p for others in product(orders, repeat=workloads - 1)])
    for p in np.unique(found):
        assert (found <= p + 1e-12).mean() == pytest.approx(p)


def test_published_exact_p_values():
    """Three strategies on three and four workloads, as tables of Friedman's statistic have them: chi2 6 and 4.667; 6.5."""
    three = friedman([[1, 2, 3], [1, 2, 3], [1, 2, 3]])
    assert (three.chi2, three.p) == (pytest.approx(6.0), pytest.approx(0.028, abs=5e-4))
    fewer = friedman([[1, 2, 3], [1, 2, 3], [1, 3, 2]])
    assert (fewer.chi2, fewer.p) == (pytest.approx(4.667, abs=5e-4), pytest.approx(0.194, abs=5e-4))
    four = friedman([[1, 2, 3]] * 3 + [[1, 3, 2]])
    assert (four.chi2, four.p) == (pytest.approx(6.5), pytest.approx(0.042, abs=5e-4))


def test_ties_are_kept_in_every_order():
    """[1, 1, 2] twice: the odd one falls on the same place in a third of the orders."""
    assert friedman([[1.0, 1.0, 2.0], [1.0, 1.0, 2.0]]).p == pytest.approx(1 / 3)


def test_random_orders_agree_with_all_of_them(monkeypatch):
    table = [[1, 2, 3, 4], [1, 2, 4, 3], [2, 1, 4, 3], [1, 3, 2, 4]]
    exact = friedman(table)
    monkeypatch.setattr(ranks, "MOST_ORDERS", 10)
    drawn = friedman(table)
    assert (exact.method, drawn.method) == (EXACT, SAMPLED)
    assert drawn.p == pytest.approx(exact.p, abs=4 * np.sqrt(exact.p / ranks.ORDERS_DRAWN))
    assert friedman([[*range(30)]] * 10).method == APPROXIMATE
    assert friedman([[*range(30)]] * 10).p > 0.0
