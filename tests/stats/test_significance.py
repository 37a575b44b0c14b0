import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from lrbench.stats.comparison import separated, tied_with_best
from lrbench.stats.significance import (
    equivalence_p,
    holm,
    paired_p,
    power,
    seeds_needed,
    target_test,
)

probabilities = st.lists(st.floats(0, 1), min_size=1, max_size=12)
samples = st.lists(st.floats(-10, 10).map(lambda x: round(x, 3)), min_size=2, max_size=8).filter(
    lambda d: np.std(d) > 1e-3
)


@given(
    st.lists(st.floats(-10, 10).map(lambda x: round(x, 3)), min_size=2, max_size=8).filter(lambda d: np.std(d) > 1e-3)
)
def test_the_paired_test_is_the_t_test(difference):
    assert paired_p(difference) == pytest.approx(stats.ttest_1samp(difference, 0.0).pvalue, abs=1e-9)


def test_the_paired_test_without_variation():
    assert paired_p([0.0, 0.0, 0.0]) == 1.0
    assert paired_p([0.1] * 5) == paired_p([-0.1] * 5) == 1 / 16
    assert paired_p([0.1] * 5, is_deterministic=True) == 0.0
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
    assert tied_with_best(best, [best - 0.1 + rng.normal(0, 0.005, 5), best + rng.normal(0, 0.01, 5)]) == [False, True]


def test_the_best_in_truth_is_seldom_lost():
    """Ten equals and five seeds, the worst case: any of them may be the best by a hair, and is lost in 2.5 % of studies at most."""
    rng, lost = np.random.default_rng(0), 0
    for _ in range(400):
        score_CS = rng.normal(size=(10, 5))
        winner = int(score_CS.mean(1).argmax())
        lost += (
            winner != 0
            and not tied_with_best(score_CS[winner], [score_CS[0], *np.delete(score_CS, [0, winner], axis=0)])[0]
        )
    assert lost <= 0.03 * 400


def test_one_seed_separates_nothing():
    assert tied_with_best([0.9], [[0.1]]) == [True]


def test_a_difference_of_copies_below_the_margin_is_none():
    assert paired_p([1e-9] * 5, margin=1e-3, is_deterministic=True) == 1.0
    assert paired_p([1e-2] * 5, margin=1e-3, is_deterministic=True) == 0.0


