"""From a study to tables: one row per run, one row per cell (workload x strategy x lr)."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from lrbench.analyse.frames import STRATEGY, arrays, by_group, groups
from lrbench.stats.curves import (
    final,
    initial,
    overfitting_gap,
    seconds_to_target,
    seed_spread,
    steps_to_target,
    value_at,
)
from lrbench.stats.estimates import Interval, iqm, seeds_intervals
from lrbench.store import Study

EARLY = 0.1
"""The share of the budget after which "early" is measured."""
EXPLOSION = 0.05
"""A loss that ends more than this share of its room above the initial one has exploded; less is the noise of an lr too
small to learn. The room is the way from the lowest possible loss to the initial one; where none is known, what the best
run of the workload gains."""
PEAK = 10.0
"""A training loss that lies so many times its room above the lowest possible one is an explosion too, even if the run
recovers."""
EASY = 1e-3
"""A first loss with less than this share of the room of the untrained one was that of an easy batch: no bound is
measured from it."""
FLOAT32 = 1e-6
"""Losses that differ by less than this share of them do so by rounding: it is some sixteen steps of float32."""
CONDITIONS = ["batch_size", "accumulate", "precision", "budget", "target"]
"""What a workload can be trained under, besides the strategy."""

PER_RUN = {
    "key": "str", "base": "str", "workload": "str", "optimizer": "str", "layer_lr": "str", "schedule": "str",
    "lr": "float64", "seed": "int64", "status": "str", "reason": "str",
    "trained": "bool", "finished": "bool", "exploded": "bool", "reached": "bool",
    "batch_size": "int64", "accumulate": "int64", "precision": "str",
    "budget": "int64", "steps": "int64", "target": "float64", "steps_to_target": "float64", "seconds_to_target": "float64",
    "val_metric": "float64", "val_loss": "float64", "train_loss": "float64", "test_metric": "float64", "test_loss": "float64",
    "first_loss": "float64", "highest_loss": "float64", "lowest_loss": "float64", "metric_low": "float64",
    "quality": "float64", "score": "float64", "untrained_score": "float64", "loss": "float64", "initial_loss": "float64",
    "early_loss": "float64", "gap": "float64", "spikes": "int64", "oscillation": "float64", "train_seconds": "float64",
    "samples_per_second": "float64",
    "higher_is_better": "bool", "plain": "bool", "starts_high": "bool", "ends_low": "bool", "default_lr": "float64",
}  # fmt: skip


def per_run(study: Study) -> pd.DataFrame:
    """The measures of each run, one row each, in order of workload, strategy, lr and seed.

    Columns, besides what the store holds:
        workload: names the conditions too where a study has several of them; ``base`` does not.
        trained, finished, exploded: did not crash; and did not diverge; diverged, ended more than 5 % of its room above
        its initial loss,
            or had a training loss at ten times its room (see ``EXPLOSION``). A constant added to the loss changes none
            of them.
        val_metric, val_loss, train_loss, gap: final values, NaN unless finished.
        quality, loss: the final validation metric and loss, *a diverged run counting as the untrained model*; ``loss``
        is never above
            the initial one. ``score`` is ``quality`` with its sign turned so that more is better; ``untrained_score``
            is that of the model before any update.
        early_loss: the validation loss after 10 % of the budget, by the same rule.
        plain: one lr for all layers and steps. starts_high: the first lr is the base lr. ends_low: finished at less
        than half of its
            highest lr.
        seconds_to_target, samples_per_second: NaN for runs trained in a population, whose clock is shared.
    """
    conditions = _condition_names(study.runs)
    records: list[Any] = study.runs.to_dict("records")
    measured = [_measure(run, study.facts) | {"workload": conditions[run["key"]]} for run in records]
    table = pd.DataFrame(measured, columns=list(PER_RUN)).astype(PER_RUN)
    table["exploded"] = _exploded(table)
    return table.sort_values([*STRATEGY, "lr", "seed", "key"], ignore_index=True)


def _condition_names(runs: pd.DataFrame) -> dict[str, str]:
    """For each run key, its workload, followed by the conditions that vary within that workload."""
    names: dict[str, str] = {}
    for (workload,), part in groups(runs, ["workload"]):
        varying = [c for c in CONDITIONS if part[c].nunique() > 1]
        for key, *values in part[["key", *varying]].itertuples(index=False):
            names[str(key)] = under(str(workload), dict(zip(varying, values, strict=True)))
    return names


def under(workload: str, conditions: Mapping[str, Any]) -> str:
    """The name of a workload under conditions that are not always the same.

    >>> under("digits-mlp", {"batch_size": 32, "precision": "bf16"}), under("digits-mlp", {})
    ('digits-mlp [batch_size=32, precision=bf16]', 'digits-mlp')
    """
    told = ", ".join(f"{c}={v:g}" if isinstance(v, int | float) else f"{c}={v}" for c, v in conditions.items())
    return f"{workload} [{told}]" if told else workload


def _measure(run: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    workload = facts["workloads"][run["workload"]]
    higher = bool(workload["higher_is_better"])
    finished = run["status"] in ("reached", "missed")
    known = {name: run[name] for name in PER_RUN if name in run}
    return (
        known
        | _quality(run, workload, finished=finished, higher_is_better=higher)
        | _speed(run, higher_is_better=higher)
        | {
            "base": run["workload"],
            "trained": run["status"] != "crashed",
            "finished": finished,
            "higher_is_better": higher,
            "lowest_loss": float(workload.get("lowest_loss", 0.0)),
            "metric_low": float(workload.get("metric_limits", [0.0])[0]),
            "first_loss": float(run["loss_at_step"][0]) if len(run["loss_at_step"]) else math.nan,
            "exploded": run["status"] == "diverged",
            "plain": facts["layer_lrs"][run["layer_lr"]]["is_uniform"]
            and facts["schedules"][run["schedule"]]["is_constant"],
            "starts_high": _first_lr(run["group_lr"]) >= 0.99 * run["lr"],
            "ends_low": finished and _ends_low(run["group_lr"]),
            "default_lr": facts["optimizers"].get(run["optimizer"], {}).get("default_lr", math.nan),
        }
    )


def _quality(
    run: dict[str, Any], workload: dict[str, Any], *, finished: bool, higher_is_better: bool
) -> dict[str, Any]:
    """How good a run ended. Where the metric is no number then, it counts as the untrained model, or as the worst that there can be."""
    start = initial(run["val_loss"])
    last = {name: final(run[name]) if finished else math.nan for name in ("val_metric", "val_loss")}
    last["train_loss"] = run["train_loss"] if finished else math.nan
    untrained = initial(run["val_metric"])
    worst = workload.get("metric_limits", [-math.inf, math.inf])[0 if higher_is_better else 1]
    quality = next((value for value in (last["val_metric"], untrained, worst) if math.isfinite(value)), math.nan)
    early = value_at(run["val_loss"], run["eval_step"], EARLY * run["budget"])
    return last | {
        "quality": quality,
        "score": quality if higher_is_better else -quality,
        "untrained_score": untrained if higher_is_better else -untrained,
        "loss": no_worse(last["val_loss"], start),
        "initial_loss": start,
        "early_loss": no_worse(early, start),
        "gap": overfitting_gap(last["val_loss"], last["train_loss"]),
    }


def _exploded(runs: pd.DataFrame) -> "pd.Series[bool]":
    """Which runs diverged, ended above their initial loss, or had a training loss far above it."""
    gained = (runs.initial_loss - runs.loss).groupby(runs.workload).transform("max")
    gained = gained.where(
        gained > 0.0, np.inf
    )  # where no run gains anything, nothing tells a small rise from a large one

    def room(start: "pd.Series[float]") -> "pd.Series[float]":
        """How far a loss could fall: to the lowest possible one; where that is unknown, as far as the best run of the workload came."""
        known: pd.Series[float] = (start - runs.lowest_loss).where(np.isfinite(runs.lowest_loss), gained)
        return known

    whole = room(runs.initial_loss)
    rose = runs.finished & ~(runs.val_loss - runs.initial_loss <= EXPLOSION * whole)
    first = runs.first_loss.where(runs.first_loss - runs.lowest_loss > EASY * whole, runs.initial_loss)
    peaked = runs.highest_loss - first > (PEAK - 1.0) * room(first)
    return runs.exploded | rose | peaked


def no_worse(loss: float, start: float) -> float:
    """A loss, or the untrained model's where that is lower or the loss is missing."""
    return min(loss, start) if math.isfinite(loss) else start


