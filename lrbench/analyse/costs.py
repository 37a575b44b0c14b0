"""What a step costs, and what that makes of steps to target: time and energy.

A strategy's step cost is a number, or several where its policy unfreezes layers: each holds from a step on. The cost of
k steps is the sum over them.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lrbench.analyse.frames import AXES, STRATEGY, groups, rows, strategy
from lrbench.analyse.tables import median_steps
from lrbench.config.cost import Costs, StepCost
from lrbench.stats.estimates import Interval, median_interval
from lrbench.store import Study

CONDITIONS = ["batch_size", "accumulate", "precision"]
"""What a step depends on besides the workload and the strategy."""
CASE = [*STRATEGY, *CONDITIONS, "implementation", "grouping", "compiled", "from_step"]
"""The columns that name a case: two machines measured the same one if they agree."""
NUMBERS = [f.name for f in fields(StepCost) if f.type in (float | None, int | None)]
"""The measured columns of ``step_costs``: floats, NaN where a number could not be had."""
UNMEASURED = "no step cost was measured for it"
VARIES = "its steps cost more or less as training goes on"

Floats = NDArray[np.floating[Any]]
Conditions = tuple[Any, ...]
"""Batch size, accumulation and precision."""
Stages = dict[str, list[StepCost]]
"""The step costs of one strategy by device, in the order of the steps from which they hold."""
Measure = Callable[[StepCost], float | None]


def step_costs(costs: Costs) -> pd.DataFrame:
    """One row per case, measured or failed, in order of its names and then the device; columns: the fields of ``StepCost``.

    Numbers that could not be had are NaN; ``strategies`` and ``noise`` stay tuples.
    """
    names = [f.name for f in fields(StepCost)]
    table = pd.DataFrame([{name: getattr(cost, name) for name in names} for cost in costs.costs], columns=names)
    return table.astype(dict.fromkeys(NUMBERS, "float64")).sort_values([*CASE, "device"], ignore_index=True)


def seconds_after(stages: Sequence[StepCost], steps: float) -> float:
    """Seconds of the first ``steps`` training steps of one strategy on one device, evaluations not counted.

    Args: stages: its step costs, one for each step from which another one holds. steps: may be infinite, and so are the
    seconds then.
    Returns: the integral of the step cost over the steps; NaN where a stage that is needed was not measured, or its
    cost varies.
    """
    return _after(stages, steps, lambda cost: None if cost.varies else cost.seconds)


def joules_after(stages: Sequence[StepCost], steps: float) -> float:
    """Joules of the first ``steps`` training steps, as ``seconds_after`` counts seconds."""
    return _after(stages, steps, lambda cost: None if cost.varies else cost.joules)


def _after(stages: Sequence[StepCost], steps: float, measure: Measure) -> float:
    ordered = sorted(stages, key=lambda cost: cost.from_step)
    if not ordered or ordered[0].from_step > 0:
        return math.nan
    starts = [float(cost.from_step) for cost in ordered]
    spans = [max(0.0, min(steps, end) - start) for start, end in zip(starts, [*starts[1:], math.inf], strict=True)]
    return math.fsum(span * _number(measure(cost)) for span, cost in zip(spans, ordered, strict=True) if span > 0.0)


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def stages_of(costs: Costs) -> dict[tuple[Any, ...], Stages]:
    """The step costs of every strategy, by workload, the three axes of the strategy, batch size, accumulation and precision.

    Only steps as a run does them count: the optimizer's own implementation, the policy's own groups, not compiled. A
    case stands for all of its ``strategies``.
    """
    found: dict[tuple[Any, ...], dict[str, dict[int, StepCost]]] = {}
    for cost in sorted(filter(_as_trained, costs.costs), key=lambda cost: (not cost.measured, repr(cost))):
        for axes in cost.strategies:
            where = (cost.workload, *axes, *(getattr(cost, name) for name in CONDITIONS))
            found.setdefault(where, {}).setdefault(cost.device, {}).setdefault(cost.from_step, cost)
    return {
        where: {device: [by_step[step] for step in sorted(by_step)] for device, by_step in sorted(devices.items())}
        for where, devices in found.items()
    }


def _as_trained(cost: StepCost) -> bool:
    return cost.implementation == "default" and cost.grouping == "policy" and not cost.compiled


TIME_TO_TARGET = [
    *STRATEGY, "strategy", "lr", "seeds", "reached", "steps", "step_seconds", "seconds", "seconds_low", "seconds_high", "step_joules",
    "joules", "joules_low", "joules_high", "reason", "joules_reason", "devices", "keys",
]  # fmt: skip


def time_to_target(best: pd.DataFrame, costs: Costs) -> pd.DataFrame:
    """Training time and energy until the target, per workload and strategy: each seed's steps to target x what those steps cost.

    Args: best: the runs of each strategy at one lr, from ``per_run``; see ``at_best_lr``.
    Returns: one row each, in order of names. ``steps`` is the median over seeds, NaN when half or more never reach the
    target; ``seconds`` and ``joules`` likewise, but infinite then, and NaN only where a cost is not known (``reason``,
    ``joules_reason`` say why). A seed that never reaches the target counts as infinite and is never dropped. The bounds
    of ``seconds`` run from the lower bound of a bootstrap 95 % interval over seeds at the first quartile of the step
    time to the upper one at the third, so they cover the seeds and the clock; those of ``joules`` cover the seeds.
    ``step_seconds`` and ``step_joules`` are means over the whole budget. Where several devices of the machine were
    measured, the median over them counts.
    """
    known = stages_of(costs)
    found = [dict(zip(STRATEGY, names, strict=True)) | _until(part, known) for names, part in groups(best, STRATEGY)]
    return pd.DataFrame(found, columns=TIME_TO_TARGET)


def _until(runs: pd.DataFrame, known: dict[tuple[Any, ...], Stages]) -> dict[str, Any]:
    runs = runs.sort_values(["seed", "key"])
    first = runs.iloc[0]
    steps_S = runs.steps_to_target.fillna(math.inf).to_numpy(float)
    measured = _measured_for(first, known)
    devices = _steady(measured)
    budget = float(first.budget)

    def over_seeds(measure: Measure) -> Floats:
        return np.array([_median_after(devices, steps, measure) for steps in steps_S])

    seconds, joules = over_seeds(lambda c: c.seconds), over_seeds(lambda c: c.joules)
    quick, slow = over_seeds(lambda c: c.seconds_low or c.seconds), over_seeds(lambda c: c.seconds_high or c.seconds)
    spread = _interval(joules)
    return {
        "strategy": strategy(first),
        "lr": first.lr,
        "seeds": runs.seed.nunique(),
        "reached": int(runs.reached.sum()),
        "steps": median_steps(runs.steps_to_target),
        "step_seconds": _median_after(devices, budget, lambda c: c.seconds) / budget,
        "seconds": float(np.median(seconds)),
        "seconds_low": _interval(quick).low,
        "seconds_high": _interval(slow).high,
        "step_joules": _median_after(devices, budget, lambda c: c.joules) / budget,
        "joules": float(np.median(joules)),
        "joules_low": spread.low,
        "joules_high": spread.high,
        "reason": VARIES
        if measured and not devices
        else _reasons((c.reason for part in devices.values() for c in part), devices),
        "joules_reason": _reasons(
            (c.reason or c.joules_reason for part in devices.values() for c in part if c.joules is None), devices
        ),
        "devices": " ".join(devices),
        "keys": " ".join(runs.key),
    }


def _measured_for(run: Any, known: dict[tuple[Any, ...], Stages]) -> Stages:
    """The step costs of a run's strategy under its conditions."""
    return known.get(
        (run.base, *(getattr(run, axis) for axis in AXES), *(getattr(run, name) for name in CONDITIONS)), {}
    )


