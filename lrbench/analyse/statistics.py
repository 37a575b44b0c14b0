"""What a handful of seeds can say."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr

ENOUGH_SEEDS = 5
LEVEL = 0.95

Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]


class Interval(NamedTuple):
    """A 95 % interval."""

    low: float
    high: float


def iqm(values: ArrayLike) -> Any:
    """Interquartile mean over the last axis: the mean without the lowest and the highest quarter (rounded down).

    With fewer than four values it is the mean; NaN without any.
    Source: Agarwal et al. 2021, arXiv:2108.13264; equals ``scipy.stats.trim_mean(values, 0.25)``.
    """
    ordered = np.sort(np.asarray(values, np.float64), axis=-1)
    n = ordered.shape[-1]
    if n == 0:
        return np.full(ordered.shape[:-1], np.nan)[()]
    cut = int(0.25 * n)
    return ordered[..., cut : n - cut].mean(axis=-1)


def bootstrap_interval(
    groups: Sequence[ArrayLike], rng: np.random.Generator, *, statistic: Statistic = iqm, resamples: int = 2000
) -> Interval:
    """Percentile bootstrap 95 % interval of a statistic of the pooled groups, resampled within each group (stratified).

    Shapes: one array of seeds per group (a group is a workload; one group: the plain bootstrap). Values that are not finite are left
    out. Returns NaN bounds when no group has two values. With 3, 5 and 10 normal seeds of one group a nominal 95 % covers
    about 75, 89 and 94 %.
    Source: stratified bootstrap, Agarwal et al. 2021, arXiv:2108.13264.
    """
    arrays = [a[np.isfinite(a)] for a in (np.asarray(g, np.float64) for g in groups)]
    arrays = [a for a in arrays if len(a)]
    if max((len(a) for a in arrays), default=0) < 2:
        return Interval(float("nan"), float("nan"))
    drawn = np.concatenate([a[rng.integers(len(a), size=(resamples, len(a)))] for a in arrays], axis=1)
    low, high = np.quantile(statistic(drawn), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))


def seeds_interval(value_S: ArrayLike) -> Interval:
    """The interval of the IQM over seeds, from a generator of its own: the same values give the same interval, in any order."""
    return bootstrap_interval([np.sort(np.asarray(value_S, np.float64))], np.random.default_rng(0))


def median_interval(value_S: ArrayLike, rng: np.random.Generator, *, resamples: int = 2000) -> Interval:
    """Percentile bootstrap 95 % interval of the median, where infinity (never reached) is a value above all others.

    Shapes: S seeds. Bounds are medians that were drawn, never a mean of two, so that one of them may be infinite and the other not.
    NaN bounds when a value is NaN or there are fewer than two. It is wide of the mark for few seeds: with 5 the bounds are about the
    least and the greatest value.
    Source: Efron 1979, Annals of Statistics 7, 1-26.
    """
    values = np.sort(np.asarray(value_S, np.float64))
    if len(values) < 2 or np.isnan(values).any():
        return Interval(float("nan"), float("nan"))
    medians = np.median(values[rng.integers(len(values), size=(resamples, len(values)))], axis=1)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(medians, tail, method="lower"), np.quantile(medians, 1 - tail, method="higher")
    return Interval(float(low), float(high))


def geometric_mean(ratio_C: ArrayLike) -> float:
    """The geometric mean of C positive ratios; NaN without any."""
    ratios = np.sort(np.asarray(ratio_C, np.float64))  # so that their order changes no digit
    return float(np.exp(np.log(ratios).mean())) if len(ratios) else float("nan")


def ratio_interval(ratio_C: ArrayLike, rng: np.random.Generator) -> Interval:
    """Percentile bootstrap 95 % interval of the geometric mean of C positive ratios; NaN bounds with fewer than two."""
    logs = np.log(np.sort(np.asarray(ratio_C, np.float64)))
    low, high = np.exp(bootstrap_interval([logs], rng, statistic=lambda drawn: drawn.mean(axis=-1)))
    return Interval(float(low), float(high))


MARGIN = 1e-3
"""A mean difference below this share of the scale of what is compared is no difference, however sure it is: seeds that change nothing
but the rounding are copies of one another, and would make any difference certain."""


def paired_p(difference_S: ArrayLike, margin: float = 0.0) -> float:
    """Two-sided p-value of the paired t-test on differences by seed.

    Shapes: S seeds, the same in both arms; differences that are not finite are left out. NaN (nothing can be said) with fewer than
    two. A mean within ``margin`` of zero: 1. All equal and beyond it: 0. The t-test, not the exact sign-flip test, because with 5
    seeds the latter can never go below 2/32 and so never separates anything; the price is an assumption of normal differences.
    Source: Student 1908; for few seeds, Colas et al. 2019, arXiv:1904.06979.
    """
    d = np.asarray(difference_S, np.float64)
    d = d[np.isfinite(d)]
    if len(d) < 2:
        return float("nan")
    mean, deviation = float(d.mean()), float(d.std(ddof=1))
    if abs(mean) <= margin:
        return 1.0
    if deviation <= 1e-12 * abs(mean):
        return 0.0
    return float(2.0 * stdtr(len(d) - 1, -abs(mean) / deviation * np.sqrt(len(d))))


def mean_beyond_p(value_S: ArrayLike, target: float) -> float:
    """One-sided p-value of the t-test that the mean lies above a target: small where it surely does.

    Shapes: S values, all finite. NaN with fewer than two. All equal: 0 above the target, 1 below it, 0.5 on it.
    Source: Student 1908; equals ``scipy.stats.ttest_1samp(values, target, alternative="greater")``.
    """
    values = np.asarray(value_S, np.float64)
    if len(values) < 2:
        return float("nan")
    excess, deviation = float(values.mean()) - target, float(values.std(ddof=1))
    if values.min() == values.max():
        return float(0.5 - 0.5 * np.sign(values[0] - target))
    return float(stdtr(len(values) - 1, -excess / deviation * np.sqrt(len(values))))


def equivalence_p(difference_S: ArrayLike, margin: float) -> float:
    """p-value of the paired equivalence test: that the mean difference lies within ``margin`` of zero.

    Two one-sided t-tests (TOST), of a mean not above -margin and of one not below +margin; the greater p-value counts. Below 5 % the
    two arms are equivalent; above it nothing was shown, neither that they are nor that they are not.
    Shapes: S seeds, the same in both arms; differences that are not finite are left out. NaN with fewer than two. All equal: 0 within the
    margin, else 1.
    Source: Schuirmann 1987, Journal of Pharmacokinetics and Biopharmaceutics 15, 657-680.
    """
    d = np.asarray(difference_S, np.float64)
    d = d[np.isfinite(d)]
    if len(d) < 2:
        return float("nan")
    room = margin - abs(float(d.mean()))
    error = float(d.std(ddof=1)) / np.sqrt(len(d))
    if error <= 1e-12 * margin:
        return 0.0 if room > 0.0 else 1.0
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


def not_separated(best_S: ArrayLike, others_CS: Sequence[ArrayLike], margin: float = 0.0) -> list[bool]:
    """For each of C others, whether the seeds cannot tell it from the best: its Holm-adjusted paired p-value is not below 5 %.

    Shapes: S seeds in the same order everywhere, NaN where a seed is missing. An untestable pair (fewer than two seeds) is not separated.
    """
    best = np.asarray(best_S, np.float64)
    adjusted = holm([paired_p(best - np.asarray(other, np.float64), margin) for other in others_CS])
    return [not p < 1 - LEVEL for p in adjusted]


def seed_warning(seeds: int) -> str | None:
    """A sentence when there are too few seeds for the intervals to be trusted."""
    if seeds >= ENOUGH_SEEDS:
        return None
    if seeds == 1:
        return f"Only 1 seed: no interval and no test is possible, no difference is told from chance. Use {ENOUGH_SEEDS} or more."
    return f"Only {seeds} seeds: intervals are too narrow and few differences can be separated. Use {ENOUGH_SEEDS} or more."