@pytest.mark.parametrize("studies", [100, pytest.param(300, marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize("counts", [True, False])
def test_equals_are_told_apart_no_more_often_than_it_says_on_counted_metrics_too(counts, studies):
    """Thirty equal strategies, five seeds, an accuracy of so few examples that all five differences are often the same."""
    rng = np.random.default_rng(3)
    draws = rng.binomial(60, 0.97, size=(studies, 30, 5)) if counts else rng.normal(size=(studies, 30, 5))
    claimed = [separated(score_CS).any() for score_CS in draws]
    assert np.mean(claimed) < 0.05 + 2 * np.sqrt(0.05 * 0.95 / studies)


@pytest.mark.parametrize(
    "counts",
    [[(340, 344), (120, 124), (7, 11), (359, 363), (250, 254)], [(1, 2), (300, 301), (33, 34), (90, 91), (5, 6)]],
)
def test_equal_counts_are_equal_as_they_are_stored(counts):
    """Metrics are stored in float32, where equal counts of examples differ in their last bits."""
    one, other = np.array(counts).T
    d = (other / np.float32(360)).astype(np.float32) - (one / np.float32(360)).astype(np.float32)
    assert len(set(d.tolist())) > 1
    assert paired_p(d, 1e-3) == 1 / 16
    assert equivalence_p(d[:4], 0.05) != equivalence_p(d[:4], 0.05)
    assert equivalence_p(d, 0.05) == 0.0


@given(samples)
def test_the_paired_test_has_no_direction(difference):
    assert paired_p(difference) == paired_p(-np.array(difference)) == paired_p(difference[::-1])


def test_what_no_seed_changes_is_certain():
    assert separated([[0.1] * 5, [0.2] * 5], is_deterministic=True)[0, 1]
    assert not separated([[0.1] * 5, [0.2] * 5])[0, 1]
    assert tied_with_best([0.2] * 5, [[0.1] * 5], is_deterministic=True) == [False]
    assert tied_with_best([0.2] * 5, [[0.1] * 5]) == [True]


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
    assert np.isnan(equivalence_p([0.0] * 4, 0.1))
    assert equivalence_p([0.0, 0.01, np.nan, np.inf], 0.1) == equivalence_p([0.0, 0.01], 0.1)


@pytest.mark.parametrize(
    ("shift", "least", "most"), [(1.0, 0.035, 0.065), (-1.0, 0.035, 0.065), (2.0, 0.0, 0.001), (0.0, 0.9, 1.0)]
)
def test_equivalence_is_claimed_of_unequal_arms_no_more_often_than_it_says(shift, least, most):
    """At the margin in 5 % of the cases, beyond it hardly, and nearly always where there is no difference and the spread is small."""
    draws = np.random.default_rng(2).normal(shift, 0.5, size=(3000, 10))
    assert least <= np.mean([equivalence_p(d, 1.0) < 0.05 for d in draws]) <= most


@settings(max_examples=10)  # theirs is slow
@given(probabilities)
def test_holm_is_that_of_statsmodels(p):
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1], abs=1e-12)


@given(samples, st.floats(-5, 5), st.booleans())
def test_the_target_test_is_the_one_sided_t_test(sample, target, higher):
    found = target_test(sample, target, higher_is_better=higher)
    theirs = stats.ttest_1samp(sample, target, alternative="greater" if higher else "less")
    assert found == pytest.approx((np.mean(sample), np.std(sample, ddof=1), len(sample), theirs.pvalue), abs=1e-9)


def test_the_target_test_without_variation():
    assert target_test([0.9] * 5, 0.8, higher_is_better=True).p == 1 / 32
    assert target_test([0.9] * 5, 0.8, higher_is_better=True, is_deterministic=True).p == 0.0
    assert target_test([0.9] * 5, 0.9, higher_is_better=True).p == 0.5
    assert target_test([0.9] * 5, 0.8, higher_is_better=False).p == 1.0
    assert target_test([0.0] * 5, 0.0, higher_is_better=False).p == 0.5
    one = target_test([0.9, np.nan], 0.8, higher_is_better=True)
    assert (one.mean, one.n) == (0.9, 1)
    assert np.isnan([one.deviation, one.p]).all()
    assert np.isnan(target_test([], 0.8, higher_is_better=True).mean)


def with_effect(effect, n=10):
    """Differences whose mean is so many deviations."""
    d = np.arange(n) - (n - 1) / 2
    return d / d.std(ddof=1) + effect


@pytest.mark.parametrize(("effect", "pairs"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_the_seeds_needed_are_those_of_cohens_tables(effect, pairs):
    """Small, medium and large effects at 5 % and a power of 80 %, two-sided."""
    assert seeds_needed(with_effect(effect)) == pairs


@pytest.mark.parametrize("effect", [0.05, 0.13, 0.37, 1.0, 1.7, 2.5])
def test_the_seeds_needed_are_those_of_statsmodels(effect):
    theirs = TTestPower().solve_power(effect_size=effect, alpha=0.05, power=0.8)
    assert seeds_needed(with_effect(effect)) == np.ceil(theirs)


@given(st.floats(0.01, 30), st.integers(2, 200))
def test_power_is_that_of_a_normal_mean_over_the_deviations_that_may_be_seen(effect, n):
    """The deviation is chi-distributed; at each, the mean passes the critical value with a normal probability."""
    critical = stats.t.ppf(0.975, n - 1)
    chi = stats.chi(n - 1)
    sample = chi.ppf((np.arange(2000) + 0.5) / 2000) / np.sqrt(n - 1) * critical
    shift = effect * np.sqrt(n)
    expected = np.mean(stats.norm.sf(sample - shift) + stats.norm.cdf(-sample - shift))
    assert power(effect, n) == pytest.approx(expected, abs=1e-3)


@given(st.floats(1e-4, 50), st.booleans())
def test_the_seeds_needed_are_the_least_that_have_the_power(effect, down):
    n = seeds_needed(with_effect(-effect if down else effect))
    if n < 100_000:
        assert power(effect * (1 + 1e-6), n) >= 0.8
        assert n == 2 or power(effect * (1 - 1e-6), n - 1) < 0.8


def test_the_seeds_needed_grow_smoothly_into_the_normal_limit():
    below, above = seeds_needed(with_effect(0.00887)), seeds_needed(with_effect(0.00885))
    assert below < 100_000 < above
    assert below / above == pytest.approx((0.00885 / 0.00887) ** 2, rel=1e-3)


def test_no_number_of_seeds_separates_what_is_within_the_margin():
    assert seeds_needed([0.01, 0.02, 0.03], margin=0.05) is None
    assert seeds_needed([0.0] * 5) is None
    assert seeds_needed([0.1]) is None
    assert seeds_needed([0.1, np.nan, np.inf]) is None
    assert seeds_needed([0.1] * 5) == 2


matrices = st.integers(1, 6).flatmap(
    lambda c: st.lists(st.lists(st.floats(-3, 3), min_size=4, max_size=4), min_size=c, max_size=c)
)


@given(matrices, st.randoms(use_true_random=False))
def test_separation_has_no_order_of_arms_or_seeds(scores, random):
    scores = np.round(np.array(scores), 2)
    found = separated(scores, margin=1e-3)
    assert (found == found.T).all()
    assert not found.diagonal().any()
    arms, seeds = random.sample(range(len(scores)), len(scores)), random.sample(range(4), 4)
    assert (separated(scores[np.ix_(arms, seeds)], margin=1e-3) == found[np.ix_(arms, arms)]).all()


def test_separation_is_holm_over_all_pairs():
    rng = np.random.default_rng(5)
    scores = rng.normal(0, 0.1, size=(4, 6)) + np.array([[0.0], [0.05], [0.3], [0.9]])
    pairs = [(i, j) for i in range(4) for j in range(i)]
    p = multipletests([stats.ttest_rel(scores[i], scores[j]).pvalue for i, j in pairs], method="holm")[1]
    assert [bool(separated(scores)[i, j]) for i, j in pairs] == [bool(value < 0.05) for value in p]
    assert 0 < separated(scores).sum() < 12


def test_missing_seeds_separate_nothing():
    scores = [[1.0, 1.1, np.nan, np.nan], [np.nan, np.nan, 9.0, 9.1], [5.0, np.nan, np.nan, 5.0]]
    assert not separated(scores).any()
    assert separated(np.empty((0, 4))).shape == (0, 0)
