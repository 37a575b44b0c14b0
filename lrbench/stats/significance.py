"""Tests of a difference over a few seeds: their p-values, corrections for many of them, and the seeds they need.

Shapes: S seeds, C comparisons. scipy has all of these tests; they are written out here because a report makes some ten
thousand of them, and because metrics are stored in float32 and count examples: equal differences must be recognised
as equal, which ``scipy.stats.ttest_1samp`` leaves to the caller.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import nctdtr, ndtri, stdtr, stdtrit

from lrbench.stats.estimates import ENOUGH_SEEDS, LEVEL

Floats = NDArray[np.float64]

POWER = 0.8
"""The share of studies in which a difference as large as the observed one shall be found."""
NORMAL_FROM = 100_000
"""From so many seeds on, Student's t distribution is taken for the normal one."""
ROUNDING_OF_MEAN = 1e-12
"""A deviation below this share of the mean is rounding."""
ROUNDING_OF_MARGIN = 2.5e-4
"""A deviation below this share of the margin is rounding: metrics are float32, and margins ``NEGLIGIBLE`` of them."""
ROUNDING_OF_EQUIVALENCE = 1e-5
"""A standard error below this share of an equivalence margin is rounding."""
NEGLIGIBLE = 1e-3
"""A mean difference below this share of the scale of what is compared counts as none, however sure it is.

Seeds that change nothing but the rounding are copies of one another, and would make any difference certain."""


def paired_p(difference_S: ArrayLike, margin: float = 0.0, *, is_deterministic: bool = False) -> float:
    """Two-sided p-value of the paired t-test on differences by seed.

    The t-test, not the exact sign-flip test: with 5 seeds the latter is never below 2/32, so it finds nothing. The
    price is an assumption of normal differences.
    Args: difference_S: values that are not finite are left out. margin: the least mean difference that counts.
    is_deterministic: whether seeds change nothing in the runs that are compared.
    Returns: 1 where the mean is within the margin. Where all differences are equal but for rounding, as a few counts of
    examples may be by chance: the p-value of S equal signs, 2^(1 - S), or 0 if ``is_deterministic``. NaN with fewer
    than two differences.
    Source: Student 1908; for few seeds, Colas et al. 2019, arXiv:1904.06979.
    """
    d = _sorted_finite(difference_S)
    if len(d) < 2:
        return math.nan
    mean = math.fsum(d) / len(d)  # exactly rounded, so that neither order nor direction changes a digit
    deviation = math.sqrt(math.fsum((d - mean) ** 2) / (len(d) - 1))
    if abs(mean) <= margin:
        return 1.0
    if deviation <= max(ROUNDING_OF_MEAN * abs(mean), ROUNDING_OF_MARGIN * margin):
        return 0.0 if is_deterministic else 2.0 ** (1 - len(d))
    return float(2.0 * stdtr(len(d) - 1, -abs(mean) / deviation * np.sqrt(len(d))))


