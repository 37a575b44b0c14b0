"""How the strategies of a study do over several of its workloads together."""

import math

import pandas as pd

from lrbench.analyse.costs import seconds_of_runs
from lrbench.analyse.frames import STRATEGY, rows, strategy
from lrbench.analyse.score import Standings, arranged
from lrbench.config.cost import Costs
from lrbench.stats.blocks import largest_block

TAU_MAX = 4.0


def shared_standings(runs: pd.DataFrame, best: pd.DataFrame, costs: Costs) -> Standings | None:
    """The standings of strategies that were run on the same workloads, seeds as studies; by seconds where costs allow, else by steps.

    Args: runs: what ``per_run`` returns. best: those of each strategy at its best lr; a strategy that has none never
    reaches its target.
    Returns: None where no two workloads share two strategies.
    """
    times = _seeds(runs, best, costs)
    for measure in ("seconds", "steps"):
        known = times[times[measure].notna()]
        whole = known.groupby(["workload", "strategy"]).size().eq(times.groupby(["workload", "strategy"]).size())
        workloads, strategies = block(whole.unstack(fill_value=False).fillna(value=False).astype(bool))
        if len(workloads) > 1 and len(strategies) > 1:
            part = known[known.workload.isin(workloads) & known.strategy.isin(strategies)]
            return arranged(part, {name: name for name in workloads}, TAU_MAX, measure)
    return None


def _seeds(runs: pd.DataFrame, best: pd.DataFrame, costs: Costs) -> pd.DataFrame:
    """Seconds and steps to target by workload, strategy and seed; infinite where it is never reached, NaN where a cost is not known."""
    ranked = pd.MultiIndex.from_frame(best[STRATEGY])
    trained = runs[runs.trained]
    lost = trained[~pd.MultiIndex.from_frame(trained[STRATEGY]).isin(ranked)].drop_duplicates([*STRATEGY, "seed"])
    chosen = (
        pd.concat([best, lost.assign(steps_to_target=math.nan)[best.columns]], ignore_index=True) if len(lost) else best
    )
    times = chosen.assign(strategy=[strategy(row) for row in rows(chosen)], seconds=seconds_of_runs(chosen, costs))
    times["steps"] = times.steps_to_target.fillna(math.inf)
    return times[["workload", "strategy", "seed", "seconds", "steps"]].sort_values(
        ["workload", "strategy", "seed"], ignore_index=True
    )


def block(run: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Workloads, and the strategies that were run on all of them: as many pairs as can be.

    Args: run: True where a strategy (column) was run on a workload (row).
    Of the blocks with two workloads and two strategies or more, the one with the most pairs: exact while holes have few
    patterns, as ``largest_block`` says. Returns: sorted; both empty where there is none.
    """
    table = run.sort_index(axis=0).sort_index(axis=1)
    found = largest_block(
        table.to_numpy(bool), lambda kept: float(len(kept[0]) * len(kept[1]) * (min(map(len, kept)) > 1))
    )
    return ([], []) if found is None else (list(table.index[found[0]]), list(table.columns[found[1]]))