def _steady(measured: Stages) -> Stages:
    """Those of devices where no step costs more or less as training goes on."""
    return {device: part for device, part in measured.items() if not any(cost.varies for cost in part)}


def seconds_of_runs(best: pd.DataFrame, costs: Costs) -> "pd.Series[float]":
    """Training seconds until the target of each run, by its index: its steps to target x what those steps cost, as in ``time_to_target``.

    Infinite where the target is never reached, NaN where the cost is not known, whether it is reached or not.
    """
    known = stages_of(costs)
    seconds = [
        _median_after(_steady(_measured_for(run, known)), math.inf if math.isnan(hit) else hit, lambda c: c.seconds)
        for run, hit in zip(rows(best), best.steps_to_target, strict=True)
    ]
    return pd.Series(seconds, best.index, dtype=float)


def _median_after(devices: Stages, steps: float, measure: Measure) -> float:
    """The median over devices of what the first steps cost on each; NaN without any device that knows it."""
    known = [cost for part in devices.values() if not math.isnan(cost := _after(part, steps, measure))]
    return float(np.median(known)) if known else math.nan


def _interval(value_S: Floats) -> Interval:
    return median_interval(value_S, np.random.default_rng(0))


def _reasons(reasons: Iterable[str], devices: Stages) -> str:
    return "; ".join(sorted(set(filter(None, reasons)))) if devices else UNMEASURED


