"""What would be done: the runs that are missing, those that cannot be and why, those that are stored."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import pandas as pd
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from lrbench.config.faults import BadInput, message_of
from lrbench.config.matrix import Matrix
from lrbench.config.metric import usual_unit
from lrbench.config.param import Param
from lrbench.config.run import Choice, Run
from lrbench.plan.expand import expand
from lrbench.plan.vocabulary import vocabulary
from lrbench.strategies import LAYER_LRS, OPTIMIZERS, SCHEDULES, Pacer, Timing, impossible
from lrbench.strategies.combine import DeadPattern
from lrbench.strategies.schedules import stand_in
from lrbench.workloads import WORKLOADS, Unavailable, Workload, describe, make_model


@dataclass(frozen=True)
class Skip:
    """A run that cannot be, and why."""

    run: Run
    reason: str


@dataclass(frozen=True)
class Plan:
    """The runs of a matrix, sorted into what is to be done, what cannot be, and what is stored."""

    matrix: Matrix
    possible: tuple[Run, ...]
    skips: tuple[Skip, ...]
    stored: frozenset[str]

    @property
    def missing(self) -> tuple[Run, ...]:
        """The possible runs that are not stored yet."""
        return tuple(run for run in self.possible if run.key not in self.stored)

    def skip(self, why: Callable[[Run], str | None]) -> "Plan":
        """The plan without the missing runs for which there is a reason to skip them."""
        lost = [Skip(run, reason) for run in self.missing if (reason := why(run))]
        left_out = {skip.run.key for skip in lost}
        kept = tuple(run for run in self.possible if run.key not in left_out)
        return Plan(self.matrix, kept, (*self.skips, *lost), self.stored)

    def skipped(self) -> pd.DataFrame:
        """One row per skipped run, as ``skipped.csv``."""
        columns = ["key", "workload", "optimizer", "layer_lr", "schedule", "lr", "seed", "reason"]
        rows = [
            (
                s.run.key,
                s.run.workload.label,
                s.run.optimizer.label,
                s.run.layer_lr.label,
                s.run.schedule.label,
                s.run.lr,
                s.run.seed,
                s.reason,
            )
            for s in self.skips
        ]
        return pd.DataFrame(rows, columns=columns).sort_values(columns[1:], ignore_index=True)

    def facts(self) -> dict[str, Any]:
        """``study.toml``: the resolved matrix, and what a report must know of each choice."""
        runs = [*self.possible, *(s.run for s in self.skips)]
        one_of_each = {run.workload.label: run for run in reversed(runs)}
        return {
            "matrix": {
                "name": self.matrix.name,
                "runs": len(self.possible),
                "seeds": sorted({run.seed for run in runs}),
            },
            "workloads": {
                label: _workload_facts(WORKLOADS[run.workload.name], run) for label, run in one_of_each.items()
            },
            "optimizers": _choices(runs, "optimizer", OPTIMIZERS),
            "layer_lrs": _choices(runs, "layer_lr", LAYER_LRS),
            "schedules": _choices(runs, "schedule", SCHEDULES),
        }


def make_plan(matrix: Matrix, stored: Iterable[str] = ()) -> Plan:
    """Sort the runs of a matrix. What is stored stays, whatever is missing by now. Loads no data, and writes nothing.

    Raises: BadInput when a target is no value of its metric, a layer-lr pattern matches nothing in any of its
    workloads, or a workload's model and layers disagree.
    """
    _refuse_targets_out_of_reach(matrix)
    possible, skips, known = [], [], frozenset(stored)
    reasons: dict[str, str | None] = {}
    for run in expand(matrix, vocabulary()):
        name = run.workload.name
        if name not in reasons:
            reasons[name] = WORKLOADS[name].missing() or _unbuilt(WORKLOADS[name])
        stays = run.key in known
        reason = (
            None
            if stays
            else reasons[name] or _too_large(run) or impossible(run, params_of(WORKLOADS[name])) or _unfit(run)
        )
        if reason:
            skips.append(Skip(run, reason))
        else:
            possible.append(run)
    _refuse_dead_patterns(possible, skips)
    return Plan(matrix, tuple(possible), tuple(skips), known)


@cache
def params_of(workload: Workload) -> tuple[Param, ...]:
    """The descriptions of a workload's parameters, from a model that is really built, as its runs will build it.

    Only where that would fetch or make weights is it built on the meta device, if it can be.

    Raises: BadInput when its model and its layers disagree; whatever building the model raises.
    """
    model = None if workload.prepared() else _without_values(workload)
    with torch.random.fork_rng(devices=[]):
        model = model or make_model(workload, lambda: workload.data().train.x[:2])
    try:
        return describe(workload, model)
    except ValueError as error:
        raise BadInput(str(error)) from error


def _without_values(workload: Workload) -> nn.Module | None:
    """The model on the meta device; None where its constructor needs values, or its shapes are open."""
    try:
        with torch.device("meta"):
            model = workload.model()
    except Exception:  # noqa: BLE001 - such as .item(): it is then built as its runs will build it
        return None
    return None if any(map(is_lazy, model.parameters())) else model


def _unbuilt(workload: Workload) -> str | None:
    """Why a workload's model cannot be built here."""
    try:
        params_of(workload)
    except BadInput:
        raise
    except Unavailable as reason:
        return str(reason)
    except Exception as error:  # noqa: BLE001 - a model may fail in any way, and other workloads go on
        return f"its model cannot be built: {message_of(error)}"
    return None


