"""Strategies over several workloads: normalised scores, ranks, and how often one beats the plain one."""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from lrbench.analyse.frames import AXES, STRATEGY, groups, rows
from lrbench.stats.blocks import Block, largest_block
from lrbench.stats.comparison import compact_letters, improvement
from lrbench.stats.estimates import cell_intervals, iqm, mean, over_groups
from lrbench.stats.ranks import Friedman, apart, critical_difference, friedman

LETTERED = 30
"""The best strategies that get letters, of which there may be many times as many as strategies; with the plain ones
twice as many."""
Axes = tuple[str, ...]
OVERALL = [
    *AXES, "strategy", "plain", "workloads", "iqm", "low", "high", "mean", "mean_low", "mean_high", "rank", "group", "baseline",
    "shared", "improvement", "improvement_low", "improvement_high",
]  # fmt: skip


@dataclass(frozen=True)
class Overall:
    """What can be said over several workloads.

    ``block``: the workloads that the ranked strategies were all run on, none if there are not two such workloads and
    strategies; ``table``: one row per strategy with at least two workloads, those of the block first, by mean rank,
    then the others, by IQM.
    """

    block: tuple[str, ...]
    table: pd.DataFrame
    test: Friedman
    critical_difference: float

    @property
    def ranked(self) -> pd.DataFrame:
        """The rows of the block, best mean rank first."""
        return self.table[self.table["rank"].notna()]


def normalised(best: pd.DataFrame, ranked: pd.DataFrame) -> pd.DataFrame:
    """The runs of ``best``, with a column ``normalised``: 0 is the untrained model, 1 the best strategy of the workload.

    (score - untrained) / (best - untrained), where score is the final validation metric, its sign turned where less is
    better, and a diverged run counts as the untrained model; untrained is the IQM of the score before any update over
    these runs; best is the highest IQM over seeds that a strategy has on this workload at its best lr (whether or not
    it was run elsewhere). Single runs may lie above 1, and below 0. Runs on a workload where nothing beats the
    untrained model are left out.
    Args: best: what ``at_best_lr`` returns; ranked: what ``ranking`` returns.
    """
    top = ranked.groupby("workload").score.max()
    parts = []
    for (workload,), part in groups(best, ["workload"]):
        untrained = iqm(part.untrained_score.dropna())
        if top[workload] > untrained:
            parts.append(part.assign(normalised=(part.score - untrained) / (top[workload] - untrained)))
    return pd.concat(parts, ignore_index=True) if parts else best.iloc[:0].assign(normalised=math.nan)


def block(workloads_of: Mapping[Axes, Iterable[str]]) -> tuple[tuple[str, ...], list[Axes]]:
    """The workloads, and the strategies that were run on all of them, that ranks are compared over.

    Of the sets of workloads that some strategies share, the one with the greatest (workloads - 1)^2 x (strategies - 1):
    comparisons grow with both, and workloads are what the tests count. Of equals the one with more workloads, then the
    first by name. Exact while few sets of strategies are shared (``MOST`` of ``largest_block``); with many scattered
    holes a good one, not surely the best.
    Returns: sorted; both empty where no two strategies share two workloads.
    """
    of = {axes: frozenset(names) for axes, names in workloads_of.items()}
    workloads, strategies = sorted(frozenset().union(*of.values())), sorted(of)
    whole = len(workloads)

    def worth(kept: Block) -> float:
        """The criterion, then the workloads, then their names; divided by a number that keeps it below the cells of the block."""
        w, s = map(len, kept)
        return (
            ((w - 1) ** 2 * (s - 1) + (w + float((0.5 ** (kept[0] + 1)).sum())) / (whole + 1)) / whole
            if w > 1 and s > 1
            else 0.0
        )

    run_WS = np.array([[name in of[axes] for axes in strategies] for name in workloads], bool).reshape(
        whole, len(strategies)
    )
    found = largest_block(run_WS, worth)
    if found is None:
        return (), []
    return tuple(workloads[i] for i in found[0]), [strategies[i] for i in found[1]]


