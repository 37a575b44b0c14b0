"""Several strategies on several workloads, compared by their ranks alone.

Shapes: W workloads, C strategies.
"""

import math
from itertools import permutations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtrc, fdtrc
from scipy.stats import rankdata, studentized_range

from lrbench.stats.estimates import LEVEL

EXACT, SAMPLED, APPROXIMATE = "exact", "sampled", "approximate"
"""How a p-value is found: over all orders of the ranks, over a sample of them, or from the F distribution."""
MOST_ORDERS = 100_000
"""With at most so many orders of the ranks, all are enumerated."""
MOST_SAMPLED = 200
"""With more orders, and at most so many ranks (workloads x strategies), orders are drawn at random."""
ORDERS_DRAWN = 20_000


class Friedman(NamedTuple):
    """Mean ranks (1 is best) of C strategies, and the test that all are alike.

    ``chi2`` is Friedman's statistic, and ``chi2_p`` its p-value by the chi-square distribution, as other programs give
    it. ``f`` is the statistic of Iman and Davenport, which puts tables in the same order. ``p`` is the p-value to go
    by, ``method`` says how it was found (empty where there is none), and ``least`` is the smallest p-value that a table
    of this size could have (without ties).
    """

    ranks_C: NDArray[np.float64]
    chi2: float
    chi2_p: float
    f: float
    p: float
    method: str
    least: float


def friedman(score_WC: ArrayLike, *, ties: bool = True) -> Friedman:
    """The Friedman test of C strategies on W workloads: do their ranks differ by more than chance?

    Shapes: [W, C], higher is better, none missing. Equal scores share their mean rank.
    Args: ties: whether to correct chi2 for ties.
    Returns: tests are NaN with fewer than two workloads or strategies, and where all ranks are tied; with the same
    order everywhere, f is infinite. ``p`` is the share of all orders of the ranks within each workload (with their
    ties; the first workload may stay as it is) whose chi2 is at least as great. It is exact with at most
    ``MOST_ORDERS``; else, up to ``MOST_SAMPLED`` ranks, over ``ORDERS_DRAWN`` random orders and the observed one; else
    from the F distribution. It is never below ``least``, 1 / (C!)^(W-1).
    Source: Demsar 2006, Journal of Machine Learning Research 7, section 3.2.2; ties as
    ``scipy.stats.friedmanchisquare`` corrects them.
    """
    score = np.asarray(score_WC, np.float64)
    workloads, strategies = score.shape
    rank_WC = rankdata(-score, axis=1) if score.size else np.empty(score.shape)
    mean_C = rank_WC.mean(axis=0) if workloads else np.full(strategies, np.nan)
    spread = _tie_correction(rank_WC) if ties and score.size else 1.0
    if workloads < 2 or strategies < 2 or spread <= 0.0:
        return Friedman(mean_C, math.nan, math.nan, math.nan, math.nan, "", math.nan)
    degrees = strategies - 1
    chi2 = (
        float(12 * workloads / (strategies * (strategies + 1)) * ((mean_C - (strategies + 1) / 2) ** 2).sum()) / spread
    )
    room = workloads * degrees - chi2
    f = (workloads - 1) * chi2 / room if room > 1e-9 else math.inf
    f_p = float(fdtrc(degrees, degrees * (workloads - 1), f)) if math.isfinite(f) else 0.0
    orders = (workloads - 1) * math.lgamma(strategies + 1)
    least = math.exp(-orders)
    p, method = _p_of_orders(rank_WC, orders) or (f_p, APPROXIMATE)
    return Friedman(mean_C, chi2, float(chdtrc(degrees, chi2)), f, max(p, least), method, least)


def _p_of_orders(rank_WC: NDArray[np.float64], log_orders: float) -> tuple[float, str] | None:
    """The p-value over all orders of the ranks or a sample of them, and which; None where there are too many ranks.

    The exact one equals that of ``scipy.stats.permutation_test`` with pairings, which takes some 300 times as long.
    """
    twice_WC = np.rint(2.0 * np.sort(rank_WC, axis=1)).astype(np.int64)
    twice_WC = twice_WC[np.lexsort(twice_WC.T)]
    observed = int((np.rint(2.0 * rank_WC).astype(np.int64).sum(axis=0) ** 2).sum())
    if log_orders <= math.log(MOST_ORDERS) + 1e-9:
        return float((_every_order(twice_WC) >= observed).mean()), EXACT
    if rank_WC.size > MOST_SAMPLED:
        return None
    rng = np.random.default_rng(0)
    sums = np.zeros((ORDERS_DRAWN, rank_WC.shape[1]), np.int64)
    for row in twice_WC:
        sums += rng.permuted(np.tile(row, (ORDERS_DRAWN, 1)), axis=1)
    return (1.0 + float(((sums**2).sum(axis=1) >= observed).sum())) / (1.0 + ORDERS_DRAWN), SAMPLED


def _every_order(value_WC: NDArray[np.int64]) -> NDArray[np.int64]:
    """The sum of the squared column sums for every way to order the rows after the first: [(C!)^(W-1)]."""
    places = np.array(list(permutations(range(value_WC.shape[1]))))
    sums = value_WC[:1]
    for row in value_WC[1:]:
        sums = (sums[:, None] + row[places][None]).reshape(-1, len(row))
    squares: NDArray[np.int64] = (sums**2).sum(axis=1)
    return squares


def _tie_correction(rank_WC: NDArray[np.float64]) -> float:
    """1 without ties, 0 where every workload ties all."""
    workloads, strategies = rank_WC.shape
    counts = [np.unique(row, return_counts=True)[1] for row in rank_WC]
    tied = sum(int((n**3 - n).sum()) for n in counts)
    return 1.0 - tied / max(1.0, float(strategies * (strategies**2 - 1) * workloads))


def critical_difference(strategies: int, workloads: int, level: float = LEVEL) -> float:
    """The least difference of two mean ranks that Nemenyi's test finds, over all pairs; NaN with one strategy or none.

    Source: Demsar 2006, Journal of Machine Learning Research 7, section 3.2.2: q sqrt(k (k + 1) / 6 N), with q from the
    studentized range by sqrt(2).
    """
    if strategies < 2 or workloads < 1:
        return math.nan
    q = float(studentized_range.ppf(level, strategies, np.inf)) / math.sqrt(2.0)
    return float(q * math.sqrt(strategies * (strategies + 1) / (6.0 * workloads)))


def apart(ranks_C: ArrayLike, difference: float) -> NDArray[np.bool_]:
    """Which pairs of mean ranks differ by a critical difference or more: [C, C]; none where that is not known."""
    ranks = np.asarray(ranks_C, np.float64)
    return np.abs(ranks[:, None] - ranks[None]) >= difference - 1e-9
