"""The difference of two means, with its interval and its test: by paired seeds where there are any, else by Welch's."""

import math
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from lrbench.analyse.intervals import LEVEL
from lrbench.analyse.testing import certain, paired_p

FEWEST = 3
"""With fewer seeds there is no p-value: two counts that happen to move by the same would be certain."""

Floats = NDArray[np.float64]


class Difference(NamedTuple):
    """How two arms differ: ``base`` and ``head`` are the means that were compared, ``difference`` is the second less the first.

    ``low`` and ``high`` are a 95 % interval of it, from the t distribution; ``p`` is two-sided. NaN where they cannot be told. ``seeds``
    counts the pairs, or the lesser number of values of the two arms.
    """

    base: float
    head: float
    difference: float
    low: float
    high: float
    p: float
    seeds: int
    paired: bool


def difference(base: "pd.Series[Any]", head: "pd.Series[Any]", margin: float = 0.0) -> Difference:
    """Compare two arms whose values have the seed as index, values that are not finite left out.

    With ``FEWEST`` shared seeds or more, or where all are shared, only these are compared, pair by pair (the t-test of ``paired_p``); else
    all of both (Welch's t-test). A mean difference within ``margin`` of zero has p = 1. Exchanging the arms changes signs and nothing else.
    Source: Student 1908; Welch 1947, Biometrika 34, 28-35.
    """
    base, head = _known(base), _known(head)
    shared = base.index.intersection(head.index).sort_values()
    if len(shared) >= FEWEST or 1 < len(shared) == max(len(base), len(head)):
        return _paired(base.loc[shared].to_numpy(float), head.loc[shared].to_numpy(float), margin)
    return _welch(base.to_numpy(float), head.to_numpy(float), margin)


def _known(values: "pd.Series[Any]") -> "pd.Series[Any]":
    known: pd.Series[Any] = values[np.isfinite(values.to_numpy(float))].sort_index()
    return known


def _paired(base_S: Floats, head_S: Floats, margin: float) -> Difference:
    d = head_S - base_S
    error = float(d.std(ddof=1)) / math.sqrt(len(d))
    low, high = _around(float(d.mean()), error, len(d) - 1)
    p = paired_p(d, margin) if len(d) >= FEWEST else math.nan
    return Difference(float(base_S.mean()), float(head_S.mean()), float(d.mean()), low, high, p, len(d), paired=True)


def _welch(base_S: Floats, head_S: Floats, margin: float) -> Difference:
    fewest = min(len(base_S), len(head_S))
    base, head = (float(arm.mean()) if len(arm) else math.nan for arm in (base_S, head_S))
    mean = head - base
    if fewest < 2:
        return Difference(base, head, mean, math.nan, math.nan, math.nan, fewest, paired=False)
    shares = [float(arm.var(ddof=1)) / len(arm) for arm in (base_S, head_S)]
    error = math.sqrt(math.fsum(shares))
    freedom = _freedom(shares, [len(base_S), len(head_S)])
    low, high = _around(mean, error, freedom)
    p = _welch_p(mean, error, freedom, fewest, margin) if fewest >= FEWEST else math.nan
    return Difference(base, head, mean, low, high, p, fewest, paired=False)


def _freedom(shares: list[float], sizes: list[int]) -> float:
    """Welch and Satterthwaite's degrees of freedom."""
    parts = math.fsum(share**2 / (n - 1) for share, n in zip(shares, sizes, strict=True))
    return math.fsum(shares) ** 2 / parts if parts > 0.0 else float(sum(sizes) - 2)


def _welch_p(mean: float, error: float, freedom: float, seeds: int, margin: float) -> float:
    if abs(mean) <= margin:
        return 1.0
    return certain(seeds) if error <= 1e-12 * abs(mean) else float(2.0 * stdtr(freedom, -abs(mean) / error))


def _around(mean: float, error: float, freedom: float) -> tuple[float, float]:
    reach = float(stdtrit(freedom, (1.0 + LEVEL) / 2.0)) * error
    return mean - reach, mean + reach