def overall(best: pd.DataFrame, ranked: pd.DataFrame) -> Overall:
    """The strategies that were run on at least two workloads, each at its best lr on each.

    Args: best: what ``at_best_lr`` returns; ranked: what ``ranking`` returns.
    Returns: in the table, ``workloads`` are a strategy's, sorted; ``iqm`` and ``mean`` are those of its normalised
    scores, pooled over its workloads, which weigh alike, with stratified bootstrap 95 % intervals; ``rank`` is the mean
    over the block of its rank by the IQM of the validation score (NaN outside the block); of the ``LETTERED`` best
    ranked and the plain ones, as many as fit, those that share a letter of ``group`` have mean ranks less than a
    critical difference apart (the others have none); ``improvement`` is the probability that a run of it beats one of
    ``baseline`` (the plain strategy of the same optimizer; else of those plain ones that it shares the most workloads
    with, the one with the highest IQM), the mean over the ``shared`` workloads, NaN for the baseline itself.
    """
    runs = normalised(best, ranked)
    cells = _cells(runs)
    several = {axes: part for axes, part in cells.items() if len(part) > 1}
    shared, inside = block({axes: list(part) for axes, part in several.items()})
    test = friedman(
        np.array([[iqm(several[axes][w].score.dropna()) for axes in inside] for w in shared]).reshape(
            len(shared), len(inside)
        )
    )
    difference = critical_difference(len(inside), len(shared))
    table = pd.DataFrame(_rows(several), columns=OVERALL)
    table = _with_ranks(table, dict(zip(inside, test.ranks_C.tolist(), strict=True)), difference)
    return Overall(shared, table, test, difference)


Cells = dict[Axes, dict[str, pd.DataFrame]]
"""The runs of every strategy by workload."""


def _cells(runs: pd.DataFrame) -> Cells:
    found: Cells = {}
    for (workload, *axes), part in groups(runs.dropna(subset="normalised"), STRATEGY):
        found.setdefault(tuple(axes), {})[str(workload)] = part
    return found


def _rows(cells: Cells) -> list[dict[str, Any]]:
    scores = [[part.normalised.to_numpy(float) for part in parts.values()] for parts in cells.values()]
    iqms, means = cell_intervals(scores), cell_intervals(scores, statistic=mean)
    middle = {axes: over_groups(score) for axes, score in zip(cells, scores, strict=True)}
    plain = {axes for axes, parts in cells.items() if _plain(parts)}
    found = []
    for (axes, parts), score, of_iqm, of_mean in zip(cells.items(), scores, iqms, means, strict=True):
        named = dict(zip(AXES, axes, strict=True))
        found.append(
            named
            | {"strategy": " / ".join(axes), "plain": axes in plain, "workloads": tuple(parts)}
            | {"iqm": middle[axes], "low": of_iqm.low, "high": of_iqm.high}
            | {"mean": over_groups(score, statistic=mean), "mean_low": of_mean.low, "mean_high": of_mean.high}
            | _improvement(axes, _baseline(axes, plain, cells, middle), cells)
        )
    return found


def _plain(parts: dict[str, pd.DataFrame]) -> bool:
    return all(bool(part.plain.all()) for part in parts.values())


def _baseline(axes: Axes, plain: Collection[Axes], cells: Cells, middle: dict[Axes, float]) -> Axes | None:
    mine = set(cells[axes])
    sharing = [other for other in plain if mine & set(cells[other])]
    return min(
        sharing,
        key=lambda other: (other[0] != axes[0], -len(mine & set(cells[other])), -middle[other], other),
        default=None,
    )


def _improvement(axes: Axes, base: Axes | None, cells: Cells) -> dict[str, Any]:
    if base is None or base == axes:
        return {"baseline": "" if base is None else " / ".join(base), "shared": (), "improvement": math.nan}
    shared = tuple(sorted(set(cells[axes]) & set(cells[base])))
    pairs = [(cells[axes][w].score, cells[base][w].score) for w in shared]
    chance = improvement(pairs, np.random.default_rng(0))
    return {
        "baseline": " / ".join(base),
        "shared": shared,
        "improvement": chance.value,
        "improvement_low": chance.low,
        "improvement_high": chance.high,
    }


def _with_ranks(table: pd.DataFrame, ranks: dict[Axes, float], difference: float) -> pd.DataFrame:
    """The table in order, with the mean ranks of the block and their groups."""
    table = table.assign(
        rank=[ranks.get(tuple(getattr(row, a) for a in AXES), math.nan) for row in rows(table)], group=""
    )
    table["descending"] = -table["iqm"]
    table = table.sort_values(["rank", "descending", *AXES], ignore_index=True).drop(columns="descending")
    chosen = leading(table["plain"].to_numpy(bool)[table["rank"].notna()], LETTERED, 2 * LETTERED)
    table.loc[chosen, "group"] = compact_letters(apart(table["rank"][chosen], difference))
    return table


def leading(plain: ArrayLike, best: int, most: int) -> list[int]:
    """Of strategies in order of rank the places of the ``best`` first and of the plain ones, the first of these where ``most`` are too few.

    >>> leading([False, False, True, False, True], 1, 4), leading([False, False, True, False, True], 1, 2)
    ([0, 2, 4], [0, 2])
    """
    is_plain = np.asarray(plain, bool)
    return [int(i) for i in np.flatnonzero((np.arange(len(is_plain)) < best) | is_plain)[:most]]
