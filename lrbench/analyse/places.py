"""Some strategies of a workload side by side: ranks, groups that were not told apart, and what would tell them apart."""

import math
from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd

from lrbench.analyse.frames import AXES, STRATEGY, by_seed, groups, of_strategy, rows
from lrbench.analyse.tables import is_deterministic
from lrbench.analyse.verdicts import margin
from lrbench.stats.comparison import compact_letters, separated
from lrbench.stats.estimates import Estimate, mean
from lrbench.stats.significance import seeds_needed, target_test
from lrbench.stats.survival import Survival, kaplan_meier

STANDING = [
    *STRATEGY, "strategy", "rank", "of", "group", "lr", "seeds", "quality", "low", "high", "mean", "mean_low", "mean_high", "deviation",
    "target", "target_p", "behind", "behind_low", "behind_high", "needed", "more_seeds", "reached", "steps", "steps_low", "steps_high",
]  # fmt: skip


def places(best: pd.DataFrame, ranked: pd.DataFrame, chosen: Collection[tuple[str, ...]]) -> pd.DataFrame:
    """The chosen strategies of each workload in order of rank, each at its best lr.

    Args: best: what ``at_best_lr`` returns; ranked: what ``ranking`` returns; chosen: workload and axes of the
    strategies to compare.
    Returns: one row each.
        rank, of: the place among all strategies of the workload, by the interquartile mean (IQM) of the validation
        score; their number. group: compact letters; two of the chosen share one if paired t-tests, Holm-corrected over
        all pairs of them, tell no difference. quality, mean: IQM and mean over seeds of the validation metric, with
        bootstrap 95 % intervals; deviation: over seeds. target_p: p-value of the one-sided test that the mean is better
        than the target. behind: IQM of the best strategy's score - this one's by seed, positive if it is worse; NaN for
        the best itself. needed, more_seeds: seeds with which a paired t-test of the two alone would find that
        difference in 80 % of studies, and how many
            of them are missing; NaN where the mean difference is within the margin, or there are not two shared seeds.
        steps: Kaplan-Meier median of steps to target with its 95 % interval, infinite where fewer than half reach it.
    """
    found: list[dict[str, Any]] = []
    for (workload,), part in groups(ranked, ["workload"]):
        found_here = [
            (place, row)
            for place, row in enumerate(rows(part), 1)
            if (workload, *(getattr(row, a) for a in AXES)) in chosen
        ]
        found += _placed(part.iloc[0], found_here, best[best.workload == workload], len(part))
    return pd.DataFrame(found, columns=STANDING)


def _placed(winner: Any, places: list[tuple[int, Any]], runs: pd.DataFrame, of: int) -> list[dict[str, Any]]:
    room, first = margin(runs), by_seed(of_strategy(runs, winner), "score")
    seeds = sorted(runs.seed.unique())
    scores = np.array([by_seed(of_strategy(runs, row), "score").reindex(seeds).to_numpy(float) for _, row in places])
    letters = compact_letters(separated(scores, room, is_deterministic=is_deterministic(runs)))
    return [
        {name: getattr(row, name) for name in [*STRATEGY, "strategy"]}
        | {"rank": place, "of": of, "group": group, "lr": row.best_lr}
        | _alone(of_strategy(runs, row))
        | _beside(first, by_seed(of_strategy(runs, row), "score"), room, is_best=place == 1)
        for (place, row), group in zip(places, letters, strict=True)
    ]


def _alone(runs: pd.DataFrame) -> dict[str, Any]:
    quality = runs.quality.to_numpy(float)
    higher, target = bool(runs.higher_is_better.iloc[0]), float(runs.target.iloc[0])
    test = target_test(quality, target, higher_is_better=higher, is_deterministic=is_deterministic(runs))
    middle, average = Estimate.of_seeds(quality), Estimate.of_seeds(quality, mean)
    curve = survival(runs)
    return (
        {"seeds": runs.seed.nunique(), "quality": middle.value, "low": middle.low, "high": middle.high}
        | {"mean": test.mean, "mean_low": average.low, "mean_high": average.high, "deviation": test.deviation}
        | {"target": target, "target_p": test.p, "reached": curve.reached}
        | dict(zip(["steps", "steps_low", "steps_high"], [curve.median, *curve.median_interval], strict=True))
    )


def _beside(first: "pd.Series[Any]", score: "pd.Series[Any]", room: float, *, is_best: bool) -> dict[str, Any]:
    difference = (first - score).dropna()
    needed = None if is_best else seeds_needed(difference, room)
    behind = Estimate(math.nan) if is_best else Estimate.of_seeds(difference)
    return {
        "behind": behind.value,
        "behind_low": behind.low,
        "behind_high": behind.high,
        "needed": math.nan if needed is None else needed,
        "more_seeds": math.nan if needed is None else max(0, needed - len(difference)),
    }


def survival(runs: pd.DataFrame) -> Survival:
    """The Kaplan-Meier estimate of the steps to target of some runs; one that is never there was watched to its budget."""
    return kaplan_meier(runs.steps_to_target.to_numpy(float), runs.budget.to_numpy(float))
