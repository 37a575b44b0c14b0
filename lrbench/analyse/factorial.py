"""What each axis of a strategy contributes: analysis of variance of the outcomes in a full factorial.

The score of a run is that of ``tuning.outcomes``: a run that diverged, or ended worse than the untrained model, counts
as the untrained model. The factors are the optimizer, the layer-lr policy, the schedule and the lr; the seed is a
block, the same for all of them.

Optimizers have lrs of different sizes, so an lr is known by its *position* on its optimizer's own grid, from the
lowest; where the grids differ in length, the middle part of the longer ones is used. How positions are matched moves
variance between an effect with the lr and the same one crossed with the optimizer, as between *lr* and *optimizer x
lr*: the sum of the two is the same whatever the matching.
"""

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lrbench.analyse.frames import AXES, groups
from lrbench.analyse.results import LevelMean, typed
from lrbench.analyse.tuning import outcomes
from lrbench.stats.blocks import Block, largest_block
from lrbench.stats.variance import SEED, Effect, shares, varies

Floats = NDArray[np.float64]
LR = "lr"
FACTORS = [*AXES, LR]
"""The factors, in the order of the axes of ``Factorial.outcome``."""


@dataclass(frozen=True)
class Factorial:
    """A complete block of the runs of one workload.

    ``levels`` has the labels of each factor and the seeds, those of the lr being positions from 1; ``lrs`` are, by
    optimizer, the lrs at these positions. ``outcome`` has one dimension per factor in the order of ``FACTORS`` and the
    seeds last. ``runs`` counts all runs of the workload that are no crash, in the block or not.
    """

    workload: str
    levels: dict[str, list[Any]]
    lrs: dict[str, list[float]]
    outcome: Floats
    runs: int

    @property
    def factors(self) -> list[str]:
        """The factors with two levels or more: only these can explain anything."""
        return [name for name in FACTORS if len(self.levels[name]) > 1]

    @property
    def varied(self) -> Floats:
        """The outcomes with a dimension for each of ``factors`` and one for the seeds."""
        return self.outcome.reshape([len(self.levels[name]) for name in [*self.factors, SEED]])

    @property
    def varies(self) -> bool:
        """Whether there is any variance to explain."""
        return varies(self.outcome)

    @cached_property
    def effects(self) -> list[Effect]:
        """The share of the variance that each effect explains, over all lrs."""
        return shares(self.varied, self.factors)

    @cached_property
    def effects_at_best(self) -> list[Effect]:
        """The same for the strategies at their best lrs; none where the lr is no factor, or the only one."""
        others = [name for name in self.factors if name != LR]
        return shares(self.tuned, others) if others and len(others) < len(self.factors) else []

    @cached_property
    def level_means(self) -> list[LevelMean]:
        """The mean outcome of every level of every factor, in order."""
        return typed(level_means(self), LevelMean)

    @property
    def tuned(self) -> Floats:
        """As ``varied``, each strategy at the lr of the block with the best mean over seeds: no dimension for the lr."""
        if LR not in self.factors:
            return self.varied
        best = self.varied.mean(axis=-1).argmax(axis=-1)
        return np.asarray(np.take_along_axis(self.varied, best[..., None, None], axis=-2)[..., 0, :], np.float64)


def factorials(runs: pd.DataFrame) -> list[Factorial]:
    """The largest full factorial of every workload that has one with at least two levels of at least two factors.

    Args: runs: what ``per_run`` returns. Crashed runs are missing.
    """
    return [block for (w,), part in groups(outcomes(runs), ["workload"]) if (block := _factorial(str(w), part))]


def _factorial(workload: str, trials: pd.DataFrame) -> Factorial | None:
    """The block with the most runs; the pairs of optimizer and lr are one axis of the search, since each optimizer has its own lrs."""
    trials = trials.assign(pair=pd.MultiIndex.from_frame(trials[["optimizer", "lr"]]).to_flat_index())
    there = trials.groupby(["pair", "layer_lr", "schedule", "seed"]).outcome.mean()
    axes = [sorted(set(there.index.get_level_values(i))) for i in range(there.index.nlevels)]
    table = there.reindex(pd.MultiIndex.from_product(axes)).to_numpy(float).reshape([len(names) for names in axes])
    pairs: list[tuple[str, float]] = axes[0]

    def worth(block: Block) -> float:
        grids = _grids([pairs[i] for i in block[0]], *map(len, block[1:3]))
        cells = prod(len(kept) for kept in block[1:]) * sum(map(len, grids.values()))
        levels = [len(grids), len(next(iter(grids.values()))), *map(len, block[1:3])]
        return float(cells) if sum(n > 1 for n in levels) > 1 else 0.0

    block = largest_block(np.isfinite(table), worth)
    if block is None:
        return None
    lrs = _grids([pairs[i] for i in block[0]], *map(len, block[1:3]))
    names = [[axis[i] for i in kept] for axis, kept in zip(axes[1:], block[1:], strict=True)]
    count = len(next(iter(lrs.values())))
    places = np.array([pairs.index((name, lr)) for name in lrs for lr in lrs[name]])
    cells = table[np.ix_(places, *block[1:])].reshape(len(lrs), count, *map(len, names))
    return Factorial(
        workload=workload,
        levels={**dict(zip(FACTORS, [list(lrs), *names[:2], list(range(1, count + 1))], strict=True)), SEED: names[2]},
        lrs=lrs,
        outcome=np.moveaxis(cells, 1, 3),
        runs=len(trials),
    )


def _grids(pairs: list[tuple[str, float]], *others: int) -> dict[str, list[float]]:
    """By optimizer as many lrs, so that there are as many in all as can be: the middle of the longer grids; the shortest are left out.

    Args: others: the levels of the other factors. Two factors vary, if that can be.
    """
    grids: dict[str, list[float]] = {}
    for name, lr in sorted(pairs):
        grids.setdefault(name, []).append(lr)

    def lrs_at(count: int) -> tuple[bool, int]:
        optimizers = sum(len(grid) >= count for grid in grids.values())
        return sum(n > 1 for n in (count, optimizers, *others)) > 1, count * optimizers

    count = max(sorted({len(grid) for grid in grids.values()}), key=lrs_at)
    return {name: _middle(grid, count) for name, grid in grids.items() if len(grid) >= count}


def _middle(grid: list[float], count: int) -> list[float]:
    start = (len(grid) - count) // 2
    return grid[start : start + count]


def contributions(block: Factorial) -> pd.DataFrame:
    """The shares in a block over all lrs (``which`` is *all lrs*), then those of the strategies at their best lrs (*best lr*)."""
    parts = [(block.effects, "all lrs"), (block.effects_at_best, "best lr")]
    return pd.DataFrame(
        [(*effect, which) for part, which in parts for effect in part], columns=[*Effect._fields, "which"]
    )


def level_means(block: Factorial) -> pd.DataFrame:
    """The mean outcome of every level of every factor, over all else, with the lowest and highest mean of a seed.

    Returns: one row each, in order, with ``factor``, ``level``, ``mean``, ``low`` and ``high``.
    """
    found = []
    for i, factor in enumerate(block.factors):
        other = tuple(j for j in range(len(block.factors)) if j != i)
        by_seed = block.varied.mean(axis=other)
        found += [
            {
                "factor": factor,
                "level": level,
                "mean": float(seeds.mean()),
                "low": float(seeds.min()),
                "high": float(seeds.max()),
            }
            for level, seeds in zip(block.levels[factor], by_seed, strict=True)
        ]
    return pd.DataFrame(found, columns=["factor", "level", "mean", "low", "high"])
