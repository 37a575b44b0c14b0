"""Steps to target where some runs never got there: Kaplan and Meier's estimate."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from lrbench.stats.estimates import LEVEL, UNKNOWN, Interval

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Survival:
    """The share of runs that are not there yet: ``share_T`` from each of the steps ``step_T`` on (the first is 0), with a 95 % interval."""

    step_T: Floats
    share_T: Floats
    low_T: Floats
    high_T: Floats
    n: int
    reached: int

    @property
    def median(self) -> float:
        """The first step by which more than half of the runs are there; infinite if there is none.

        Where exactly half are there for a while, the middle of that while: without censored runs it is the median that
        one knows.
        """
        fallen = self.step_T[np.diff(self.share_T, prepend=np.inf) < 0.0]
        first = _first_half(self.step_T, self.share_T)
        if not np.isclose(self.share_T[self.step_T == first], 0.5, atol=1e-9, rtol=0.0).any():
            return first
        return (first + min(fallen[fallen > first], default=math.inf)) / 2

    @property
    def median_interval(self) -> Interval:
        """95 % interval of the median: where the bounds of the curve pass one half; its end is infinite where the upper one never does.

        NaN with fewer than two runs. Source: Brookmeyer and Crowley 1982, Biometrics 38, 29-41.
        """
        if self.n < 2:
            return UNKNOWN
        return Interval(_first_half(self.step_T, self.low_T), _first_half(self.step_T, self.high_T))


def _first_half(step_T: Floats, share_T: Floats) -> float:
    below = np.flatnonzero(share_T <= 0.5 + 1e-12)
    return float(step_T[below[0]]) if len(below) else math.inf


def kaplan_meier(step_S: ArrayLike, censored_S: ArrayLike) -> Survival:
    """The Kaplan-Meier estimate of the steps to target of S runs.

    Args: step_S: where a run reached the target, NaN (or infinite) if it did not; censored_S: up to where it was
    watched: its budget. A
        diverged run can never reach the target, so it is watched to its budget, not only to its divergence: otherwise
        runs would improve the curve by exploding.
    Returns: steps at which the curve falls or a run was last watched; the interval is that of the log(-log) scale,
    which stays within 0 and 1, from Greenwood's variance. Where the curve is 1 or 0 there is no variance and the
    interval has no width: once all runs are there it closes, which with fewer than five is too soon.
    Source: Kaplan and Meier 1958, Journal of the American Statistical Association 53, 457-481; interval: Kalbfleisch
    and Prentice 1980, The Statistical Analysis of Failure Time Data, chapter 1. Equals ``scipy.stats.ecdf``.
    """
    step = np.asarray(step_S, np.float64)
    there = np.isfinite(step)
    last_S = np.where(there, step, np.asarray(censored_S, np.float64))
    step_T = np.unique(last_S)
    at_risk_T = (last_S[None] >= step_T[:, None]).sum(axis=1)
    event_T = (there[None] & (last_S[None] == step_T[:, None])).sum(axis=1)
    share_T = np.cumprod(1.0 - event_T / at_risk_T)
    low_T, high_T = _log_log(share_T, np.cumsum(event_T / np.maximum(at_risk_T * (at_risk_T - event_T), 1)))
    step_T, share_T, low_T, high_T = (
        np.concatenate([[v], part]) for v, part in ((0.0, step_T), (1.0, share_T), (1.0, low_T), (1.0, high_T))
    )
    return Survival(step_T, share_T, low_T, high_T, n=len(step), reached=int(there.sum()))


def _log_log(share_T: Floats, greenwood_T: Floats) -> tuple[Floats, Floats]:
    """95 % bounds of a survival curve, symmetric on the scale of log(-log(share))."""
    inside = (share_T > 0.0) & (share_T < 1.0)
    log_T = np.log(np.where(inside, share_T, 0.5))
    width_T = ndtri((1 + LEVEL) / 2) * np.sqrt(greenwood_T) / -log_T
    low_T, high_T = (np.where(inside, np.exp(log_T * np.exp(sign * width_T)), share_T) for sign in (1.0, -1.0))
    return low_T, high_T
