"""Several strategies on several workloads, by their ranks alone."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtrc, fdtrc
from scipy.stats import rankdata, studentized_range

from lrbench.analyse.intervals import LEVEL


class Friedman(NamedTuple):
    """Mean ranks (1 is best) of C strategies, and the tests that all are alike: Friedman's, and Iman and Davenport's sharper one."""

    ranks_C: NDArray[np.float64]
    chi2: float
    chi2_p: float
    f: float
    f_p: float


def friedman(score_WC: ArrayLike, *, ties: bool = True) -> Friedman:
    """The Friedman test of C strategies on W workloads: do their ranks differ by more than chance?

    Shapes: [W, C], higher is better, none missing. Equal scores share their mean rank. Args: ties: whether to correct chi2 for them.
    Tests are NaN with fewer than two workloads or strategies, and where all ranks are tied; with the same order everywhere, f is infinite.
    Source: Demsar 2006, Journal of Machine Learning Research 7, section 3.2.2; ties as ``scipy.stats.friedmanchisquare`` corrects them.
    """
    score = np.asarray(score_WC, np.float64)
    workloads, strategies = score.shape
    rank_WC = rankdata(-score, axis=1) if score.size else np.empty(score.shape)
    mean_C = rank_WC.mean(axis=0) if workloads else np.full(strategies, np.nan)
    spread = _tie_correction(rank_WC) if ties and score.size else 1.0
    if workloads < 2 or strategies < 2 or spread <= 0.0:
        return Friedman(mean_C, *[math.nan] * 4)
    degrees = strategies - 1
    chi2 = float(12 * workloads / (strategies * (strategies + 1)) * ((mean_C - (strategies + 1) / 2) ** 2).sum()) / spread
    room = workloads * degrees - chi2
    f = (workloads - 1) * chi2 / room if room > 1e-9 else math.inf
    f_p = float(fdtrc(degrees, degrees * (workloads - 1), f)) if math.isfinite(f) else 0.0
    return Friedman(mean_C, chi2, float(chdtrc(degrees, chi2)), f, f_p)


def _tie_correction(rank_WC: NDArray[np.float64]) -> float:
    """1 without ties, 0 where every workload ties all."""
    workloads, strategies = rank_WC.shape
    counts = [np.unique(row, return_counts=True)[1] for row in rank_WC]
    tied = sum(int((n**3 - n).sum()) for n in counts)
    return 1.0 - tied / max(1.0, float(strategies * (strategies**2 - 1) * workloads))


def critical_difference(strategies: int, workloads: int, level: float = LEVEL) -> float:
    """The least difference of two mean ranks that Nemenyi's test calls one, over all pairs of so many strategies; NaN with fewer than two.

    Source: Demsar 2006, Journal of Machine Learning Research 7, section 3.2.2: q sqrt(k (k + 1) / 6 N), with q from the studentized
    range by sqrt(2).
    """
    if strategies < 2 or workloads < 1:
        return math.nan
    q = float(studentized_range.ppf(level, strategies, np.inf)) / math.sqrt(2.0)
    return float(q * math.sqrt(strategies * (strategies + 1) / (6.0 * workloads)))


def apart(ranks_C: ArrayLike, difference: float) -> NDArray[np.bool_]:
    """Which pairs of mean ranks differ by a critical difference or more: [C, C]; none where that is not known."""
    ranks = np.asarray(ranks_C, np.float64)
    return np.abs(ranks[:, None] - ranks[None]) >= difference - 1e-9
