"""Which runs can be members of a population, and of the same one."""

from functools import cache
from typing import Any

import torch
from torch import nn

from lrbench.config.run import Choice, Run
from lrbench.strategies import Pacer, Timing, built
from lrbench.train.rules import RULES
from lrbench.train.stackable import unlike_alone
from lrbench.workloads import WORKLOADS


def alone(run: Run) -> str | None:
    """Why a run must be trained by the reference trainer, or None if it can be a member of a population."""
    if run.optimizer.name not in RULES:
        return f"{run.optimizer.name} has no stacked update rule"
    if run.precision not in ("fp32", "fp64"):
        return f"{run.precision} is trained one by one"
    if reason := _more_than_lr(run):
        return f"{run.schedule.label} {reason}"
    if run.workload.name in WORKLOADS and not WORKLOADS[run.workload.name].stacks:
        return f"{run.workload.label} has a model that cannot be stacked"
    if reason := unlike_alone(run):
        return f"{run.workload.label} {reason}"
    return None


def shared(run: Run) -> tuple[Any, ...]:
    """What the members of one population have in common."""
    return (run.workload.name, run.batch_size, run.accumulate, run.precision, run.steps, run.eval_every)


def _more_than_lr(run: Run) -> str | None:
    """What a schedule does that update rules would not notice: a built-in one says so in its settings, a plug-in's is tried."""
    schedule, optimizer = run.schedule, run.optimizer
    if not schedule.is_plugin:
        return (
            "changes more than the lr"
            if schedule.settings.get("cycle_momentum") or schedule.settings.get("others")
            else None
        )
    return _tried(schedule.model_dump_json(), optimizer.model_dump_json(), run.steps, run.eval_every)


@cache
def _tried(schedule: str, optimizer: str, steps: int, eval_every: int) -> str | None:
    """What came of stepping a schedule through a budget, over the groups of an optimizer that has nothing to train.

    Every epoch is taken to be one step long, so that a schedule that counts epochs comes at least as far as it will.
    """
    try:
        idle = built(Choice.model_validate_json(optimizer), [{"params": [nn.Parameter(torch.zeros(1, 1))]}], 1.0)
        [group] = idle.param_groups
        before = {name: value for name, value in group.items() if name not in ("params", "lr")}
        pacer = Pacer(Choice.model_validate_json(schedule), idle, Timing(steps, 1, eval_every))
        for done in range(1, steps + 1):
            if changed := [name for name, value in before.items() if group[name] != value]:
                return f"changes more than the lr: {', '.join(changed)}"
            idle.step()
            pacer.after_step(done)
            if done % eval_every == 0:
                pacer.after_evaluation(1.0, 1.0)
    except Exception as error:  # noqa: BLE001 - a plug-in may fail in any way; trained alone, the run says how
        return f"failed when tried: {type(error).__name__}"
    return None
