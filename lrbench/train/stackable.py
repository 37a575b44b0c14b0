"""Whether models that lrbench does not know train in a population as they do alone: tried once, for a few steps."""

from functools import cache
from typing import Any

import numpy as np
import torch

from lrbench.config.faults import told
from lrbench.config.run import Choice, Run
from lrbench.strategies import LAYER_LRS, OPTIMIZERS, SCHEDULES
from lrbench.train.data import data_for
from lrbench.train.faster import Differs, compare
from lrbench.train.model_state import attributes
from lrbench.train.population import Population
from lrbench.train.reference import Training
from lrbench.train.seeds import own_generators
from lrbench.workloads import WORKLOADS, describe

STEPS, EVAL_EVERY, LR = 4, 2, 1e-2
CPU = torch.device("cpu")
FAILS = "fails when it is tried"


def unlike_alone(run: Run) -> str | None:
    """Why the models of a run's workload cannot be trained together, or None. Those of lrbench itself can be, as its tests show."""
    if not run.workload.is_plugin or run.workload.name not in WORKLOADS:
        return None
    trial = run.but(
        optimizer=_choice("sgd", OPTIMIZERS, momentum=0.9, weight_decay=0.1),
        layer_lr=_choice("uniform", LAYER_LRS),
        schedule=_choice("constant", SCHEDULES),
        lr=LR, steps=STEPS, eval_every=EVAL_EVERY, seed=0, precision="fp64",
    )  # fmt: skip
    found = _tried(
        trial.model_dump_json()
    )  # in float64, where a difference shows, unless the model is made for float32
    return _tried(trial.but(precision=run.precision).model_dump_json()) if found == FAILS else found


def _choice(name: str, catalog: Any, **settings: Any) -> Choice:
    entry = catalog[name]
    return Choice(name=name, revision=entry.revision, settings=entry.settings(**settings).resolved(), label=name)


@cache
def _tried(trial: str) -> str | None:
    run = Run.model_validate_json(trial)
    try:
        alone = [_begun(run.but(seed=seed)) for seed in (0, 1)]
        params = describe(alone[0].workload, alone[0].model)
        if special := [p.name for p in params if p.is_sparse or p.is_complex]:
            return f"has gradients that cannot be stacked: those of {special[0]!r} are sparse or complex"
        for training in alone:
            _train(training)
    except Exception:  # noqa: BLE001 - its runs will say how
        return FAILS
    if attributes(alone[0].model) != alone[0].untrained:
        return "keeps a state outside of its parameters and buffers"
    try:
        _compare(run, alone)
    except Differs as found:
        return f"trains otherwise when stacked: {found}"
    except Exception as error:  # noqa: BLE001 - vmap cannot do everything
        return f"cannot be stacked: {told(error)}"
    return None


def _begun(run: Run) -> Training:
    with own_generators(CPU):
        return Training(run, WORKLOADS[run.workload.name], data_for(run, CPU), CPU)


def _train(training: Training) -> None:
    with own_generators(CPU):
        training.evaluate()
        for _ in range(STEPS // EVAL_EVERY):
            training.advance(EVAL_EVERY)


def _compare(run: Run, alone: list[Training]) -> None:
    """Train the same runs together, and hold weights, buffers, losses and evaluations to those of the runs alone.

    Raises: Differs; whatever stacking the model raises.
    """
    workload, data = WORKLOADS[run.workload.name], data_for(run, CPU)
    population = Population([each.run for each in alone], workload, data, CPU)
    before = {name: value.clone() for name, value in population.slots.moving.items()}
    for _ in range(STEPS // EVAL_EVERY):
        population.advance(EVAL_EVERY)
    rows = [next(i for i, m in enumerate(population.members) if m and m.run.key == each.run.key) for each in alone]
    tensors = [dict(each.model.named_parameters()) | dict(each.model.named_buffers()) for each in alone]
    for name in (*population.slots.params, *population.slots.buffers):
        expected = torch.stack([of_each[name].detach() for of_each in tensors])
        compare([(name, population.slots.moving[name][rows], expected, before[name][rows])])
    for name in ("loss", "evaluations"):
        found = torch.from_numpy(getattr(population.record, name)[rows]).flatten(1).float()
        expected = torch.from_numpy(np.concatenate([getattr(each.record, name) for each in alone])).flatten(1).float()
        compare([(name, found, expected, torch.zeros_like(expected))])
