"""Measures of one run's curves: how fast and how steadily it learns, and the summary that the store keeps.

A study of ten thousand runs has millions of training losses. Reports read a few measures of them, and a later training
of the same run is compared with them. So the measures are computed once, from every step, and three things are stored:
the measures, a digest that says whether two trainings are *equal to the bit*, and a thinned curve that says whether
they are close, or from which steps on they are not.

Shapes: T training steps, E evaluations, K kept steps, S seeds.
"""

import hashlib
import math
from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import median_filter

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]

FLOAT32_ROUNDING = 1e-6
"""Losses that differ by less than this share of their size differ by rounding: about sixteen steps of float32."""
MAD_TO_DEVIATION = 1.4826
"""Standard deviation / median absolute deviation, for a normal distribution."""
SPIKE_WINDOW = 25
"""A loss is compared with the median of this many steps before it."""
SPIKE_DEVIATIONS = 5.0
"""A loss that lies more robust deviations than this above that median is a spike."""
LEAST_DEVIATION = 0.01
"""The least robust deviation on a flat stretch, as a share of the height of the loss: less is rounding."""
KEPT_PER_OCTAVE = 2
"""Kept steps per doubling of the step. Rounding differences grow with time, so early steps are kept more densely."""
DIGEST_DIGITS = 16
"""Hexadecimal digits of a digest, as many as a run key has."""
LATE_PART = 10
"""The late loss is the mean over the last tenth of the steps."""


# ---- evaluations


def steps_to_target(metric_E: Floats, step_E: Ints, target: float, *, higher_is_better: bool) -> int | None:
    """First evaluation step at which the metric is at least as good as the target.

    Shapes: E evaluations, in order. An evaluation that is not a number meets no target.
    Returns: a step number (0 = before any update), or None if never: right-censored at the budget, never imputed.
    Source: time-to-result, Dahl et al. 2023, arXiv:2306.07179, section 4.
    """
    metric, goal = (metric_E, target) if higher_is_better else (-metric_E, -target)
    met = np.flatnonzero(metric >= goal)
    return int(step_E[met[0]]) if met.size else None


def seconds_to_target(steps: int | None, total_steps: int, train_seconds: float) -> float | None:
    """Training seconds until the target, without evaluations: the share of the run's steps x its training time.

    Returns: seconds, or None if the target was never met or no step was finished.
    """
    return None if steps is None or total_steps <= 0 else steps / total_steps * train_seconds


def value_at(curve_E: Floats, step_E: Ints, step: float) -> float:
    """A curve's value at a step, linear between evaluations.

    Returns: a value, or NaN outside the evaluated steps: a run that diverged before ``step`` has no value there.
    """
    return float(np.interp(step, step_E, curve_E, left=np.nan, right=np.nan)) if len(step_E) else math.nan


def final(curve_E: Floats) -> float:
    """The last value of a curve; NaN if it has none."""
    return float(curve_E[-1]) if len(curve_E) else math.nan


def initial(curve_E: Floats) -> float:
    """The value before any update; NaN if the run has no evaluation."""
    return float(curve_E[0]) if len(curve_E) else math.nan


def overfitting_gap(val_loss: float, train_loss: float) -> float:
    """Final validation loss - final training loss, both evaluated alike; NaN if either is missing."""
    return val_loss - train_loss


# ---- stability


def divergence_rate(statuses: Sequence[str]) -> float:
    """The share of runs that diverged, among those that trained (not crashed, not skipped); NaN without any."""
    trained = [status for status in statuses if status not in ("crashed", "skipped")]
    return sum(status == "diverged" for status in trained) / len(trained) if trained else math.nan


