"""How two arms differ, which of many are told apart, and how likely one run beats another."""

import math
from collections.abc import Sequence
from string import ascii_lowercase
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtr, stdtrit

from lrbench.stats.estimates import LEVEL, UNKNOWN, Interval
from lrbench.stats.significance import EPSILON, paired_p

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
    base: "pd.Series[Any]", head: "pd.Series[Any]", margin: float = 0.0, *, is_deterministic: bool = False
) -> Difference:
    """Compare two arms whose values have the seed as index, values that are not finite left out.

    With ``FEWEST`` shared seeds or more, or where all are shared, only these are compared, pair by pair (the t-test of
    ``paired_p``); else all of both (Welch's t-test). A mean difference within ``margin`` of zero has p = 1. Beyond it,
    where neither arm varies, p is the most by which two independent arms of n and m values of one distribution could be
    so, each at a value of its own: 2 n^n m^m / (n + m)^(n + m); or 0 if ``is_deterministic``, as of ``paired_p``. Exchanging
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
        p = 0.0 if is_deterministic else _of_constants(len(one), len(other))
    elif paired:
        p = paired_p(other - one, margin, is_deterministic=is_deterministic)
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


Pairs = Sequence[tuple[ArrayLike, ArrayLike]]
"""For each workload the scores of the one strategy and those of the other, over seeds; higher is better."""


def probability_of_improvement(pairs: Pairs) -> float:
    """P(X > Y) + P(X = Y) / 2 for a run X of the one and a run Y of the other, the mean over workloads; NaN without any.

    Shapes: any number of seeds in each; values that are not finite are left out, and a workload where an arm has none
    says nothing.
    Source: Agarwal et al. 2021, arXiv:2108.13264, section 4.3; on each workload Mann and Whitney's U / (n m).
    """
    wins = _wins(pairs)
    return float(np.mean([win.mean() for win in wins])) if wins else float("nan")


def improvement_interval(pairs: Pairs, rng: np.random.Generator, *, resamples: int = 2000) -> Interval:
    """95 % interval of ``probability_of_improvement``: percentile bootstrap, widened by the workloads where it sees no chance at all.

    Both arms are resampled on their own, within each workload (stratified). Where all pairs of a workload end alike
    (all won, all lost, all tied) every resample does, too; such a workload adds the distance from its share to Wilson's
    bound for as many trials as the smaller arm has seeds, squares added to those of the bootstrap's distances. So the
    interval is never empty. NaN bounds where no workload has two values in both arms.
    Source: Wilson 1927, Journal of the American Statistical Association 22, 209-212; adding squared distances to bounds
    of independent parts: Newcombe 1998, Statistics in Medicine 17, 873-890.
    """
    wins = _wins(pairs)
    if not any(min(win.shape) > 1 for win in wins):
        return UNKNOWN
    drawn_WB = np.stack([_resampled(win, rng, resamples) for win in wins])
    middle = float(np.mean([win.mean() for win in wins]))
    low, high = np.quantile(drawn_WB.mean(axis=0), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    alike = [_wilson(float(win[0, 0]), min(win.shape)) - win[0, 0] for win in wins if win.min() == win.max()]
    below, above = np.sqrt((np.array(alike).reshape(-1, 2) ** 2).sum(axis=0)) / len(wins)
    return Interval(_further(middle, float(low), -float(below)), _further(middle, float(high), float(above)))


def _further(middle: float, bound: float, more: float) -> float:
    """A bound of a probability, moved away from the middle by ``more`` as squares add."""
    return min(1.0, max(0.0, middle + math.copysign(math.hypot(bound - middle, more), more))) if more else bound


def _wilson(share: float, trials: int) -> Floats:
    """Wilson's lower and upper bound of a probability."""
    z = float(ndtri((1 + LEVEL) / 2))
    half = z * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    centre = share + z**2 / (2 * trials)
    return np.array([centre - half, centre + half]) / (1 + z**2 / trials)


def _wins(pairs: Pairs) -> list[Floats]:
    """For each workload [X, Y], 1 where the run of the one is better, 1/2 where they tie; rows and columns in order of the scores."""
    found = []
    for one, other in pairs:
        x, y = (np.sort(a[np.isfinite(a)]) for a in (np.asarray(one, np.float64), np.asarray(other, np.float64)))
        if len(x) and len(y):
            found.append(np.greater.outer(x, y) + 0.5 * np.equal.outer(x, y))
    return found


def _resampled(win_XY: Floats, rng: np.random.Generator, resamples: int) -> Floats:
    n, m = win_XY.shape
    x_BX, y_BY = (_counts(rng.integers(size, size=(resamples, size))) for size in (n, m))
    found: Floats = ((x_BX @ win_XY) * y_BY).sum(axis=1) / (n * m)
    return found


def _counts(drawn_BS: NDArray[np.int64]) -> Floats:
    """How often each seed was drawn."""
    found: Floats = (drawn_BS[:, :, None] == np.arange(drawn_BS.shape[1])).sum(axis=1).astype(np.float64)
    return found


Group = frozenset[int]


def compact_letters(separated_CC: ArrayLike) -> list[str]:
    """Letters for C arms in rank order, such that two share one if, and only if, they are not separated.

    Shapes: [C, C], symmetric, whether each pair is separated. The first letter is that of the group with the best arm;
    beyond z come a1, b1 and so on. The number of letters may grow fast with C: meant for tens of arms (at random, with
    three pairs in ten separated, 30 take well below a second and 60 many).
    Source: insert and absorb, Piepho 2004, Journal of Computational and Graphical Statistics 13, 456-466; instead of
    his sweeping, groups are left out whose pairs all stand in other groups.
    """
    apart = np.asarray(separated_CC, bool)
    columns = _without_redundant(_groups(apart), len(apart))
    names = [_name(i) for i in range(len(columns))]
    return [
        "".join(name for name, column in zip(names, columns, strict=True) if i in column) for i in range(len(apart))
    ]


def _groups(apart: "np.ndarray[tuple[int, int], np.dtype[np.bool_]]") -> list[Group]:
    """The greatest groups without a separated pair: one of all to begin with, split by each separated pair, the smaller ones absorbed."""
    columns: set[Group] = {frozenset(range(len(apart)))} if len(apart) else set()
    for i, j in zip(*np.nonzero(np.triu(apart, 1)), strict=True):
        split = {column for column in columns if i in column and j in column}
        columns -= split
        columns |= _new({column - {int(k)} for column in split for k in (i, j)}, columns)
    return sorted(columns, key=sorted)


def _new(parts: set[Group], columns: set[Group]) -> set[Group]:
    """The parts that lie within no column and within no other part."""
    return {
        part
        for part in parts
        if not any(part <= column for column in columns) and not any(part < other for other in parts)
    }


def _without_redundant(columns: Sequence[Group], arms: int) -> list[Group]:
    """The groups, less those whose every pair stands in another one that is kept; from the last to the first."""
    places = [np.ix_(sorted(column), sorted(column)) for column in columns]
    held = np.zeros((arms, arms), int)
    for at in places:
        held[at] += 1
    kept = []
    for column, at in zip(reversed(columns), reversed(places), strict=True):
        if (held[at] > 1).all():
            held[at] -= 1
        else:
            kept.append(column)
    return kept[::-1]


def _name(i: int) -> str:
    again, letter = divmod(i, len(ascii_lowercase))
    return ascii_lowercase[letter] + (str(again) if again else "")
