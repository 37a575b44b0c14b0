"""The difference of two means, with its interval and its test: by paired seeds where there are any, else by Welch's."""

import math
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from lrbench.analyse.intervals import LEVEL
from lrbench.analyse.testing import EPSILON, paired_p

FEWEST = 3
"""With fewer seeds there is no p-value."""

Floats = NDArray[np.float64]


class Difference(NamedTuple):
    """How two arms differ: ``base`` and ``head`` are the means that were compared, ``difference`` is the second less the first.

    ``low`` and ``high`` are a 95 % interval of it, from the t distribution; ``p`` is two-sided. NaN where they cannot
    be told. ``seeds`` counts the pairs, or the lesser number of values of the two arms.
    """

    base: float
    head: float
    difference: float
    low: float
    high: float
    p: float
    seeds: int
    paired: bool


def difference(
    base: "pd.Series[Any]", head: "pd.Series[Any]", margin: float = 0.0, *, seedless: bool = False
) -> Difference:
    """Compare two arms whose values have the seed as index, values that are not finite left out.

    With ``FEWEST`` shared seeds or more, or where all are shared, only these are compared, pair by pair (the t-test of
    ``paired_p``); else all of both (Welch's t-test). A mean difference within ``margin`` of zero has p = 1. Beyond it,
    where neither arm varies, p is the most by which two independent arms of n and m values of one distribution could be
    so, each at a value of its own: 2 n^n m^m / (n + m)^(n + m); or 0 if ``seedless``, as of ``paired_p``. Exchanging
    the arms changes signs and nothing else.
    Source: Student 1908; Welch 1947, Biometrika 34, 28-35; of arms that do not vary, Barnard 1945, Nature 156, 177.
    """
    base, head = _known(base), _known(head)
    shared = base.index.intersection(head.index).sort_values()
    if paired := len(shared) >= FEWEST or 1 < len(shared) == max(len(base), len(head)):
        base, head = base.loc[shared], head.loc[shared]
    one, other = base.to_numpy(float), head.to_numpy(float)
    seeds = min(len(one), len(other))
    before, after = (float(arm.mean()) if len(arm) else math.nan for arm in (one, other))
    mean = after - before
    if seeds < 2:
        return Difference(before, after, mean, math.nan, math.nan, math.nan, seeds, paired=False)
    error, freedom = _of_pairs(other - one) if paired else _of_arms(one, other)
    reach = float(stdtrit(freedom, (1.0 + LEVEL) / 2.0)) * error
    if seeds < FEWEST:
        p = math.nan
    elif max(np.ptp(one), np.ptp(other)) <= EPSILON * abs(mean) and abs(mean) > margin:
        p = 0.0 if seedless else _of_constants(len(one), len(other))
    elif paired:
        p = paired_p(other - one, margin, seedless=seedless)
    else:
        p = float(2.0 * stdtr(freedom, -abs(mean) / error)) if abs(mean) > margin else 1.0
    return Difference(before, after, mean, mean - reach, mean + reach, p, seeds, paired=paired)


def _known(values: "pd.Series[Any]") -> "pd.Series[Any]":
    known: pd.Series[Any] = values[np.isfinite(values.to_numpy(float))].sort_index()
    return known


def _of_pairs(difference_S: Floats) -> tuple[float, float]:
    """The standard error of a mean difference of pairs, and its degrees of freedom."""
    return float(difference_S.std(ddof=1)) / math.sqrt(len(difference_S)), len(difference_S) - 1.0


def _of_arms(one_S: Floats, other_S: Floats) -> tuple[float, float]:
    """The standard error of the difference of two means, and Welch and Satterthwaite's degrees of freedom."""
    size = max(np.ptp(one_S), np.ptp(other_S))
    if size == 0.0:
        return 0.0, len(one_S) + len(other_S) - 2.0
    shares = [float(((arm - arm[0]) / size).var(ddof=1)) / len(arm) for arm in (one_S, other_S)]
    parts = math.fsum(share**2 / (len(arm) - 1) for share, arm in zip(shares, (one_S, other_S), strict=True))
    return float(size) * math.sqrt(math.fsum(shares)), math.fsum(shares) ** 2 / parts


def _of_constants(n: int, m: int) -> float:
    """How often two arms of one distribution are each constant, at different values, at most."""
    return min(1.0, 2.0 * (n / (n + m)) ** n * (m / (n + m)) ** m)
