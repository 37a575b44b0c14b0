"""Which runs a population can train, and which of them together.

Of what lrbench did not make, a schedule or a model, a few steps are tried first: as part of a population it must train
as it does alone.
"""

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import nn

from lrbench.config.faults import message_of
from lrbench.config.run import Choice, Run
from lrbench.strategies import LAYER_LRS, OPTIMIZERS, SCHEDULES, Pacer, Timing, built
from lrbench.train.checkpoint import attributes
from lrbench.train.data import data_for
from lrbench.train.faster import Differs, compare
from lrbench.train.population import Population
from lrbench.train.reference import Training
from lrbench.train.rules import RULES
from lrbench.train.seeds import own_generators
from lrbench.workloads import WORKLOADS, describe

STEPS, EVAL_EVERY, LR = 4, 2, 1e-2
"""The length and the lr of a trial."""
CPU = torch.device("cpu")
FAILS = "fails when it is tried"


def alone(run: Run) -> str | None:
    """Why only the reference trainer can train a run, or None if a population can."""
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


# ---- trials of a schedule


def _more_than_lr(run: Run) -> str | None:
    """What a schedule changes besides the lr, which update rules would not notice. A plug-in's schedule is tried."""
    schedule, optimizer = run.schedule, run.optimizer
    if schedule.is_plugin:
        return _try_schedule(schedule.model_dump_json(), optimizer.model_dump_json(), run.steps, run.eval_every)
    others = schedule.settings.get("cycle_momentum") or schedule.settings.get("others")
    return "changes more than the lr" if others else None


@cache
def _try_schedule(schedule: str, optimizer: str, steps: int, eval_every: int) -> str | None:
    """Step a schedule through a budget, over an optimizer with nothing to train. Returns: what is wrong with it.

    Every epoch is one step long, so that a schedule that counts epochs comes at least as far as in a training.
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


# ---- trials of a model


def unlike_alone(run: Run) -> str | None:
    """Why the models of a plug-in's workload cannot be trained together, or None. Tests check lrbench's own ones."""
    if not run.workload.is_plugin or run.workload.name not in WORKLOADS:
        return None
    trial = run.but(
        optimizer=_choice("sgd", OPTIMIZERS, momentum=0.9, weight_decay=0.1),
        layer_lr=_choice("uniform", LAYER_LRS),
        schedule=_choice("constant", SCHEDULES),
        lr=LR, steps=STEPS, eval_every=EVAL_EVERY, seed=0, precision="fp64",
    )  # fmt: skip
    reason = _try_model(trial.model_dump_json())  # differences show in float64, but a model may need float32
    return _try_model(trial.but(precision=run.precision).model_dump_json()) if reason == FAILS else reason


def _choice(name: str, catalog: Any, **settings: Any) -> Choice:
    entry = catalog[name]
    return Choice(name=name, revision=entry.revision, settings=entry.settings(**settings).resolved(), label=name)


@cache
def _try_model(trial: str) -> str | None:
    """Train a run with two seeds, alone and together. Returns: what differs."""
    run = Run.model_validate_json(trial)
    workload = WORKLOADS[run.workload.name]
    try:
        data = data_for(run, CPU)
        with own_generators(CPU):
            each = [Training(run.but(seed=seed), workload, data, CPU) for seed in (0, 1)]
        params = describe(workload, each[0].model)
        if special := [p.name for p in params if p.is_sparse or p.is_complex]:
            return f"has gradients that cannot be stacked: those of {special[0]!r} are sparse or complex"
        for training in each:
            with own_generators(CPU):
                training.evaluate()
                for _ in range(STEPS // EVAL_EVERY):
                    training.advance(EVAL_EVERY)
    except Exception:  # noqa: BLE001 - its runs will say how
        return FAILS
    if attributes(each[0].model) != each[0].untrained:
        return "keeps a state outside of its parameters and buffers"
    try:
        _compare(each, Population([training.run for training in each], workload, data, CPU))
    except Differs as difference:
        return f"trains otherwise when stacked: {difference}"
    except Exception as error:  # noqa: BLE001 - vmap cannot do everything
        return f"cannot be stacked: {message_of(error)}"
    return None


def _compare(alone: list[Training], population: Population) -> None:
    """Train a population, and hold weights, buffers, losses and evaluations to those of its runs trained alone.

    Raises: Differs; whatever stacking the model raises.
    """
    before = {name: value.clone() for name, value in population.slots.moving.items()}
    for _ in range(STEPS // EVAL_EVERY):
        population.advance(EVAL_EVERY)
    rows = [next(i for i, m in enumerate(population.members) if m and m.run.key == each.run.key) for each in alone]
    tensors = [dict(each.model.named_parameters()) | dict(each.model.named_buffers()) for each in alone]
    for name in (*population.slots.params, *population.slots.buffers):
        expected = torch.stack([of_each[name].detach() for of_each in tensors])
        compare([(name, population.slots.moving[name][rows], expected, before[name][rows])])
    for name in ("loss", "evaluations"):
        actual = torch.from_numpy(getattr(population.record, name)[rows]).flatten(1).float()
        expected = torch.from_numpy(np.concatenate([getattr(each.record, name) for each in alone])).flatten(1).float()
        compare([(name, actual, expected, torch.zeros_like(expected))])
