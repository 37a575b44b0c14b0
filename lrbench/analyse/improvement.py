"""How likely one strategy beats another: a statement about single runs, not about means."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from lrbench.analyse.intervals import LEVEL, UNKNOWN, Interval

Floats = NDArray[np.float64]
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