def mean_beyond_p(value_S: ArrayLike, target: float, *, is_deterministic: bool = False) -> float:
    """One-sided p-value of the t-test that the mean lies above a target: small where it surely does.

    Shapes: S values, all finite.
    Returns: where all values are equal, 1 below the target and 0.5 on it. Above it the chance that all are so if half
    of such values are, 2^-S, or 0 if ``is_deterministic``. NaN with fewer than two values.
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


class TargetTest(NamedTuple):
    """Whether a mean meets a target: the mean, the deviation over n seeds, and the p-value of a mean that does not."""

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
    values = _sorted_finite(value_S)
    sign = 1.0 if higher_is_better else -1.0
    middle = float(values.mean()) if len(values) else math.nan
    deviation = float(values.std(ddof=1)) if len(values) > 1 else math.nan
    p = mean_beyond_p(sign * values, sign * target, is_deterministic=is_deterministic)
    return TargetTest(middle, deviation, len(values), p)


def equivalence_p(difference_S: ArrayLike, margin: float) -> float:
    """p-value of the paired equivalence test: that the mean difference lies within ``margin`` of zero.

    Two one-sided t-tests (TOST): of a mean not above -margin, and of one not below +margin; the greater p-value counts.
    Below 5 % the two arms are equivalent. Above it nothing was shown, neither that they are nor that they are not.
    Shapes: S seeds, the same in both arms; differences that are not finite are left out.
    Returns: NaN with fewer than two differences. Where all are equal, 1 beyond the margin; within it 0, or NaN with
    fewer than ``ENOUGH_SEEDS``, since a few counts agree by chance.
    Source: Schuirmann 1987, Journal of Pharmacokinetics and Biopharmaceutics 15, 657-680.
    """
    d = _sorted_finite(difference_S)
    if len(d) < 2:
        return math.nan
    room = margin - abs(float(d.mean()))
    error = float(d.std(ddof=1)) / np.sqrt(len(d))
    if error <= ROUNDING_OF_EQUIVALENCE * margin:
        return 1.0 if room <= 0.0 else 0.0 if len(d) >= ENOUGH_SEEDS else math.nan
    return float(stdtr(len(d) - 1, -room / error))


def constant_arms_p(n: int, m: int) -> float:
    """The most by which two independent arms of one distribution are each constant, at different values.

    It is 2 n^n m^m / (n + m)^(n + m) for arms of n and m values.
    Source: Barnard 1945, Nature 156, 177.
    """
    return min(1.0, 2.0 * (n / (n + m)) ** n * (m / (n + m)) ** m)


def welch(a_S: Floats, b_S: Floats) -> tuple[float, float]:
    """The standard error of the difference of two independent means, and its degrees of freedom.

    Values are divided by their range first, so that no square over- or underflows.
    Source: Welch 1947, Biometrika 34, 28-35.
    """
    size = max(np.ptp(a_S), np.ptp(b_S))
    if size == 0.0:
        return 0.0, len(a_S) + len(b_S) - 2.0
    shares = [float(((arm - arm[0]) / size).var(ddof=1)) / len(arm) for arm in (a_S, b_S)]
    parts = math.fsum(share**2 / (len(arm) - 1) for share, arm in zip(shares, (a_S, b_S), strict=True))
    return float(size) * math.sqrt(math.fsum(shares)), math.fsum(shares) ** 2 / parts


# ---- many tests


def holm(p_C: ArrayLike) -> Floats:
    """Holm's step-down adjusted p-values of C comparisons; a NaN stays NaN and does not count as a comparison.

    ``scipy.stats.false_discovery_control`` bounds another error rate, so scipy has no equal.
    Source: Holm 1979, Scandinavian Journal of Statistics 6, 65-70.
    """
    p = np.asarray(p_C, np.float64)
    adjusted = np.full(p.shape, np.nan)
    order = np.argsort(p)[: np.count_nonzero(np.isfinite(p))]
    steps = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * steps), 1.0)
    return adjusted


def bonferroni(p_C: ArrayLike) -> Floats:
    """p-values times the number of comparisons, at most 1; a NaN stays NaN and does not count as a comparison."""
    p = np.asarray(p_C, np.float64)
    return np.minimum(p * np.count_nonzero(np.isfinite(p)), 1.0)


# ---- power


def seeds_needed(difference_S: ArrayLike, margin: float = 0.0) -> int | None:
    """How many seeds a paired t-test (two-sided, 5 %) needs to find the observed difference in 80 % of the studies.

    It takes the observed mean and deviation for the true ones.
    Shapes: S differences by seed; those that are not finite are left out.
    Returns: at least 2; None with fewer than two differences, and where the mean lies within ``margin`` of zero.
    Source: power of the t-test by the noncentral t distribution; Cohen 1988, Statistical Power Analysis for the
    Behavioral Sciences, chapter 2; for learning curves, Colas et al. 2018, arXiv:1806.08295.
    """
    d = _sorted_finite(difference_S)
    if len(d) < 2 or abs(float(d.mean())) <= margin:
        return None
    middle, deviation = abs(float(d.mean())), float(d.std(ddof=1))
    if deviation <= ROUNDING_OF_MEAN * middle:
        return 2
    effect = middle / deviation
    of_normal = ((ndtri((1 + LEVEL) / 2) + ndtri(POWER)) / effect) ** 2
    if of_normal > NORMAL_FROM:
        return math.ceil(of_normal)
    low, high = 1, 2  # the power is too small at low, and enough at high
    while power(effect, high) < POWER:
        low, high = high, 2 * high
    while high - low > 1:
        between = (low + high) // 2
        low, high = (low, between) if power(effect, between) >= POWER else (between, high)
    return high


def power(effect: float, n: int) -> float:
    """How often a two-sided t-test at 5 % of n pairs finds a mean difference of ``effect`` deviations."""
    critical, shift = stdtrit(n - 1, (1 + LEVEL) / 2), effect * math.sqrt(n)
    missed, wrong_side = (nctdtr(n - 1, shift, bound) for bound in (critical, -critical))
    return float(1.0 - np.nan_to_num(missed) + np.nan_to_num(wrong_side))  # NaN: a tail too thin for the routine


def _sorted_finite(value_S: ArrayLike) -> Floats:
    """The finite values, sorted, so that their order changes no digit."""
    values = np.asarray(value_S, np.float64)
    return np.sort(values[np.isfinite(values)])
