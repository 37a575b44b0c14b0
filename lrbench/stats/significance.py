"""What a handful of seeds says of a difference: tests, paired by seed wherever two arms are compared."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import nctdtr, ndtri, stdtr, stdtrit

from lrbench.stats.estimates import ENOUGH_SEEDS, LEVEL

POWER = 0.8
"""How often a difference as large as the observed one shall be found."""
LARGE = 100_000
"""From so many seeds on, Student's t is taken for normal."""
EPSILON = 1e-12
"""A deviation below this share of the mean is rounding."""
ROUNDING = 2.5e-4
"""So is one below this share of the margin: metrics are stored in float32, and margins are ``MARGIN`` of their
scale."""
ALIKE = 1e-5
"""So is, in a test of equivalence, a standard error below this share of its margin."""
MARGIN = 1e-3
"""A mean difference below this share of the scale of what is compared is no difference, however sure it is: seeds that
change nothing but the rounding are copies of one another, and would make any difference certain."""


def paired_p(difference_S: ArrayLike, margin: float = 0.0, *, is_deterministic: bool = False) -> float:
    """Two-sided p-value of the paired t-test on differences by seed.

    Shapes: S seeds, the same in both arms; differences that are not finite are left out. NaN (nothing can be said) with
    fewer than two. A mean within ``margin`` of zero: 1. All equal but for rounding, and beyond it, as a few counts may
    be by chance: that of S equal signs, 2^(1 - S); but 0 if ``is_deterministic``: seeds change nothing in the runs that are
    compared. The t-test, not the exact sign-flip test, because with 5 seeds the latter can never go below 2/32 and so
    never separates anything; the price is an assumption of normal differences.
    Source: Student 1908; for few seeds, Colas et al. 2019, arXiv:1904.06979.
    """
    d = _known(difference_S)
    if len(d) < 2:
        return math.nan
    mean = math.fsum(d) / len(d)  # exactly rounded, so that neither order nor direction changes a digit
    deviation = math.sqrt(math.fsum((d - mean) ** 2) / (len(d) - 1))
    if abs(mean) <= margin:
        return 1.0
    if deviation <= max(EPSILON * abs(mean), ROUNDING * margin):
        return 0.0 if is_deterministic else 2.0 ** (1 - len(d))
    return float(2.0 * stdtr(len(d) - 1, -abs(mean) / deviation * np.sqrt(len(d))))


def mean_beyond_p(value_S: ArrayLike, target: float, *, is_deterministic: bool = False) -> float:
    """One-sided p-value of the t-test that the mean lies above a target: small where it surely does.

    Shapes: S values, all finite. NaN with fewer than two. All equal: 1 below the target, 0.5 on it, and above it the
    chance that all are so if half of such values are, 2^-S; or 0 if ``is_deterministic``, as of ``paired_p``.
    Source: Student 1908; equals ``scipy.stats.ttest_1samp(values, target, alternative="greater")``.
    """
    values = np.sort(np.asarray(value_S, np.float64))
    if len(values) < 2:
        return math.nan
    excess, deviation = float(values.mean()) - target, float(values.std(ddof=1))
    if values[0] == values[-1]:
        if values[0] > target:
            return 0.0 if is_deterministic else 2.0 ** -len(values)
        return 1.0 if values[0] < target else 0.5
    return float(stdtr(len(values) - 1, -excess / deviation * math.sqrt(len(values))))


def _known(value_S: ArrayLike) -> NDArray[np.float64]:
    """The finite values, sorted, so that their order changes no digit."""
    values = np.asarray(value_S, np.float64)
    return np.sort(values[np.isfinite(values)])


def equivalence_p(difference_S: ArrayLike, margin: float) -> float:
    """p-value of the paired equivalence test: that the mean difference lies within ``margin`` of zero.

    Two one-sided t-tests (TOST), of a mean not above -margin and of one not below +margin; the greater p-value counts.
    Below 5 % the two arms are equivalent; above it nothing was shown, neither that they are nor that they are not.
    Shapes: S seeds, the same in both arms; differences that are not finite are left out. NaN with fewer than two. All
    equal: 1 beyond the margin; within it 0, or NaN with fewer than ``ENOUGH_SEEDS``, since a few counts agree by
    chance.
    Source: Schuirmann 1987, Journal of Pharmacokinetics and Biopharmaceutics 15, 657-680.
    """
    d = _known(difference_S)
    if len(d) < 2:
        return math.nan
    room = margin - abs(float(d.mean()))
    error = float(d.std(ddof=1)) / np.sqrt(len(d))
    if error <= ALIKE * margin:
        return 1.0 if room <= 0.0 else 0.0 if len(d) >= ENOUGH_SEEDS else math.nan
    return float(stdtr(len(d) - 1, -room / error))


