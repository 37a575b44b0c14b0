"""Performance profiles and the score made of them.

Shapes: W workloads, S strategies, K studies, T values of tau; ``base_W`` holds for each workload the index of its base
workload, its own where it is no variant. A time is infinite where the target is never reached, NaN where nothing was
measured. Leading axes are allowed. Source of the rule: Dahl et al. 2023, arXiv:2306.07179, section 4, and the scoring
section of the AlgoPerf documentation; of performance profiles: Dolan and More 2002, Mathematical Programming 91,
201-213.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.integer[Any]]

POINTS = 100
"""How many values of tau the score is integrated over."""
RESAMPLES = 1000
DRAWN_AT_ONCE = 2_000_000
"""The most numbers drawn at once."""


def taus(tau_max: float) -> Floats:
    """The values of tau, equidistant from 1 to ``tau_max``."""
    return np.linspace(1.0, tau_max, POINTS)


def median_over_studies(times: Floats) -> Floats:
    """Medians ``[..., W, S]`` over the studies that exist, from ``[..., W, S, K]``.

    NaN where there is none; infinite where the median falls among those that never reach.
    """
    ordered = np.sort(times, axis=-1)  # NaN last
    count = np.count_nonzero(~np.isnan(ordered), axis=-1)[..., None]
    lower = np.take_along_axis(ordered, np.maximum(count - 1, 0) // 2, axis=-1)
    upper = np.take_along_axis(ordered, np.minimum(count // 2, ordered.shape[-1] - 1), axis=-1)
    middle: Floats = (0.5 * lower + 0.5 * upper)[..., 0]
    return middle


def paced(time_WS: Floats, base_W: Ints, tau_max: float) -> Floats:
    """Times with infinity where a strategy is out by itself, ``[..., W, S]``.

    That is, in this order: what was never measured or reached; a variant whose base was not, so that it sets no pace;
    what takes more than ``tau_max`` times the fastest.
    """
    times = np.where(np.isnan(time_WS), np.inf, time_WS)
    times = np.where(np.isinf(times[..., base_W, :]), np.inf, times)
    return np.where(times > tau_max * times.min(axis=-1, keepdims=True), np.inf, times)


def qualified(time_WS: Floats, base_W: Ints, tau_max: float) -> Floats:
    """Times with infinity where a strategy counts as failed, ``[..., W, S]``.

    That is where it is out by itself (``paced``), or its variant on a base workload is, or its base on a variant.
    """
    times = paced(time_WS, base_W, tau_max)
    lost = np.isinf(times)
    for variant, base in enumerate(base_W):
        lost[..., base, :] |= np.isinf(times[..., variant, :])
    return np.where(lost[..., base_W, :], np.inf, times)


def ratios(time_BS: Floats) -> Floats:
    """Times over the fastest of their workload, ``[..., B, S]``: 1 for the fastest, infinite where never reached."""
    fastest = time_BS.min(axis=-1, keepdims=True)
    divided = np.divide(
        time_BS, fastest, out=np.full(time_BS.shape, np.inf), where=np.isfinite(time_BS) & (fastest > 0.0)
    )
    return np.where((time_BS == fastest) & np.isfinite(time_BS), 1.0, divided)


def profile(ratio_BS: Floats, tau_T: Floats) -> Floats:
    """The performance profile ``[S, T]``: the share of the B workloads where it is within a factor tau of the fastest."""
    share: Floats = np.mean(ratio_BS[:, :, None] <= tau_T, axis=0)
    return share


def area(ratio_BS: Floats, tau_max: float) -> Floats:
    """The area under the performance profile between tau = 1 and ``tau_max``, over ``tau_max - 1``: in [0, 1], ``[..., S]``.

    By the trapezoid rule on ``taus``. It is the mean over workloads of what each adds: with k the index of the first
    tau that is not below the ratio, the T - 1 - k intervals after it whole, and half of the one before it.
    """
    first = np.searchsorted(taus(tau_max), ratio_BS)
    whole = np.where(first < POINTS, POINTS - 1 - first + 0.5 * (first > 0), 0.0)
    mean: Floats = whole.mean(axis=-2) / (POINTS - 1)
    return mean


def scored(time_WS: Floats, base_W: Ints, tau_max: float) -> Floats:
    """The score of each strategy, ``[..., S]``: its area over the base workloads."""
    return area(ratios(bases(qualified(time_WS, base_W, tau_max), base_W)), tau_max)


def bases(time_WS: Floats, base_W: Ints) -> Floats:
    """The rows of the base workloads, ``[..., B, S]``."""
    own: Floats = time_WS[..., base_W == np.arange(len(base_W)), :]
    return own


class Bounds(NamedTuple):
    """The bounds of a range for each strategy, ``[S]``."""

    low_S: Floats
    high_S: Floats


def score_bounds(
    times: Floats, base_W: Ints, tau_max: float, rng: np.random.Generator, *, resamples: int = RESAMPLES
) -> Bounds:
    """The bootstrap ranges of the scores: the middle 95 % of them where the studies of each workload and strategy are drawn anew.

    Shapes: ``times`` is ``[W, S, K]``.

    They are no confidence intervals: they hold the true score in far fewer than 95 % of cases, the more so the fewer
    the studies and the more the strategies (``benchmarks/score_coverage.py``). A median of few studies drawn with
    replacement varies too little. Among many noisy strategies, the fastest drawn is faster than the fastest measured,
    which is faster than the fastest in truth; so a range can lie below the score.
    Returns: NaN bounds for a strategy unless there are two studies or more on every workload where it was measured,
    since a single one drawn anew is always itself.
    Source: Efron 1979, Annals of Statistics 7, 1-26.
    """
    ordered = np.sort(times, axis=-1)  # so that the names and the order of studies change nothing
    count_WS = np.count_nonzero(~np.isnan(ordered), axis=-1)
    per_chunk = max(1, DRAWN_AT_ONCE // max(1, ordered.size))
    chunks = [min(per_chunk, resamples - done) for done in range(0, resamples, per_chunk)]
    score_RS = np.concatenate(
        [scored(median_over_studies(_drawn(ordered, count_WS, n, rng)), base_W, tau_max) for n in chunks]
    )
    low_S, high_S = np.quantile(score_RS, [0.025, 0.975], axis=0)
    known = (count_WS > 1).any(axis=0) & (count_WS != 1).all(axis=0)
    return Bounds(np.where(known, low_S, np.nan), np.where(known, high_S, np.nan))


def _drawn(ordered: Floats, count_WS: Ints, n: int, rng: np.random.Generator) -> Floats:
    """As many studies as there are, drawn from them, n times: ``[n, W, S, K]``, NaN beyond the last."""
    place = np.arange(ordered.shape[-1]) < count_WS[..., None]
    index = (rng.random((n, *ordered.shape)) * count_WS[..., None]).astype(np.int64)
    return np.where(place, np.take_along_axis(ordered[None], index, axis=-1), np.nan)


class Speedup(NamedTuple):
    """How many times as fast a strategy is as another: the geometric mean over the workloads that both reach, and counts."""

    ratio: float
    both: int
    only_this: int
    only_other: int


def speedup(time_B: Floats, other_B: Floats) -> Speedup:
    """The speed-up over another strategy, from the times to target on B workloads; the ratio is NaN where no workload has both."""
    here, there = np.isfinite(time_B), np.isfinite(other_B)
    both = here & there & (time_B > 0.0) & (other_B > 0.0)
    logs = np.sort(np.log(other_B[both] / time_B[both]))
    ratio = float(np.exp(logs.mean())) if len(logs) else float("nan")
    return Speedup(ratio, int((here & there).sum()), int((here & ~there).sum()), int((there & ~here).sum()))