def loss_spikes(step_loss_T: Floats, lowest: float = 0.0) -> int:
    """Number of steps whose loss is more than five robust deviations above the median of the 25 steps before.

    A robust deviation is 1.4826 x the window's median absolute deviation. It is at least 1 % of the height of the
    window's median, so that rounding on a flat stretch is no spike. The height is counted from ``lowest``, or from the
    lowest median of the run where ``lowest`` is unknown. The first 25 steps have no full window and are not judged.
    Losses that are not finite are left out, since the status of the run tells of them.

    Args: step_loss_T: the finished steps; lowest: what no loss can be below, minus infinity where that is unknown.
    Returns: a count, invariant under scaling of the loss, and under adding a constant to it and to ``lowest``.
    """
    loss_T = _finite(step_loss_T)
    if len(loss_T) <= SPIKE_WINDOW:
        return 0
    median = median_filter(loss_T, SPIKE_WINDOW)[SPIKE_WINDOW // 2 : -(SPIKE_WINDOW // 2) - 1]
    above = loss_T[SPIKE_WINDOW:] - median
    height = np.abs(median - (lowest if np.isfinite(lowest) else median.min()))
    least = SPIKE_DEVIATIONS * np.maximum(LEAST_DEVIATION * height, FLOAT32_ROUNDING * np.abs(median))
    far = above > least  # the deviation takes most of the time, and only these steps need it
    if not far.any():
        return 0
    before = sliding_window_view(loss_T[:-1], SPIKE_WINDOW)[far]
    deviation = MAD_TO_DEVIATION * np.median(np.abs(before - median[far, None]), axis=1)
    return int(np.count_nonzero(above[far] > SPIKE_DEVIATIONS * deviation))


def oscillation(step_loss_T: Floats, *, window: int = 10) -> float:
    """Upward variation of the smoothed loss / its net descent: 0 = only falls, 1 = climbs as much as it gains in all.

    Args: step_loss_T: the finished steps, smoothed with a mean over the last ``window`` of them. Losses that are not
    finite are left out.
    Returns: infinity where the loss climbs and nets no descent; 0 where it never climbs; NaN with fewer than ``window``
    + 1 steps.
    """
    loss_T = _finite(step_loss_T)
    if len(loss_T) <= window:
        return math.nan
    padded = np.concatenate([np.full(window - 1, loss_T[0]), loss_T])  # so that the first mean is the first loss
    change = (padded[window:] - padded[:-window]) / window  # of the mean, from one step to the next
    up = float(np.maximum(change, 0.0).sum())
    descent = float(loss_T[0] - loss_T[-window:].mean())
    if up == 0.0:
        return 0.0
    return up / descent if descent > 0.0 else math.inf


def seed_spread(value_S: Floats) -> float:
    """Sample standard deviation over S seeds; values that are not finite are left out, NaN with fewer than two."""
    values = np.sort(_finite(value_S))  # so that their order changes no digit
    return float(values.std(ddof=1)) if len(values) > 1 else math.nan


def _finite(values: Floats) -> NDArray[np.float64]:
    numbers = np.asarray(values, np.float64)
    return numbers[np.isfinite(numbers)]


# ---- what the store keeps of training losses


class Losses(TypedDict):
    """The summary of the training losses of T steps.

    Shapes: ``loss_step`` and ``loss_at_step`` [K]: the kept steps (1 = the first update) and their losses in float32.
    ``loss_digest`` covers all T losses. ``highest_loss`` is the largest one (infinity counts), ``late_loss`` the mean
    over the last tenth; both are NaN where no loss is a number.
    """

    steps: int
    loss_step: NDArray[np.int32]
    loss_at_step: NDArray[np.float32]
    loss_digest: str
    highest_loss: float
    late_loss: float
    spikes: int
    oscillation: float


def summary(step_loss_T: ArrayLike, lowest: float = 0.0) -> Losses:
    """What is stored of the losses of T steps; ``lowest`` is what no loss can be below, minus infinity if unknown."""
    loss_T = np.asarray(step_loss_T, np.float32)
    step_K = kept_steps(len(loss_T))
    numbers = loss_T[~np.isnan(loss_T)]
    return Losses(
        steps=len(loss_T),
        loss_step=step_K,
        loss_at_step=loss_T[step_K - 1],
        loss_digest=digest(loss_T),
        highest_loss=float(numbers.max()) if len(numbers) else math.nan,
        late_loss=late(loss_T),
        spikes=loss_spikes(loss_T, lowest),
        oscillation=oscillation(loss_T),
    )


def kept_steps(steps: int) -> NDArray[np.int32]:
    """The steps whose losses are kept: 1, every half octave, and the last two.

    >>> kept_steps(40).tolist()
    [1, 2, 3, 4, 6, 8, 11, 16, 23, 32, 39, 40]
    """
    octaves = np.arange(KEPT_PER_OCTAVE * max(steps, 1).bit_length()) / KEPT_PER_OCTAVE
    kept = np.union1d(np.round(2.0**octaves), [steps - 1, steps]).astype(np.int32)
    return kept[(kept >= 1) & (kept <= steps)]


def digest(step_loss_T: ArrayLike) -> str:
    """SHA-256 of the losses as little-endian float32, every NaN the same one; its first sixteen hexadecimal digits."""
    loss_T = np.array(step_loss_T, "<f4")
    loss_T[np.isnan(loss_T)] = np.nan
    return hashlib.sha256(loss_T.tobytes()).hexdigest()[:DIGEST_DIGITS]


def late(step_loss_T: ArrayLike) -> float:
    """The mean loss over the last tenth of the steps, one step at least; NaN without any."""
    loss_T = np.asarray(step_loss_T, np.float64)
    with np.errstate(invalid="ignore"):  # infinity - infinity is no number, and neither is the mean then
        return float(loss_T[-max(1, len(loss_T) // LATE_PART) :].mean()) if len(loss_T) else math.nan