def _speed(run: dict[str, Any], *, higher_is_better: bool) -> dict[str, Any]:
    done, alone = run["steps"], run["trainer"] == "reference"
    hit = steps_to_target(run["val_metric"][1:], run["eval_step"][1:], run["target"], higher_is_better=higher_is_better)
    seconds = seconds_to_target(hit, done, run["train_seconds"])
    samples = run["batch_size"] * run["accumulate"] * done
    return {
        "steps_to_target": math.nan if hit is None else hit,
        "reached": hit is not None,
        "seconds_to_target": seconds if alone and seconds is not None else math.nan,
        "samples_per_second": samples / run["train_seconds"]
        if alone and done and run["train_seconds"] > 0
        else math.nan,
    }


def _first_lr(group_lr: Any) -> float:
    return float(np.nanmax(np.asarray(group_lr[0], float), initial=0.0)) if len(group_lr) else 0.0


def _ends_low(group_lr: Any) -> bool:
    if not len(group_lr):
        return False
    lr_E = np.fmax.reduce(np.stack(group_lr), axis=1)  # the highest of the groups; NaN where all are frozen
    lr_E = lr_E[np.isfinite(lr_E)]
    return len(lr_E) > 0 and bool(lr_E[-1] < 0.5 * lr_E.max())


def cells(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per workload, strategy and lr, aggregated over seeds: what ``summary.csv`` holds.

    Args: runs: what ``per_run`` returns.
    Returns: counts (``reached`` the target, even if it diverged afterwards); the interquartile mean over seeds of the
    final validation metric with its bootstrap 95 % interval (a diverged run counts as the untrained model); of losses
    and gap over the runs that finished; the median of steps to target, NaN when half of the runs or more never reach
    it; ``keys`` are the runs', in the order of their seeds.
    """
    parts = list(arrays(runs.sort_values("seed"), [*STRATEGY, "lr"], _OF_A_RUN))
    intervals = seeds_intervals([part["quality"][part["trained"]] for _, part in parts])
    found = [
        dict(zip([*STRATEGY, "lr"], at, strict=True)) | _cell(part, interval)
        for (at, part), interval in zip(parts, intervals, strict=True)
    ]
    return pd.DataFrame(found, columns=[*STRATEGY, "lr", *_CELL])


_STATUSES = ["missed", "diverged", "crashed"]
_MEANS = ["val_loss", "train_loss", "gap"]
_CELL = [
    "runs", "reached", *_STATUSES, "val_metric", "val_metric_low", "val_metric_high", "val_metric_spread", *_MEANS,
    "steps_to_target", "spikes", "oscillation", "keys",
]  # fmt: skip
_OF_A_RUN = ["trained", "reached", "status", "quality", *_MEANS, "steps_to_target", "spikes", "oscillation", "key"]


def _cell(runs: dict[str, NDArray[Any]], interval: Interval) -> dict[str, Any]:
    trained = {name: values[runs["trained"]] for name, values in runs.items()}
    return (
        {"runs": len(runs["key"])}
        | {"reached": int(runs["reached"].sum())}
        | {status: int((runs["status"] == status).sum()) for status in _STATUSES}
        | {"val_metric": _iqm(trained["quality"]), "val_metric_low": interval.low, "val_metric_high": interval.high}
        | {"val_metric_spread": seed_spread(trained["quality"])}
        | {name: _iqm(trained[name]) for name in _MEANS}
        | {"steps_to_target": median_steps(trained["steps_to_target"])}
        | {name: _median(trained[name]) for name in ("spikes", "oscillation")}
        | {"keys": " ".join(runs["key"])}
    )


def scale(runs: pd.DataFrame) -> float:
    """What a difference of the metric on one workload is small beside; a constant added to the metric changes it in nothing.

    Above the lowest value that the metric can have: the best metric, or the untrained one where less is better. Where
    no lowest value is known: what the best run gains over the untrained model. A run that ended worse than the
    untrained model counts as that.
    """
    best, untrained, low = (
        np.fmax(runs.score, runs.untrained_score).max(),
        runs.untrained_score.median(),
        runs.metric_low.median(),
    )
    if not np.isfinite(low):
        return float(best - untrained)
    return float(best - low if bool(runs.higher_is_better.all()) else (-runs.untrained_score - low).median())


def is_deterministic(runs: pd.DataFrame) -> bool:
    """Whether seeds change nothing in some runs, as on a fixed function: those of a cell begin, go on and end at the same losses."""
    if len(runs) < 2:
        return False
    order, starts = by_group(runs, [*STRATEGY, "lr"])
    loss = runs[["initial_loss", "early_loss", "loss"]].to_numpy(float)[order]
    again = (np.add.reduceat(~np.isnan(loss), starts, dtype=int) > 1).all(axis=1)
    low, high = (least.reduceat(loss, starts)[again] for least in (np.fmin, np.fmax))
    return len(high) > 0 and bool((high - low <= FLOAT32 * np.abs(high)).all())


def median_steps(steps_S: ArrayLike) -> float:
    """Median of steps to target, where NaN (never reached) is a value above all others; NaN when it falls among them."""
    steps = np.asarray(steps_S, float)
    median = _median(np.where(np.isnan(steps), math.inf, steps))
    return median if math.isfinite(median) else math.nan


def _median(values: NDArray[Any]) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else math.nan


def _iqm(values: NDArray[Any]) -> float:
    return float(iqm(values[~np.isnan(values)]))
