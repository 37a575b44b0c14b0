"""From curves to scores: times to target of trials, studies and strategies, and what follows from them."""

from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lrbench.analyse.frames import groups
from lrbench.config.targets import Target, Targets
from lrbench.stats import score as profiles
from lrbench.stats.score import Floats, Ints
from lrbench.stats.significance import target_test
from lrbench.store.curves import Curves

STUDY = ["workload", "strategy", "study"]


@dataclass(frozen=True)
class Standings:
    """The times to target of S strategies on W workloads over up to K studies, and the scores made of them.

    ``times``, ``[W, S, K]``, is infinite where a study never reaches the target, NaN where there is no such study.
    Workloads and strategies are in order of their names; ``base_W`` is as in ``profiles``; ``measure`` is what the
    times are, ``seconds`` or ``steps``.
    """

    workloads: tuple[str, ...]
    strategies: tuple[str, ...]
    base_W: Ints
    times: Floats
    tau_max: float
    measure: str = "seconds"

    @cached_property
    def time_WS(self) -> Floats:
        """Medians over studies."""
        return profiles.median_over_studies(self.times)

    @cached_property
    def paced_WS(self) -> Floats:
        """Those within ``tau_max`` times the fastest; infinite where a strategy is out by itself."""
        return profiles.paced(self.time_WS, self.base_W, self.tau_max)

    @cached_property
    def qualified_WS(self) -> Floats:
        """Those that count: infinite where a strategy failed by the rule."""
        return profiles.qualified(self.time_WS, self.base_W, self.tau_max)

    @cached_property
    def ratio_BS(self) -> Floats:
        """On the base workloads, over the fastest."""
        return profiles.ratios(profiles.bases(self.qualified_WS, self.base_W))

    @cached_property
    def score_S(self) -> Floats:
        """The scores, in [0, 1]."""
        return profiles.area(self.ratio_BS, self.tau_max)

    @cached_property
    def bounds(self) -> profiles.Bounds:
        """Bootstrap ranges of the scores over studies (no 95 % intervals, see there); the same data give the same bounds."""
        return profiles.score_bounds(self.times, self.base_W, self.tau_max, np.random.default_rng(0))

    @property
    def order(self) -> list[int]:
        """The strategies, best score first, then by name."""
        return sorted(range(len(self.strategies)), key=lambda s: (-self.score_S[s], self.strategies[s]))

    @property
    def base_names(self) -> list[str]:
        """The workloads that are not variants."""
        return [name for w, name in enumerate(self.workloads) if self.base_W[w] == w]

    def speedup(self, strategy: str, baseline: str) -> profiles.Speedup:
        """How many times as fast a strategy is as another, by the medians on the base workloads."""
        time_BS = profiles.bases(self.time_WS, self.base_W)
        return profiles.speedup(
            time_BS[:, self.strategies.index(strategy)], time_BS[:, self.strategies.index(baseline)]
        )


def per_trial(curves: Curves, targets: Targets) -> pd.DataFrame:
    """What each trial reached, one row each in the order of ``curves.trials``.

    Columns, besides those of the trial: reached; evaluations, steps, seconds: until the first evaluation that is at
    least as good as the target, NaN without one; best, final: values of the metric, NaN where there is no number
    (``final`` where the last one is none); stopped: see ``_stopped``. An evaluation that is not finite meets no target.
    """
    trials, rows = curves.trials, curves.evaluations
    sign, goal = _signs(trials, targets), _goals(trials, targets)
    trial = rows.trial.to_numpy()
    value = np.where(np.isfinite(rows.value), rows.value, np.nan)
    met = np.flatnonzero(sign[trial] * value >= sign[trial] * goal[trial])
    reached, first = np.unique(trial[met], return_index=True)
    first = met[first]
    logged, start = np.unique(trial, return_index=True)
    begin = np.zeros(len(trials), np.int64)
    begin[logged] = start
    best = sign[logged] * np.fmax.reduceat(sign[trial] * value, start) if len(rows) else np.empty(0)
    place = partial(_placed, size=len(trials))
    last = np.append(start, len(rows))[1:] - 1
    ended_there = np.zeros(len(trials), bool)
    ended_there[reached] = first == place(logged, last)[reached]
    return trials.assign(
        stopped=_stopped(trials, ended_there, place(logged, rows.step.to_numpy()[last])),
        reached=np.isin(np.arange(len(trials)), reached),
        evaluations=place(reached, first - begin[reached] + 1.0),
        steps=place(reached, rows.step.to_numpy()[first]),
        seconds=place(reached, rows.seconds.to_numpy()[first]),
        best=place(logged, best),
        final=place(logged, value[last]),
    )


def _stopped(trials: pd.DataFrame, ended_there: NDArray[np.bool_], last_step: Floats) -> NDArray[np.bool_]:
    """Which trials ended because they met the target, as far as can be seen; their last value is then none of a given number of steps.

    That is where the last evaluation is the first that met it, unless at that step the longest of those trials of the
    strategy on the workload ended that did not end so: then it is the step where all would end. Args: ended_there:
    where the last is the first that met.
    """
    other = trials.assign(step=np.where(ended_there, np.nan, last_step))
    whole = other.groupby(["workload", "strategy"]).step.transform("max").to_numpy(np.float64)
    stopped: NDArray[np.bool_] = ended_there & (last_step != whole)
    return stopped


