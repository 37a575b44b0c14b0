"""Steps to target where some runs never get there: the Kaplan-Meier estimate."""

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import CensoredData, ecdf

from lrbench.stats.estimates import LEVEL, UNKNOWN, Interval

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Survival:
    """The share of runs that are not there yet, with a 95 % interval.

    ``share_T`` holds from each of the steps ``step_T`` on, the first of which is 0. ``n`` counts runs, ``reached``
    those that reached the target.
    """

    step_T: Floats
    share_T: Floats
    low_T: Floats
    high_T: Floats
    n: int
    reached: int

    @property
    def median(self) -> float:
        """The first step by which more than half of the runs are there; infinite if there is none.

        Where exactly half are there for a while, it is the middle of that while, as in a median of uncensored numbers.
        """
        falls = self.step_T[np.diff(self.share_T, prepend=np.inf) < 0.0]
        first = _first_half(self.step_T, self.share_T)
        if not np.isclose(self.share_T[self.step_T == first], 0.5, atol=1e-9, rtol=0.0).any():
            return first
        return (first + min(falls[falls > first], default=math.inf)) / 2

    @property
    def median_interval(self) -> Interval:
        """95 % interval of the median: where the bounds of the curve pass one half; NaN with fewer than two runs.

        The upper end is infinite where the upper bound never passes one half.
        Source: Brookmeyer and Crowley 1982, Biometrics 38, 29-41.
        """
        if self.n < 2:
            return UNKNOWN
        return Interval(_first_half(self.step_T, self.low_T), _first_half(self.step_T, self.high_T))


def _first_half(step_T: Floats, share_T: Floats) -> float:
    below = np.flatnonzero(share_T <= 0.5 + 1e-12)
    return float(step_T[below[0]]) if len(below) else math.inf


def kaplan_meier(step_S: ArrayLike, censored_S: ArrayLike) -> Survival:
    """The Kaplan-Meier estimate of the steps to target of S runs, by ``scipy.stats.ecdf``.

    Args:
        step_S: where a run reached the target; NaN or infinite if it did not.
        censored_S: up to where a run was watched: its budget. A diverged run can never reach the target, so it is
            watched to its budget, not only to its divergence: otherwise runs would improve the curve by exploding.
    Returns: the steps at which the curve falls or a run was last watched. The interval is symmetric on the log(-log)
    scale, which stays within 0 and 1. Where the curve is 1 or 0 it has no variance, and the interval no width: once all
    runs are there it closes, which with fewer than five runs is too soon.
    Source: Kaplan and Meier 1958, Journal of the American Statistical Association 53, 457-481; interval: Kalbfleisch
    and Prentice 1980, The Statistical Analysis of Failure Time Data, chapter 1.
    """
    step = np.asarray(step_S, np.float64)
    there = np.isfinite(step)
    curve = ecdf(CensoredData(uncensored=step[there], right=np.asarray(censored_S, np.float64)[~there])).sf
    share_T = curve.probabilities
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # no interval where the curve is 1 or 0: filled in below
        bounds: Any = curve.confidence_interval(LEVEL, method="log-log")  # curves, where the stubs say numbers
    low_T, high_T = (np.where(np.isnan(b.probabilities), share_T, b.probabilities) for b in (bounds.low, bounds.high))
    step_T, share_T, low_T, high_T = (
        np.concatenate([[start], part])
        for start, part in ((0.0, curve.quantiles), (1.0, share_T), (1.0, low_T), (1.0, high_T))
    )
    return Survival(step_T, share_T, low_T, high_T, n=len(step), reached=int(there.sum()))