def holm(p_C: ArrayLike) -> NDArray[np.float64]:
    """Holm's step-down adjusted p-values of C comparisons; a NaN stays NaN and does not count as a comparison.

    Source: Holm 1979, Scandinavian Journal of Statistics 6, 65-70.
    """
    p = np.asarray(p_C, np.float64)
    adjusted = np.full(p.shape, np.nan)
    order = np.argsort(p)[: np.count_nonzero(np.isfinite(p))]
    steps = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * steps), 1.0)
    return adjusted


def not_separated(
    best_S: ArrayLike, others_CS: Sequence[ArrayLike], margin: float = 0.0, *, is_deterministic: bool = False
) -> list[bool]:
    """For each of C others, whether the seeds cannot tell it from the best: its paired p-value times C is not below 5 %.

    The best was chosen by the same seeds, so this is no comparison with a control. What holds is that in 95 % of
    studies and more the one that is best in truth is the best found or among those not separated from it: it can be
    lost only to one of C others that is tested at 5 % / C. That two equals are told apart is not excluded so often.
    Shapes: S seeds in the same order everywhere, NaN where a seed is missing. An untestable pair is not separated.
    Source: Bonferroni's inequality; confidence sets of the best, Hsu 1981, Annals of Statistics 9, 1026-1034.
    """
    best = np.asarray(best_S, np.float64)
    p_C = [
        paired_p(best - np.asarray(other, np.float64), margin, is_deterministic=is_deterministic) for other in others_CS
    ]
    tested = sum(not math.isnan(p) for p in p_C)
    return [not p * tested < 1 - LEVEL for p in p_C]


def separated(score_CS: ArrayLike, margin: float = 0.0, *, is_deterministic: bool = False) -> NDArray[np.bool_]:
    """Which pairs of C arms the seeds tell apart: Holm-adjusted paired p-value, over all pairs, below 5 %.

    Shapes: [C, S], seeds in the same order everywhere, NaN where one is missing. Returns: [C, C], symmetric; an
    untestable pair (fewer than two shared seeds) is not separated.
    """
    score_CS = np.asarray(score_CS, np.float64)
    one, other = np.triu_indices(len(score_CS), 1)
    adjusted = holm(
        [
            paired_p(score_CS[i] - score_CS[j], margin, is_deterministic=is_deterministic)
            for i, j in zip(one, other, strict=True)
        ]
    )
    found = np.zeros((len(score_CS),) * 2, bool)
    found[one, other] = found[other, one] = adjusted < 1 - LEVEL
    return found


class TargetTest(NamedTuple):
    """Whether a mean meets a target: its estimate, the deviation over n seeds, and the p-value of a mean that does not."""

    mean: float
    deviation: float
    n: int
    p: float


def target_test(
    value_S: ArrayLike, target: float, *, higher_is_better: bool, is_deterministic: bool = False
) -> TargetTest:
    """One-sided t-test that the mean result is better than the target: ``mean_beyond_p``, for either direction.

    Shapes: S seeds; values that are not finite are left out. p is NaN with fewer than two.
    """
    values = _known(value_S)
    sign = 1.0 if higher_is_better else -1.0
    middle = float(values.mean()) if len(values) else math.nan
    deviation = float(values.std(ddof=1)) if len(values) > 1 else math.nan
    return TargetTest(
        middle, deviation, len(values), mean_beyond_p(sign * values, sign * target, is_deterministic=is_deterministic)
    )


def seeds_needed(difference_S: ArrayLike, margin: float = 0.0) -> int | None:
    """How many seeds a paired t-test (two-sided, 5 %) needs to find the observed difference in 80 % of the studies.

    Shapes: S differences by seed; those that are not finite are left out. It takes the observed mean and deviation for
    the true ones.
    Returns: at least 2; None with fewer than two differences, or where the mean lies within ``margin`` of zero: there
    is nothing to find.
    Source: power of the t-test by the noncentral t distribution; Cohen 1988, Statistical Power Analysis for the
    Behavioral Sciences, chapter 2; for learning curves, Colas et al. 2018, arXiv:1806.08295.
    """
    d = _known(difference_S)
    if len(d) < 2 or abs(float(d.mean())) <= margin:
        return None
    middle, deviation = abs(float(d.mean())), float(d.std(ddof=1))
    return 2 if deviation <= EPSILON * middle else _least(middle / deviation)


def _least(effect: float) -> int:
    """The least number of pairs that gives the power, at a mean of so many deviations."""
    normal = (ndtri((1 + LEVEL) / 2) + ndtri(POWER)) / effect
    if normal * normal > LARGE:
        return math.ceil(normal * normal)
    low, high = 1, 2
    while power(effect, high) < POWER:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(effect, middle) >= POWER else (middle, high)
    return high


def power(effect: float, n: int) -> float:
    """How often a two-sided t-test at 5 % of n pairs finds a mean difference of ``effect`` deviations."""
    critical, shift = stdtrit(n - 1, (1 + LEVEL) / 2), effect * math.sqrt(n)
    missed, wrong_side = (nctdtr(n - 1, shift, bound) for bound in (critical, -critical))
    return float(
        1.0 - np.nan_to_num(missed) + np.nan_to_num(wrong_side)
    )  # NaN where a tail is too thin for the routine