def _too_large(run: Run) -> str | None:
    take, have = run.batch_size * run.accumulate, WORKLOADS[run.workload.name].examples[0]
    return (
        f"batch_size {run.batch_size} x accumulate {run.accumulate} exceeds the {have} training examples"
        if take > have
        else None
    )


def _unfit(run: Run) -> str | None:
    """Why a schedule's own class refuses this length of training."""
    per_epoch = WORKLOADS[run.workload.name].examples[0] // (run.batch_size * run.accumulate)
    timing = Timing(run.steps, per_epoch, run.eval_every)
    reason = _refusal(run.schedule.model_dump_json(), run.optimizer.model_dump_json(), timing)
    return reason and f"{run.schedule.label}: {reason}"


@cache
def _refusal(schedule: str, optimizer: str, timing: Timing) -> str | None:
    settings = Choice.model_validate_json(optimizer).settings
    try:
        Pacer(
            Choice.model_validate_json(schedule),
            stand_in([1.0], {k: v for k, v in settings.items() if isinstance(v, float)}),
            timing,
        )
    except ZeroDivisionError:
        return f"cannot be stretched over {timing.steps} steps"
    except ValueError as error:
        return str(error)
    except Exception:  # noqa: BLE001 - not a matter of settings: the run will crash, and its outcome says how
        return None
    return None


def _refuse_targets_out_of_reach(matrix: Matrix) -> None:
    faults = []
    for name, budget in matrix.budget.items():
        (low, high), metric = WORKLOADS[name].metric.limits, WORKLOADS[name].metric.name
        if budget.target is not None and not low <= budget.target <= high:
            percent = (
                f" Did you mean {budget.target / 100:g}?"
                if (low, high) == (0.0, 1.0) and 1.0 < budget.target <= 100.0
                else ""
            )
            faults.append(
                f"budget.{name}.target: {metric} lies from {low:g} to {high:g}, got {budget.target:g}.{percent}"
            )
    if faults:
        raise BadInput(faults)


def _refuse_dead_patterns(possible: list[Run], skips: list[Skip]) -> None:
    unmatched = [skip for skip in skips if isinstance(skip.reason, DeadPattern)]
    others = [*possible, *(skip.run for skip in skips if not isinstance(skip.reason, DeadPattern))]
    alive = {run.layer_lr.label for run in others}
    dead = {skip.run.layer_lr.label: skip.reason for skip in unmatched if skip.run.layer_lr.label not in alive}
    if dead:
        raise BadInput(f"layer_lr: {reason} No workload of the matrix fits." for reason in dead.values())


def _workload_facts(workload: Workload, run: Run) -> dict[str, Any]:
    facts: dict[str, Any] = {
        name: getattr(workload, name) for name in ("name", "meaning", "source", "licence", "target_reason")
    }
    facts |= {
        "metric": workload.metric.name,
        "metric_unit": workload.metric.unit or usual_unit(workload.metric.name),
        "higher_is_better": workload.metric.higher_is_better,
        "layers": list(workload.layers),
    }
    facts |= {"target": run.target, "steps": run.steps, "batch_size": run.batch_size, "eval_every": run.eval_every}
    facts |= {"lowest_loss": workload.lowest_loss, "metric_limits": list(workload.metric.limits)}
    facts |= {"has_known_answer": workload.has_known_answer, "cites": list(workload.cites)}
    facts |= _model_facts(params_of(workload)) if _unbuilt(workload) is None else {}
    return facts | {
        f"{part}_examples": n for part, n in zip(("train", "validation", "test"), workload.examples, strict=True)
    }


def _model_facts(params: Sequence[Param]) -> dict[str, Any]:
    """How many numbers a model has, which parameters it keeps from training itself, and which have several names."""
    frozen = [p.name for p in params if p.is_frozen]
    tied = [" = ".join([p.name, *p.tied]) for p in params if p.tied]
    sizes = {"parameters": sum(torch.Size(p.shape).numel() for p in params)}
    return sizes | ({"frozen": frozen} if frozen else {}) | ({"tied": tied} if tied else {})


def _choices(runs: list[Run], axis: str, catalog: Any) -> dict[str, Any]:
    found = {}
    for choice in (getattr(run, axis) for run in runs):
        if choice.label not in found:
            entry = catalog[choice.name]
            settings = entry.settings.neutral() | choice.settings
            found[choice.label] = entry.stored(settings) | {"settings": settings}
    return found
