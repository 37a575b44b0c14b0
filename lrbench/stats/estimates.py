"""Means over a few seeds, and their 95 % bootstrap intervals.

Shapes: S seeds; G groups of seeds (a group is a workload); C cells (a cell has one mean: a strategy at one lr).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

ENOUGH_SEEDS = 5
"""With fewer seeds, intervals are too narrow and a report warns."""
LEVEL = 0.95
"""The confidence level of every interval. A test finds something if its p-value is below 1 - this."""
COVERAGE = {2: 0.50, 3: 0.75, 4: 0.87}
"""How often the nominal 95 % interval of so few normal seeds holds their IQM; measured in docs/statistics.md."""
DRAWN_AT_ONCE = 1 << 23
"""The most numbers drawn at once."""

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Statistic = Callable[[Floats, Counts | None], Floats]
"""A mean over the last axis; the second argument says how often each value counts (None: once)."""


class Interval(NamedTuple):
    """A 95 % interval."""

    low: float
    high: float


UNKNOWN = Interval(math.nan, math.nan)


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval; the bounds are NaN where the interval is not known."""

    value: float
    low: float = math.nan
    high: float = math.nan

    @classmethod
    def of_seeds(cls, value_S: ArrayLike, statistic: Statistic | None = None) -> "Estimate":
        """The IQM (or another statistic) over seeds, with its bootstrap interval; values that are not finite are left out."""
        chosen = statistic or iqm
        return cls(over_groups([value_S], statistic=chosen), *seeds_interval(value_S, statistic=chosen))

    @property
    def is_known(self) -> bool:
        """Whether there is a value."""
        return math.isfinite(self.value)


def iqm(values: ArrayLike, counts: Counts | None = None) -> Any:
    """Interquartile mean over the last axis: the mean without the lowest and the highest quarter (rounded down).

    With fewer than four values it is the mean; NaN without any.
    Args: counts: how often each value of the last axis counts, whole numbers; once each if left out.
    Source: Agarwal et al. 2021, arXiv:2108.13264; equals ``scipy.stats.trim_mean(values, 0.25)``.
    """
    array = np.asarray(values, np.float64)
    n = array.shape[-1]
    if n == 0:
        return np.full(array.shape[:-1], np.nan)[()]
    if counts is None:
        cut = int(0.25 * n)
        return np.sort(array, axis=-1)[..., cut : n - cut].mean(axis=-1)
    order = np.argsort(array, axis=-1, kind="stable")
    ends = np.cumsum(counts[order], axis=-1)
    cut, total = int(0.25 * counts.sum()), int(counts.sum())
    kept = np.clip(np.minimum(ends, total - cut) - np.maximum(ends - counts[order], cut), 0, None)
    return (np.take_along_axis(array, order, axis=-1) * kept).sum(axis=-1) / (total - 2 * cut)


def mean(values: ArrayLike, counts: Counts | None = None) -> Any:
    """Mean over the last axis, each value as often as ``counts`` says; NaN without any.

    The sum runs in order of the values, so that their order changes no digit.
    """
    array = np.asarray(values, np.float64)
    if array.shape[-1] == 0:
        return np.full(array.shape[:-1], np.nan)[()]
    if counts is None:
        return np.sort(array, axis=-1).mean(axis=-1)
    order = np.argsort(array, axis=-1, kind="stable")
    return (np.take_along_axis(array, order, axis=-1) * counts[order]).sum(axis=-1) / counts.sum()


def balance(sizes: Sequence[int]) -> Counts | None:
    """How often each pooled value counts so that all groups weigh alike; None where they already do.

    >>> balance([2, 4])
    array([2, 2, 1, 1, 1, 1])
    """
    known = [n for n in sizes if n]
    if len(set(known)) <= 1:
        return None
    common = min(math.lcm(*known), 10**9)  # beyond that the weights differ by rounding only
    return np.repeat([round(common / n) for n in known], known).astype(np.int64)


def over_groups(groups: Sequence[ArrayLike], *, statistic: Statistic = iqm) -> float:
    """A statistic of the pooled groups, which all weigh alike; values that are not finite are left out."""
    arrays = _finite(groups)
    return float(statistic(np.concatenate(arrays), balance([len(a) for a in arrays]))) if arrays else math.nan


def bootstrap_interval(
    groups: Sequence[ArrayLike], rng: np.random.Generator, *, statistic: Statistic = iqm, resamples: int = 2000
) -> Interval:
    """Percentile bootstrap 95 % interval of a statistic of the pooled groups, resampled within each group (stratified).

    Shapes: one array of seeds per group; with one group it is the plain bootstrap. All groups weigh alike, whatever
    their sizes. Values that are not finite are left out.
    Returns: NaN bounds where no group has two values. With few seeds the interval is too narrow: see ``COVERAGE``.
    Source: stratified bootstrap, Agarwal et al. 2021, arXiv:2108.13264.
    """
    low_C, high_C = bootstrap_intervals(
        [a[None] for a in _finite(groups)] or [np.empty((1, 0))], rng, statistic, resamples
    )
    return Interval(float(low_C[0]), float(high_C[0]))


