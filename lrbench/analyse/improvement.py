"""How likely one strategy beats another: a statement about single runs, not about means."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lrbench.analyse.intervals import LEVEL, UNKNOWN, Interval

Floats = NDArray[np.float64]
Pairs = Sequence[tuple[ArrayLike, ArrayLike]]
"""For each workload the scores of the one strategy and those of the other, over seeds; higher is better."""


def probability_of_improvement(pairs: Pairs) -> float:
    """P(X > Y) + P(X = Y) / 2 for a run X of the one and a run Y of the other, the mean over workloads; NaN without any.

    Shapes: any number of seeds in each; values that are not finite are left out, and a workload where an arm has none says nothing.
    Source: Agarwal et al. 2021, arXiv:2108.13264, section 4.3; on each workload Mann and Whitney's U / (n m).
    """
    wins = _wins(pairs)
    return float(np.mean([win.mean() for win in wins])) if wins else float("nan")


def improvement_interval(pairs: Pairs, rng: np.random.Generator, *, resamples: int = 2000) -> Interval:
    """Percentile bootstrap 95 % interval of ``probability_of_improvement``.

    Both arms are resampled on their own, within each workload (stratified). NaN bounds where no workload has two values in both arms.
    """
    wins = _wins(pairs)
    if not any(min(win.shape) > 1 for win in wins):
        return UNKNOWN
    drawn_WB = np.stack([_resampled(win, rng, resamples) for win in wins])
    low, high = np.quantile(drawn_WB.mean(axis=0), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))


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
