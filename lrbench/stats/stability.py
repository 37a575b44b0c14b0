"""How steadily a run learns."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.ndimage import median_filter

Floats = NDArray[np.floating[Any]]

NORMAL = 1.4826
"""Median absolute deviation to standard deviation, for a normal distribution."""
WINDOW = 25
"""The steps that a loss is compared with."""
DEVIATIONS = 5.0
"""A loss above the median of the steps before by more robust deviations than this is a spike."""
FLAT = 0.01
"""On a flat stretch, the share of the height of the loss below which a deviation counts as rounding."""
ROUNDING = 1e-6
"""Some roundings of float32: the share of the size of the loss below which nothing is seen in it."""


def divergence_rate(statuses: Sequence[str]) -> float:
    """Share of the runs that diverged, among those that trained at all (crashed and skipped ones did not); NaN without any."""
    trained = [s for s in statuses if s not in ("crashed", "skipped")]
    return sum(s == "diverged" for s in trained) / len(trained) if trained else float("nan")


def loss_spikes(step_loss_T: Floats, lowest: float = 0.0) -> int:
    """Number of steps whose loss is more than five robust deviations above the median of the 25 steps before.

    Shapes: T finished steps; ``lowest`` is what no loss can be below, minus infinity where nothing is known. A robust
    deviation is 1.4826 x the window's median absolute deviation, and at least 1 % of the height of its median, so that
    rounding on a flat stretch is no spike: the height above the lowest loss, or where that is unknown above the lowest
    median of the run. The first 25 steps have no full window and are not judged; losses that are not finite are left
    out (the run's status tells of them). Invariant under scaling of the loss, and under adding a constant to it and to
    ``lowest``.
    """
    loss_T = _finite(step_loss_T)
    if len(loss_T) <= WINDOW:
        return 0
    median = median_filter(loss_T, WINDOW)[WINDOW // 2 : -(WINDOW // 2) - 1]
    above = loss_T[WINDOW:] - median
    height = np.abs(median - (lowest if np.isfinite(lowest) else median.min()))
    least = DEVIATIONS * np.maximum(FLAT * height, ROUNDING * np.abs(median))
    far = above > least  # of the others the spread need not be known, which takes the most time
    if not far.any():
        return 0
    before = sliding_window_view(loss_T[:-1], WINDOW)[far]
    spread = NORMAL * np.median(np.abs(before - median[far, None]), axis=1)
    return int(np.count_nonzero(above[far] > DEVIATIONS * spread))


def oscillation(step_loss_T: Floats, *, window: int = 10) -> float:
    """Upward variation of the smoothed loss / its net descent: 0 = only falls, 1 = climbs as much as it gains in all.

    Shapes: T finished steps; smoothed with a mean over the last ``window`` of them. Losses that are not finite are left
    out.
    Returns: infinity when the loss climbs and nets no descent, 0 when it never climbs, NaN with fewer than ``window`` +
    1 steps.
    """
    loss_T = _finite(step_loss_T)
    if len(loss_T) <= window:
        return float("nan")
    started = np.concatenate([np.full(window - 1, loss_T[0]), loss_T])  # so that the first mean is the first loss
    change = (started[window:] - started[:-window]) / window  # of the mean, from one step to the next
    up = float(np.maximum(change, 0.0).sum())
    descent = float(loss_T[0] - loss_T[-window:].mean())
    if up == 0.0:
        return 0.0
    return up / descent if descent > 0.0 else float("inf")


def seed_spread(value_S: Floats) -> float:
    """Sample standard deviation over S seeds; values that are not finite are left out, NaN with fewer than two."""
    finite = np.sort(_finite(value_S))  # so that their order changes no digit
    return float(finite.std(ddof=1)) if len(finite) > 1 else float("nan")


def _finite(values: Floats) -> NDArray[np.float64]:
    plain = np.asarray(values, np.float64)
    return plain[np.isfinite(plain)]
