"""What tuning buys: the expected outcome of the best of k trials, and which strategy to take for how many of them.

A *trial* is one run of a strategy: an lr drawn from its grid, all lrs equally likely, at a given seed, to the end of
the budget. What it scores is its final validation metric, signed so that more is better; a run that diverged, or ended
worse than the untrained model, counts as the untrained model. After k trials at one seed one keeps the run that
validated best. A crashed run is no trial.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from lrbench.analyse.frames import AXES, STRATEGY, groups, rows, strategy
from lrbench.analyse.tables import is_deterministic, scale
from lrbench.stats.blocks import largest_block
from lrbench.stats.comparison import tied_with_best
from lrbench.stats.estimates import Estimate, mean
from lrbench.stats.significance import NEGLIGIBLE

BUDGETS = (1, 5, 20)
"""For so many trials a strategy is recommended."""
DEFAULT, MIDDLE = "default", "middle of its grid"
WIDE = 0.5
"""Grids that span less than this share of the decades of the widest are not compared with it."""
SAME_LR = 1e-3
"""Lrs that differ by less than this share of them are one: grids are written with a few digits."""


def chance_of_best(rank: ArrayLike, of: ArrayLike, trials: ArrayLike) -> NDArray[np.float64]:
    """The chance that the best of k draws with replacement from ``of`` values is the one with this rank (1 is the worst).

    Shapes: all broadcast. Of equal values, each has a rank of its own.
    """
    rank, of, trials = (np.asarray(a, np.float64) for a in (rank, of, trials))
    return np.asarray((rank / of) ** trials - ((rank - 1.0) / of) ** trials, np.float64)


def expected_best(value_N: ArrayLike, trials_K: ArrayLike) -> NDArray[np.float64]:
    """The expected greatest of k draws with replacement from N observed values, exactly, for each of K numbers k.

    1 gives the mean; more never gives less; it tends to the greatest value. Drawing without replacement would reach
    that at k = N, and is never below this: as an estimate for draws from where the values came from, this one is too
    low on average, by less the more values there are.
    Returns: shape K; NaN without values.
    Source: Dodge et al. 2019, arXiv:1909.03004; the bias: Tang et al. 2020, arXiv:2004.13705.

    >>> expected_best([1.0, 0.0], [1, 2, 3]).tolist()
    [0.5, 0.75, 0.875]
    """
    values, trials = np.sort(np.asarray(value_N, np.float64)), np.asarray(trials_K, np.float64)
    if not len(values):
        return np.full(trials.shape, np.nan)
    ranks = np.arange(1, len(values) + 1)
    return np.asarray(chance_of_best(ranks, len(values), trials[..., None]) @ values)


def outcomes(runs: pd.DataFrame) -> pd.DataFrame:
    """The trials among some runs, with their ``outcome``: the score, or the untrained model's where that is better.

    Args: runs: what ``per_run`` returns.
    """
    known = runs.assign(outcome=np.fmax(runs.score, runs.untrained_score))
    return known.loc[known.trained & known.outcome.notna()]


def tuning_curves(runs: pd.DataFrame, trials: Sequence[int] = BUDGETS) -> pd.DataFrame:
    """The expected best outcome after some numbers of trials, of every strategy on every workload, at every seed.

    Args: runs: what ``per_run`` returns.
    Returns: one row per workload, strategy and seed, in that order; ``lrs`` is how many the seed has, and there is a
    column named by each number of trials. A seed counts if it was run at more than half of the strategy's lrs. A
    strategy counts if its grid spans at least ``WIDE`` of the decades of the widest on its workload, since a grid drawn
    closely around a good lr has been tuned already.
    """
    return _expected(_tuned(outcomes(runs)), trials)


def _expected(known: pd.DataFrame, trials: Sequence[int]) -> pd.DataFrame:
    """For every seed of every strategy, the expected best of what is known there, all at once: see ``tuning_curves``."""
    keys = [*STRATEGY, "seed"]
    known = known.sort_values([*keys, "outcome"], ignore_index=True)
    at = known.groupby(keys, sort=True)
    rank_N, of_N = at.cumcount().to_numpy(float) + 1, at.lr.transform("size").to_numpy(float)
    chance_NK = chance_of_best(rank_N[:, None], of_N[:, None], np.asarray(trials))
    weighed = pd.DataFrame(chance_NK * known[["outcome"]].to_numpy(float), columns=list(trials))
    summed = pd.concat([known[keys], weighed], axis=1).groupby(keys, sort=True).sum()
    return summed.join(at.lr.size().rename("lrs")).reset_index()


def best_after(curves: pd.DataFrame, trials: int) -> pd.DataFrame:
    """The strategies of each workload, best first after some number of trials, ties by name.

    Args: curves: what ``tuning_curves`` returns for these trials and others.
    Returns: one row each, with its name ``strategy``, the mean over seeds ``expected``, and how many ``lrs`` it was run
    at.
    """
    at = (
        curves.rename(columns={trials: "expected"})
        .groupby(STRATEGY)
        .agg(expected=("expected", "mean"), lrs=("lrs", "max"))
        .reset_index()
    )
    ranked = at.sort_values(
        ["workload", "expected", *AXES], ascending=[True, False, True, True, True], ignore_index=True
    )
    ranked["strategy"] = [strategy(row) for row in rows(ranked)]
    return ranked


def _tuned(trials: pd.DataFrame) -> pd.DataFrame:
    """The trials of strategies with a grid that is wide enough, at the seeds that were run at most of its lrs."""
    at = trials.assign(log_lr=np.log10(trials.lr)).groupby(STRATEGY)
    of_grid, width = at.lr.transform("nunique"), at.log_lr.transform("max") - at.log_lr.transform("min")
    at_seed = trials.groupby([*STRATEGY, "seed"]).lr.transform("nunique")
    widest = width.groupby(trials.workload).transform("max")
    return trials[(2 * at_seed > of_grid) & (width > 0) & (width >= WIDE * widest - 0.01)]


def _same(lr: Any, other: Any) -> Any:
    return (lr - other).abs() <= SAME_LR * other


def untuned(runs: pd.DataFrame) -> pd.DataFrame:
    """The one trial of somebody who does not tune: every strategy at the lr that is known before anything is run.

    That is the optimizer's default lr where it was run, at more than half of the strategy's seeds, else the middle one
    of those of the strategy's grid that were (of two, the lower), on which whoever wrote the grid centred it; a grid
    too narrow to have a tuning curve has no such middle.
    Returns: one row per workload, strategy and seed, in that order, with ``lr``, ``which`` (default or middle) and
    ``outcome``.
    """
    return _first(outcomes(runs))


def _first(trials: pd.DataFrame) -> pd.DataFrame:
    """See ``untuned``."""
    trials = trials.reset_index(drop=True)
    of = trials.groupby(STRATEGY).seed.transform("nunique")
    common = 2 * trials.groupby([*STRATEGY, "lr"]).seed.transform("nunique") > of
    by_default = trials[common & _same(trials.lr, trials.default_lr)].assign(which=DEFAULT)
    apart = (by_default.lr - by_default.default_lr).abs()
    by_default = by_default[apart == apart.groupby([by_default[axis] for axis in STRATEGY]).transform("min")]
    by_default = by_default.drop_duplicates([*STRATEGY, "seed"])
    done = by_default[STRATEGY].drop_duplicates().assign(done=True)
    others = _tuned(trials)
    others = others[common.loc[others.index]].merge(done, on=STRATEGY, how="left")
    others = others[others.done.isna()].sort_values([*STRATEGY, "lr"])
    position, of = others.groupby(STRATEGY).lr.rank("dense"), others.groupby(STRATEGY).lr.transform("nunique")
    found: pd.DataFrame = pd.concat([by_default, others[position == (of + 1) // 2].assign(which=MIDDLE)])
    return found[[*STRATEGY, "seed", "lr", "which", "outcome"]].sort_values([*STRATEGY, "seed"], ignore_index=True)


RECOMMENDATION = [
    "workload", "trials", "strategy", *AXES, "lr", "which", "expected", "low", "high", "seeds", "strategies", "not_separated",
]  # fmt: skip


def recommendations(runs: pd.DataFrame, budgets: Sequence[int] = BUDGETS) -> pd.DataFrame:
    """Which strategy to take on each workload when so many trials can be afforded.

    Args: runs: what ``per_run`` returns.
    Returns: one row per workload and budget. The first trial is that of ``untuned``, at ``lr``, which is the ``which``
    one; all others are at lrs drawn from the grid, as in ``tuning_curves``, and the best of all is kept. ``expected``
    is the mean over seeds of what that is expected to score, with a bootstrap 95 % interval over seeds;
    ``not_separated`` lists the strategies that the shared seeds cannot tell from it (paired t-test,
    Bonferroni-corrected); ``strategies`` counts those that were compared: with one trial all that have an lr to begin
    with, with more those that have a tuning curve, too. A workload without any has no rows.
    """
    trials = outcomes(runs)
    choices = _choices(trials, budgets)
    facts = {str(w): (NEGLIGIBLE * scale(part), is_deterministic(part)) for (w,), part in groups(trials, ["workload"])}
    found = [
        {"workload": workload, "trials": k} | _recommended(part, *facts[str(workload)])
        for (workload, k), part in groups(choices, ["workload", "trials"])
    ]
    return pd.DataFrame(found, columns=RECOMMENDATION)


def _choices(trials: pd.DataFrame, budgets: Sequence[int]) -> pd.DataFrame:
    """What can be had for each budget: a row per workload, strategy, seed and number of trials, with the ``outcome`` to be expected.

    The best of a first run and of k - 1 draws is the best of k - 1 draws from values none of which is below the first.
    """
    keys, first = [*STRATEGY, "seed"], _first(trials)
    tuned = _tuned(trials).merge(first.rename(columns={"outcome": "floor"})[[*keys, "floor"]], on=keys)
    draws = [k - 1 for k in budgets if k > 1]
    more = _expected(tuned.assign(outcome=tuned[["outcome", "floor"]].max(axis=1)), draws).melt(
        keys, draws, "trials", "outcome"
    )
    more = more.assign(trials=more.trials.astype(int) + 1).merge(first[[*keys, "lr", "which"]], on=keys)
    one = first.assign(trials=1) if 1 in budgets else first.assign(trials=1).iloc[:0]
    return pd.concat([one, more[one.columns]]).sort_values(["trials", *keys], ignore_index=True)


def _recommended(choices: pd.DataFrame, margin: float, alike: bool = False) -> dict[str, Any]:
    """The best of the choices with one budget on one workload."""
    scores = choices.pivot_table(index="seed", columns=AXES, values="outcome", aggfunc="mean")
    names: list[Any] = sorted(scores, key=lambda axes: (-scores[axes].mean(), axes))
    best, *others = [scores[axes].to_numpy(float) for axes in names]
    tied = tied_with_best(best, others, margin, is_deterministic=alike)
    row = next(row for row in rows(choices) if tuple(getattr(row, axis) for axis in AXES) == names[0])
    expected = Estimate.of_seeds(best, mean)
    return (
        {axis: getattr(row, axis) for axis in AXES}
        | {
            "strategy": strategy(row),
            "lr": row.lr,
            "which": row.which,
            "expected": expected.value,
            "low": expected.low,
            "high": expected.high,
        }
        | {"seeds": int(np.isfinite(best).sum()), "strategies": len(names)}
        | {"not_separated": [" / ".join(axes) for axes, is_tied in zip(names[1:], tied, strict=True) if is_tied]}
    )


def shared_recommendations(runs: pd.DataFrame, budgets: Sequence[int] = BUDGETS) -> tuple[list[str], pd.DataFrame]:
    """Which strategy to take for several workloads at once, each tuned for itself with so many trials.

    Args: runs: what ``per_run`` returns.
    Returns: the workloads, which together with the strategies make the largest table without a gap, two of each or
    more; and one row per budget as of ``recommendations``, whose ``expected`` is the mean over workloads of the share
    of the way from the untrained model (0) to the best of all that is compared there (1), at seeds that all of them
    have; ``workload`` and ``which`` are empty and ``lr`` is NaN, since lrs to begin with differ between workloads.
    Workloads where nothing learnt are left out. No workloads and no rows where there is no such table.
    """
    trials = outcomes(runs)
    choices = _choices(trials, budgets)
    learnt = [w for (w,), part in groups(choices, ["workload"]) if not _way(part, trials[trials.workload == w]).empty]
    workloads, shared = _shared(choices[choices.workload.isin(learnt)], len(budgets))
    ways = [_way(part, trials[trials.workload == w]) for (w,), part in groups(shared, ["workload"])]
    if not workloads or any(part.empty for part in ways):
        return [], pd.DataFrame(columns=RECOMMENDATION)
    means = (
        pd.concat(ways)
        .groupby([*AXES, "seed", "trials"])
        .agg(outcome=("outcome", "mean"), among=("outcome", "size"))
        .reset_index()
    )
    means = means[means.among == len(workloads)].assign(lr=math.nan, which="")
    found = [{"workload": "", "trials": k} | _recommended(part, NEGLIGIBLE) for (k,), part in groups(means, ["trials"])]
    return workloads, pd.DataFrame(found, columns=RECOMMENDATION)


def _shared(choices: pd.DataFrame, budgets: int) -> tuple[list[str], pd.DataFrame]:
    """The workloads and the choices on them with strategies that all of them have, with every budget."""
    there = choices.pivot_table(index="workload", columns=AXES, values="trials", aggfunc="nunique")
    block = largest_block(
        there.eq(budgets).to_numpy(bool), lambda b: float(len(b[0]) * len(b[1]) * (min(map(len, b)) > 1))
    )
    if block is None:
        return [], choices.iloc[:0]
    kept = there.iloc[block[0], block[1]]
    both = choices[choices.workload.isin(kept.index)].merge(pd.DataFrame(list(kept.columns), columns=AXES), on=AXES)
    everywhere = both.groupby("seed").workload.transform("nunique") == len(kept)
    return [str(w) for w in kept.index], both[everywhere]


def _way(choices: pd.DataFrame, trials: pd.DataFrame) -> pd.DataFrame:
    """The choices on one workload with outcomes as shares of the way from the untrained model to the best; none where nothing learnt."""
    start = float(trials.untrained_score.mean())
    way = float(choices.groupby([*AXES, "trials"]).outcome.mean().max()) - start
    return choices.assign(outcome=(choices.outcome - start) / way) if way > 0 else choices.iloc[:0]
