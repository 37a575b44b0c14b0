"""How fast a run learns."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]


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
    """Training seconds until the target, evaluations not counted: the share of the run's steps times its training time.

    Returns: seconds, or None if the target was never met or no step was finished.
    """
    return None if steps is None or total_steps <= 0 else steps / total_steps * train_seconds


def value_at(curve_E: Floats, step_E: Ints, step: float) -> float:
    """A curve's value at a step, linear between evaluations.

    Returns: a value, or NaN outside the evaluated steps: a run that diverged before ``step`` has no value there.
    """
    return float(np.interp(step, step_E, curve_E, left=np.nan, right=np.nan)) if len(step_E) else float("nan")


def final(curve_E: Floats) -> float:
    """The last value of a curve; NaN if it has none."""
    return float(curve_E[-1]) if len(curve_E) else float("nan")


def initial(curve_E: Floats) -> float:
    """The value before any update; NaN if the run has no evaluation."""
    return float(curve_E[0]) if len(curve_E) else float("nan")