PREDICTED = [
    "key",
    "device",
    *STRATEGY,
    "steps",
    "seconds",
    "predicted",
    "ratio",
    "joules",
    "joules_predicted",
    "joules_ratio",
]


def predicted(study: Study) -> pd.DataFrame:
    """Each run that was timed whole beside what its step costs predict, in order of strategy and key.

    ``ratio`` is actual / predicted, 1 where the step cost tells all; NaN where the step cost, or the conditions of the
    run, are not known.
    """
    known = stages_of(study.costs)
    conditions = {
        row.key: tuple(getattr(row, name) for name in CONDITIONS) for row in rows(study.runs[["key", *CONDITIONS]])
    }
    found = []
    for run in study.costs.timed:
        axes = tuple(getattr(run, axis) for axis in STRATEGY)
        stages = known.get((*axes, *(conditions.get(run.key) or _only_conditions(axes, known))), {}).get(run.device, [])
        seconds, joules = seconds_after(stages, run.steps), joules_after(stages, run.steps)
        found.append(
            {name: getattr(run, name) for name in ("key", "device", *STRATEGY, "steps", "seconds")}
            | {"predicted": seconds, "ratio": run.seconds / seconds}
            | {"joules": _number(run.joules), "joules_predicted": joules, "joules_ratio": _number(run.joules) / joules}
        )
    return pd.DataFrame(found, columns=PREDICTED).sort_values([*STRATEGY, "key", "device"], ignore_index=True)


def _only_conditions(axes: tuple[str, ...], known: Iterable[tuple[Any, ...]]) -> Conditions:
    """The conditions under which a strategy was measured, where there is one set of them only."""
    found = {where[len(axes) :] for where in known if where[: len(axes)] == axes}
    return found.pop() if len(found) == 1 else ()


PLAIN = {"implementation": "for-loop", "grouping": "one", "precision": "fp32", "compiled": False}
"""What the other values of each property are compared with."""
UNIFORM = "uniform"
"""The policy that the steps of all other policies are compared with."""
CONTRAST = ["property", "base", "value", *CASE, "device", "base_groups", "groups", "base_seconds", "seconds", "ratio"]


def contrasts(costs: Costs) -> pd.DataFrame:
    """Every measured case beside the one that differs from it in one property only; ``ratio`` is its step time / that one's.

    Properties: implementation (against for-loop), number of groups (against one), precision (against fp32), compilation
    (against none), and ``layer_lr``: the step of a strategy against that of the same one with the policy ``uniform``. A
    policy with one group stands for one group where that was not measured besides, for their steps are the same.
    """
    cases = step_costs(costs)
    cases = cases[cases.seconds > 0.0]
    one = pd.concat([cases[cases.grouping == "one"], cases[(cases.grouping == "policy") & (cases.groups == 1)]])
    cut = cases[~cases.grouping.isin(["policy", "one"])]
    whole = cases[cases.strategies.map(len) > 0]
    uniform = np.array([any(policy == UNIFORM for _, policy, _ in names) for names in whole.strategies], bool)
    parts = [
        _beside(whole[~uniform], whole[uniform], "layer_lr", UNIFORM),
        _beside(cut, one, "grouping", "one"),
        *(
            _beside(cases[cases[name] != PLAIN[name]], cases[cases[name] == PLAIN[name]], name, PLAIN[name])
            for name in _OTHERS
        ),
    ]
    return pd.concat(parts, ignore_index=True)[CONTRAST].sort_values(
        ["property", "value", *CASE, "device"], ignore_index=True
    )


_OTHERS = ("implementation", "precision", "compiled")


def _beside(cases: pd.DataFrame, plain: pd.DataFrame, name: str, base: object) -> pd.DataFrame:
    """Each case with the plain one that agrees with it in all but one property; those without one are left out."""
    free = {name, "from_step"} if name == "layer_lr" else {name}
    agree = [column for column in [*CASE, "device"] if column not in free]
    others = plain[[*agree, "groups", "seconds"]].rename(columns={"groups": "base_groups", "seconds": "base_seconds"})
    found = cases.merge(others.drop_duplicates(agree), on=agree)
    return found.assign(
        property=name, base=str(base), value=found[name].astype(str), ratio=found.seconds / found.base_seconds
    )
