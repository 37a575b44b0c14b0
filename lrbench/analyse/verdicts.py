"""Which strategy wins on each workload, by how much, and what cannot be told from it."""

import math
from typing import Any

import pandas as pd

from lrbench.analyse.frames import AXES, STRATEGY, by_seed, of_strategy, paired, rows, strategy
from lrbench.analyse.tables import is_deterministic, median_steps, scale
from lrbench.stats.comparison import compare, tied_with_best
from lrbench.stats.estimates import Estimate, iqm
from lrbench.stats.significance import NEGLIGIBLE

VERDICT = [
    "workload", "strategy", *AXES, "lr", "edge", "seeds", "quality", "low", "high", "target", "reached", "steps_to_target",
    "test_metric", "test_low", "test_high", "strategies", "not_separated", "baseline", "baseline_lr", "baseline_edge", "baseline_quality",
    "gain", "gain_low", "gain_high", "gain_p",
]  # fmt: skip


def at_best_lr(runs: pd.DataFrame, responses: pd.DataFrame) -> pd.DataFrame:
    """The runs of every strategy at its best lr, crashed ones left out; a strategy without a best lr has none."""
    best = responses[[*STRATEGY, "best_lr"]].rename(columns={"best_lr": "lr"}).dropna()
    return runs[runs.trained].merge(best, on=[*STRATEGY, "lr"])


def ranking(responses: pd.DataFrame) -> pd.DataFrame:
    """The strategies of each workload, best first: highest validation score at the best lr, then lowest loss, then name."""
    order = ["workload", "score", "loss", *AXES]
    ranked = responses.dropna(subset="best_lr").sort_values(
        order, ascending=[True, False, True, True, True, True], ignore_index=True
    )
    ranked["strategy"] = [strategy(row) for row in rows(ranked)]
    return ranked


def verdicts(runs: pd.DataFrame, responses: pd.DataFrame) -> pd.DataFrame:
    """One row per workload: its best strategy at its best lr, selected on validation.

    Args: runs: what ``per_run`` returns; responses: what ``responses`` returns for them.
    Returns: ``quality`` is the interquartile mean over seeds of the final validation metric, with a bootstrap 95 %
    interval; ``reached`` counts runs; ``steps_to_target`` is a median, NaN if half or more never reach it;
    ``test_metric`` is the winner's alone; ``not_separated`` lists the strategies that the seeds cannot tell from it
    (paired t-test at each one's best lr, Bonferroni-corrected within the workload); the baseline is the winner's
    optimizer with one constant lr for all layers, at its own best lr, or where that was not run the best such strategy
    of all, ``baseline_edge`` where in its grid that lr sits; ``gain`` is the improvement over it by paired seeds,
    positive if better whatever the metric. A workload where no run finished has an empty strategy and NaN numbers.
    """
    ranked, best = ranking(responses), at_best_lr(runs, responses)
    found = [
        _verdict(str(w), ranked[ranked.workload == w], best[best.workload == w]) for w in sorted(runs.workload.unique())
    ]
    return pd.DataFrame(found, columns=VERDICT)


_NOTHING = dict.fromkeys(["seeds", "reached", "strategies"], 0)


def _verdict(workload: str, ranked: pd.DataFrame, runs: pd.DataFrame) -> dict[str, Any]:
    if ranked.empty:
        words = dict.fromkeys(["strategy", *AXES, "edge", "baseline", "baseline_edge"], "")
        return {"workload": workload, "not_separated": []} | words | _NOTHING
    winner = ranked.iloc[0]
    won = of_strategy(runs, winner)
    quality, test = Estimate.of_seeds(won.quality), Estimate.of_seeds(won.test_metric)
    return (
        {name: winner[name] for name in ["workload", "strategy", *AXES, "edge"]}
        | {"lr": winner.best_lr, "seeds": won.seed.nunique()}
        | {"quality": quality.value, "low": quality.low, "high": quality.high}
        | {
            "target": won.target.iloc[0],
            "reached": int(won.reached.sum()),
            "steps_to_target": median_steps(won.steps_to_target),
        }
        | {"test_metric": test.value, "test_low": test.low, "test_high": test.high}
        | {"strategies": len(ranked), "not_separated": _like_the_winner(ranked, runs)}
        | _gain(winner, _baseline(winner, ranked, runs), runs)
    )


def _like_the_winner(ranked: pd.DataFrame, runs: pd.DataFrame) -> list[str]:
    scores = runs.pivot_table(index="seed", columns=AXES, values="score", aggfunc="mean")
    best, *others = [scores[axes].to_numpy(float) for axes in ranked[AXES].itertuples(index=False, name=None)]
    tied = tied_with_best(best, others, margin(runs), is_deterministic=is_deterministic(runs))
    return [str(name) for name, is_tied in zip(ranked.strategy.iloc[1:], tied, strict=True) if is_tied]


def margin(runs: pd.DataFrame) -> float:
    """The least score difference on one workload that counts: ``NEGLIGIBLE`` of its ``scale``."""
    return NEGLIGIBLE * scale(runs)


def _baseline(winner: Any, ranked: pd.DataFrame, runs: pd.DataFrame) -> Any:
    plain = {tuple(row) for row in runs.loc[runs.plain, AXES].itertuples(index=False)}
    candidates = [row for row in rows(ranked) if tuple(getattr(row, axis) for axis in AXES) in plain]
    return next((row for row in candidates if row.optimizer == winner.optimizer), candidates[0] if candidates else None)


def _gain(winner: Any, baseline: Any, runs: pd.DataFrame) -> dict[str, Any]:
    if baseline is None:
        return {"baseline": "", "baseline_edge": ""}
    base = of_strategy(runs, baseline)
    scores = by_seed(base, "score"), by_seed(of_strategy(runs, winner), "score")
    gain = compare(*paired(*scores), margin=margin(runs), statistic=iqm, is_deterministic=is_deterministic(runs))
    return {
        "baseline": baseline.strategy,
        "baseline_lr": baseline.best_lr,
        "baseline_edge": baseline.edge,
        "baseline_quality": iqm(base.quality),
        "gain": gain.effect.value,
        "gain_low": gain.effect.low,
        "gain_high": gain.effect.high,
        "gain_p": math.nan if baseline.strategy == winner.strategy else gain.p,
    }
