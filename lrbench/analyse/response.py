"""The lr response: the outcome of one strategy on one workload as a function of the base lr.

Shapes: L lrs of the grid, ascending. ``loss_L`` is the final validation loss, where a run that diverged or ended above
its initial loss counts with the initial one: it is worth no more than the untrained model.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lrbench.analyse.frames import STRATEGY, arrays, groups
from lrbench.analyse.results import Response, table_of
from lrbench.stats.estimates import iqm

Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]
Edge = Literal["", "lowest", "highest", "only"]

TOLERANCE = 0.05
"""An lr is usable if it keeps all but this share of the best improvement."""


def best_index(score_L: Floats, loss_L: Floats, finished_L: Bools) -> int | None:
    """Index of the best lr: highest validation score; ties go to the lower validation loss, then to the smaller lr.

    Only lrs with a finished run and a score are eligible; None if there is none.
    """
    eligible = np.flatnonzero(finished_L & np.isfinite(score_L))
    loss_L = np.where(np.isnan(loss_L), np.inf, loss_L)
    return int(min(eligible, key=lambda i: (-score_L[i], loss_L[i], i))) if len(eligible) else None


def edge(best: int, grid: int) -> Edge:
    """Where in a grid of so many lrs the best one sits, if it sits at an end: a better lr may lie beyond."""
    if grid == 1:
        return "only"
    return "lowest" if best == 0 else "highest" if best == grid - 1 else ""


def usable(loss_L: Floats, initial: float, reached_L: Bools, best: int) -> tuple[int, int]:
    """First and last index of the unbroken stretch of usable lrs around the best one.

    An lr is usable if half of its runs or more reach the target, or if its improvement over the initial loss is within
    5 % of the best improvement on the grid.
    """
    improvement = initial - loss_L
    best_improvement = np.nanmax(improvement)
    fine = reached_L | ((improvement >= (1 - TOLERANCE) * best_improvement) & (best_improvement > 0.0))
    fine[best] = True
    bad = np.flatnonzero(~fine)
    return int(max(bad[bad < best], default=-1)) + 1, int(min(bad[bad > best], default=len(fine))) - 1


def decades(low: float, high: float) -> float:
    """Distance between two lrs in powers of ten; NaN if either is missing.

    >>> round(decades(1e-3, 3e-2), 3)
    1.477
    """
    return math.log10(high / low) if low > 0 and high > 0 else math.nan


def stable_count(stable_L: Sequence[bool] | Bools) -> int:
    """How many lrs, from the bottom of the grid upwards, are stable before the first that is not.

    The last of them is the largest stable lr; above it lies the cliff. An lr is stable if no run exploded at it;
    a lucky lr beyond the first unstable one does not count.
    """
    unstable = np.flatnonzero(~np.asarray(stable_L, bool))
    return int(unstable[0]) if len(unstable) else len(stable_L)


def sensitivity(loss_L: Floats) -> float:
    """Mean over the grid of the final loss - the best final loss, in units of the loss: what not tuning the lr costs.

    NaN losses are left out. It depends on the grid: compare it only between strategies run on the same one.
    Source: lr sensitivity, Wortsman et al. 2023, arXiv:2309.14322, section 2.2.
    """
    known = loss_L[np.isfinite(loss_L)]
    return float(np.mean(known - known.min())) if len(known) else math.nan


def over_grid(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of each strategy on each workload, one row per lr (ascending), aggregated over seeds.

    ``score`` and ``loss`` are interquartile means; a crashed run counts nowhere.
    """
    found = [
        dict(zip(_PLACE, at, strict=True)) | _at_lr(part) for at, part in arrays(runs[runs.trained], _PLACE, _OF_A_RUN)
    ]
    return pd.DataFrame(found, columns=[*_PLACE, "score", "loss", "initial", "finished", "reached", "stable"])


_PLACE = [*STRATEGY, "lr"]
_OF_A_RUN = ["score", "loss", "initial_loss", "finished", "reached", "exploded"]


def _at_lr(runs: dict[str, NDArray[Any]]) -> dict[str, Any]:
    score, loss, initial = (values[~np.isnan(values)] for values in (runs["score"], runs["loss"], runs["initial_loss"]))
    return {
        "score": iqm(score),
        "loss": iqm(loss),
        "initial": iqm(initial),
        "finished": bool(runs["finished"].any()),
        "reached": bool(runs["reached"].mean() >= 0.5),
        "stable": not bool(runs["exploded"].any()),
    }


def responses(runs: pd.DataFrame) -> pd.DataFrame:
    """The lr response of every strategy on every workload, in order of their names.

    Args: runs: what ``per_run`` returns.
    Returns: one row each; lrs that do not exist (all runs diverged, nothing was stable, no default known) are NaN.
    ``headroom`` is the distance in decades from the optimizer's default lr up to the largest stable one, negative if
    the default is beyond it; ``cliff_seen`` is False where the whole grid was stable, so that both are lower bounds.
    """
    grids = over_grid(runs)
    of = dict(groups(grids, STRATEGY))
    found = [
        dict(zip(STRATEGY, names, strict=True)) | _response(of.get(names, grids[:0]), float(part["default_lr"][0]))
        for names, part in arrays(runs, STRATEGY, ["default_lr"])
    ]
    return table_of(found, Response)


def _response(grid: pd.DataFrame, default: float) -> dict[str, Any]:
    lr_L, loss_L = grid.lr.to_numpy(float), grid.loss.to_numpy(float)
    stable = stable_count(grid.stable.to_numpy(bool))
    largest_stable = lr_L[stable - 1] if stable else math.nan
    found = {
        "lrs": len(grid),
        "largest_stable": largest_stable,
        "cliff_seen": stable < len(grid),
        "sensitivity": sensitivity(loss_L),
        "default_lr": default,
        "headroom": decades(default, largest_stable),
    }
    best = best_index(grid.score.to_numpy(float), loss_L, grid.finished.to_numpy(bool))
    if best is None:
        return found | {"edge": ""}
    low, high = usable(loss_L, float(grid.initial.median()), grid.reached.to_numpy(bool), best)
    return found | {
        "best_lr": lr_L[best],
        "edge": edge(best, len(grid)),
        "score": grid.score.iloc[best],
        "loss": loss_L[best],
        "usable_low": lr_L[low],
        "usable_high": lr_L[high],
        "usable_open": float(low == 0 or high == len(lr_L) - 1),
        "width": decades(lr_L[low], lr_L[high]),
    }