def _placed(at: Any, values: Any, size: int) -> Floats:
    """An array of a size with values at some places and NaN elsewhere."""
    found = np.full(size, np.nan)
    found[at] = values
    return found


def per_study(trials: pd.DataFrame, targets: Targets) -> pd.DataFrame:
    """What each study reached: one row per workload, strategy and study, in their order.

    Args: trials: what ``per_trial`` returns.
    Returns: ``seconds`` and ``steps`` of the trial that counts (see ``Targets.trial``), infinite where none reaches the
    target; ``best`` and ``final``: the best of its trials' values; ``stopped``: whether one of its trials ended because
    it met the target.
    """
    by = ["seconds", "steps"] if targets.trial == "fastest" else ["evaluations", "seconds", "steps"]
    fastest = trials.sort_values([*STUDY, *by], kind="stable").drop_duplicates(STUDY)
    sign = _signs(trials, targets)
    signed = (
        trials[STUDY].assign(best=sign * trials.best, final=sign * trials.final).groupby(STUDY)[["best", "final"]].max()
    )
    found = fastest[[*STUDY, "seconds", "steps"]].fillna({"seconds": np.inf, "steps": np.inf}).reset_index(drop=True)
    sign = _signs(found, targets)
    found = found.assign(stopped=trials.groupby(STUDY).stopped.any().to_numpy())
    return found.assign(**{name: sign * signed[name].to_numpy() for name in ("best", "final")})


def _signs(table: pd.DataFrame, targets: Targets) -> Floats:
    """1.0 for each row where a higher value is better, else -1.0."""
    return (
        table.workload.map({name: target.sign for name, target in targets.workloads.items()})
        .to_numpy()
        .astype(np.float64)
    )


def _goals(table: pd.DataFrame, targets: Targets) -> Floats:
    """The target of each row."""
    return (
        table.workload.map({name: target.target for name, target in targets.workloads.items()})
        .to_numpy()
        .astype(np.float64)
    )


def standings(studies: pd.DataFrame, targets: Targets, column: str = "seconds") -> Standings:
    """The standings of all strategies on all workloads of the targets; a workload that nobody was measured on counts as failed by all."""
    bases = {name: target.variant_of or name for name, target in targets.workloads.items()}
    return arranged(studies, bases, targets.tau_max, column)


def arranged(studies: pd.DataFrame, bases: dict[str, str], tau_max: float, column: str) -> Standings:
    """Standings from a table with one row per workload, strategy and study; ``bases`` names the base of each workload."""
    workloads, strategies = sorted(bases), sorted(studies.strategy.unique())
    w = pd.Categorical(studies.workload, workloads).codes
    s = pd.Categorical(studies.strategy, strategies).codes
    k = studies.groupby(["workload", "strategy"]).cumcount().to_numpy()
    times = np.full((len(workloads), len(strategies), int(k.max(initial=0)) + 1), np.nan)
    times[w, s, k] = studies[column].to_numpy(float)
    base_W = np.array([workloads.index(bases[name]) for name in workloads])
    return Standings(tuple(workloads), tuple(strategies), base_W, np.sort(times, axis=-1), tau_max, column)


def target_tests(studies: pd.DataFrame, targets: Targets) -> pd.DataFrame:
    """Whether the mean result over studies meets the target: one row per workload and strategy, in their order.

    Args: studies: what ``per_study`` returns.
    Returns: ``studies``, how many there are; ``stopped``, those with a trial that ended because it met the target; for
    the ``final`` and the ``best`` value of each: ``n`` that have one, mean and standard deviation; for ``final`` the
    one-sided p-value (``target_test``), NaN where a study has no value, which would have to be left out, and where one
    is ``stopped``: a training that ends when the target is met has a last value beyond it, however bad it is. For the
    same reason there is none for ``best``: the best of many noisy evaluations is beyond the mean of each.
    """
    found = [
        {"workload": workload, "strategy": strategy, "studies": len(part), "stopped": int(part.stopped.sum())}
        | _described(part.final.to_numpy(float), "final")
        | {"final_p": _p(part, targets.workloads[workload])}
        | _described(part.best.to_numpy(float), "best")
        for (workload, strategy), part in groups(studies, ["workload", "strategy"])
    ]
    return pd.DataFrame(found)


def _described(value_K: Floats, name: str) -> dict[str, Any]:
    known = np.sort(value_K[~np.isnan(value_K)])
    mean = float(known.mean()) if len(known) else np.nan
    return {
        f"{name}_n": len(known),
        f"{name}_mean": mean,
        f"{name}_sd": float(known.std(ddof=1)) if len(known) > 1 else np.nan,
    }


def _p(part: pd.DataFrame, target: Target) -> float:
    if part.stopped.any() or part.final.isna().any():
        return np.nan
    return target_test(part.final.to_numpy(float), target.target, higher_is_better=target.better == "higher").p
