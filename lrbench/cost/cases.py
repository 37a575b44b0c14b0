"""What is to be measured for a matrix: every distinct step of its strategies, and the cases that it names for their costs alone."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lrbench.config.cost import Case, Grouping
from lrbench.config.param import Param
from lrbench.config.run import Run
from lrbench.plan import Plan, params_of, product, vocabulary
from lrbench.strategies import OPTIMIZERS, Group, groups_of, impossible
from lrbench.workloads import WORKLOADS

Strategy = tuple[str, str, str]


@dataclass(frozen=True)
class Wanted:
    """A case, and the strategies of the matrix whose step it is: (optimizer, layer-lr policy, schedule); none for costs alone."""

    case: Case
    strategies: tuple[Strategy, ...] = ()


def cases(plan: Plan) -> list[Wanted]:
    """Every distinct step of a plan's runs, once, and the cases of its ``[[cost]]`` tables.

    Steps are the same where workload, batch size, accumulation, precision, schedule and the shape of the parameter
    groups are, and the optimizers differ in no more than the size of their hyperparameters. O(runs).
    """
    alike: dict[Any, tuple[Case, set[Strategy]]] = {}
    for run in _one_per_strategy(plan.possible):
        for case in stages(Case(run=run)):
            _, strategies = alike.setdefault(_kind(case), (case, set()))
            strategies.add((run.optimizer.label, run.layer_lr.label, run.schedule.label))
    found = [Wanted(case, tuple(sorted(strategies))) for case, strategies in alike.values()]
    return found + [Wanted(case) for case in _alone(plan) if _kind(case) not in alike]


def _one_per_strategy(runs: Iterable[Run]) -> Iterable[Run]:
    """A run of each strategy and condition, at the optimizer's default lr."""
    found: dict[Any, Run] = {}
    for run in runs:
        key = (*_labels(run), run.batch_size, run.accumulate, run.precision, run.steps)
        found.setdefault(key, run)
    return [_usual(run) for run in found.values()]


def _usual(run: Run) -> Run:
    return run.but(lr=OPTIMIZERS[run.optimizer.name].default_lr, seed=0)


def _labels(run: Run) -> tuple[str, ...]:
    return (run.workload.label, run.optimizer.label, run.layer_lr.label, run.schedule.label)


def stages(case: Case) -> list[Case]:
    """A case for each set of layers that train at some time: one, unless the policy unfreezes."""
    starts = sorted({group.joins for group in groups_for(case)})
    return [case.model_copy(update={"stage": start}) for start in starts]


def _alone(plan: Plan) -> Iterator[Case]:
    """The cases of the ``[[cost]]`` tables that are possible."""
    words, matrix = vocabulary(), plan.matrix
    seen = set()
    for block in matrix.cost:
        whole = matrix.completed(block).model_copy(update={"lr": None, "seed": (0,)})
        axes = (block.implementation or ("default",), block.grouping or ("policy",), block.compiled or (False,))
        for how, grouping, compiled in itertools.product(*axes):
            one_lr = whole if grouping == "policy" else whole.model_copy(update={"layer_lr": None})
            for run in map(_usual, product(one_lr, matrix, words)):
                for case in stages(Case(run=run, implementation=how, grouping=grouping, compiled=compiled)):
                    if (kind := _kind(case)) not in seen and not impossible(
                        run, params_of(WORKLOADS[run.workload.name])
                    ):
                        seen.add(kind)
                        yield case


def _kind(case: Case) -> Any:
    """Cases of one kind cost the same."""
    run = case.run
    shape = tuple((group.params, group.joins <= case.stage, bool(group.weight_decay)) for group in groups_for(case))
    used = {
        name: value != 0.0 if isinstance(value, float) else str(value) for name, value in run.optimizer.settings.items()
    }
    optimizer = (run.optimizer.name, *sorted(used.items()))
    conditions = (run.batch_size, run.accumulate, run.precision, case.implementation, case.compiled, case.stage)
    return (run.workload.label, optimizer, shape, run.schedule.label, *conditions)


def groups_for(case: Case) -> list[Group]:
    """The parameter groups of a case: its policy's, or all parameters at one lr in as many groups as its grouping says."""
    params = params_of(WORKLOADS[case.run.workload.name])
    found = groups_of(case.run, params)
    return (
        found
        if case.grouping == "policy"
        else [part for group in found for part in _split(group, params, case.grouping)]
    )


def _split(group: Group, params: Sequence[Param], grouping: Grouping) -> list[Group]:
    """A group in parts, by the order of its parameters."""
    layers = {p.name: p.layer for p in params}
    names = group.params
    half = -(-len(names) // 2)
    keys: dict[Grouping, list[int]] = {
        "one": [0] * len(names),
        "two": [int(i >= half) for i in range(len(names))],
        "layer": [layers[name] for name in names],
        "parameter": list(range(len(names))),
    }
    together: dict[int, list[str]] = {}
    for name, key in zip(names, keys[grouping], strict=True):
        together.setdefault(key, []).append(name)
    return [replace(group, name=f"{group.name} {i}", params=tuple(part)) for i, part in enumerate(together.values())]