def _finite(groups: Sequence[ArrayLike]) -> list[Floats]:
    arrays = (np.asarray(g, np.float64) for g in groups)
    return [a for a in (a[np.isfinite(a)] for a in arrays) if len(a)]


def bootstrap_intervals(
    groups_CS: Sequence[Floats], rng: np.random.Generator, statistic: Statistic = iqm, resamples: int = 2000
) -> tuple[Floats, Floats]:
    """``bootstrap_interval`` of many cells at once; all have the same number of seeds, and all values are finite.

    Shapes: for each group one array [C, S]; S may differ between groups. The same seeds are drawn for every cell, so
    the interval of one cell does not depend on the others.
    Returns: the bounds, [C] each.
    """
    cells, sizes = len(groups_CS[0]), [group.shape[1] for group in groups_CS]
    if max(sizes) < 2:
        return np.full(cells, np.nan), np.full(cells, np.nan)
    drawn_BS = [rng.integers(n, size=(resamples, n)) for n in sizes]
    counts, step = balance(sizes), max(1, DRAWN_AT_ONCE // (resamples * sum(sizes)))
    bounds = []
    for i in range(0, cells, step):
        parts = [group[i : i + step][:, drawn] for group, drawn in zip(groups_CS, drawn_BS, strict=True)]
        bounds.append(
            np.quantile(statistic(np.concatenate(parts, axis=-1), counts), [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=-1)
        )
    low_C, high_C = np.concatenate(bounds, axis=-1) if bounds else np.empty((2, 0))
    return low_C, high_C


def seeds_interval(value_S: ArrayLike, *, statistic: Statistic = iqm) -> Interval:
    """The interval of the IQM over seeds, from a fixed generator: the same values in any order give the same interval."""
    return cell_intervals([[value_S]], statistic=statistic)[0]


def seeds_intervals(cells: Sequence[ArrayLike], *, statistic: Statistic = iqm) -> list[Interval]:
    """``seeds_interval`` of many cells; those with equal numbers of seeds are computed together."""
    return cell_intervals([[cell] for cell in cells], statistic=statistic)


def cell_intervals(cells: Sequence[Sequence[ArrayLike]], *, statistic: Statistic = iqm) -> list[Interval]:
    """The stratified interval of many cells, each a sequence of groups, from a fixed generator.

    Equals ``bootstrap_interval`` of each cell's sorted values, so neither the order of values nor that of cells matters.
    """
    sorted_cells = [[np.sort(a) for a in _finite(groups)] for groups in cells]
    places: dict[tuple[int, ...], list[int]] = {}
    for i, groups in enumerate(sorted_cells):
        places.setdefault(tuple(map(len, groups)), []).append(i)
    intervals = [UNKNOWN] * len(cells)
    for sizes, at in places.items():
        if sizes:
            stacked = [np.stack([sorted_cells[i][g] for i in at]) for g in range(len(sizes))]
            low_C, high_C = bootstrap_intervals(stacked, np.random.default_rng(0), statistic)
            for i, low, high in zip(at, low_C, high_C, strict=True):
                intervals[i] = Interval(float(low), float(high))
    return intervals


def median_interval(value_S: ArrayLike, rng: np.random.Generator, *, resamples: int = 2000) -> Interval:
    """Percentile bootstrap 95 % interval of the median, where infinity (never reached) is a value above all others.

    Each bound is a median that was drawn, never a mean of two, so one bound may be infinite and the other finite. With
    few seeds the interval is rough: with 5 its bounds are about the least and the greatest value.
    Returns: NaN bounds where a value is NaN or there are fewer than two values.
    Source: Efron 1979, Annals of Statistics 7, 1-26.
    """
    values = np.sort(np.asarray(value_S, np.float64))
    if len(values) < 2 or np.isnan(values).any():
        return UNKNOWN
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
    low, high = np.exp(bootstrap_interval([logs], rng, statistic=mean))
    return Interval(float(low), float(high))


def seed_warning(seeds: int) -> str | None:
    """A warning where there are too few seeds to trust the intervals, else None."""
    if seeds >= ENOUGH_SEEDS:
        return None
    if seeds == 1:
        return (
            f"Only 1 seed: no interval and no test is possible, no difference is told from chance. "
            f"Use {ENOUGH_SEEDS} or more."
        )
    return (
        f"Only {seeds} seeds: intervals are too narrow (a nominal 95 % covers about {100 * COVERAGE[seeds]:.0f} %) and "
        f"few differences can be separated. Use {ENOUGH_SEEDS} or more."
    )
