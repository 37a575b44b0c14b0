"""The product of a matrix's axes, every value resolved."""

import itertools
from collections.abc import Iterator
from typing import Any

from lrbench.config.catalog import Entry
from lrbench.config.faults import BadInput
from lrbench.config.matrix import Block, Budget, Exclude, Grid, Matrix, Pick, Vocabulary
from lrbench.config.run import Choice, Run
from lrbench.plan.vocabulary import revision_of
from lrbench.workloads import WORKLOADS, Workload

DEFAULTS: dict[str, Any] = {"seed": (0, 1, 2, 3, 4), "accumulate": (1,), "precision": ("fp32",)}
UNIFORM, CONSTANT = "uniform", "constant"


def expand(matrix: Matrix, words: Vocabulary) -> list[Run]:
    """The runs of a matrix, without repeats, in the order in which its axes name them.

    Raises: BadInput when an exclude matches no run, or all of them together every run.
    """
    runs = {run.key: run for block in matrix.blocks() for run in product(block, matrix, words)}
    excluded = [{key for key, run in runs.items() if _matches(run, pattern, words)} for pattern in matrix.exclude]
    kept = [run for key, run in runs.items() if not any(key in keys for keys in excluded)]
    if dead := [
        f"exclude[{i}]: matches no run of the matrix: correct it, or leave it out"
        for i, keys in enumerate(excluded)
        if not keys
    ]:
        raise BadInput(dead)
    if runs and not kept:
        raise BadInput("exclude: leaves out every run of the matrix")
    return kept


def product(block: Block, matrix: Matrix, words: Vocabulary) -> Iterator[Run]:
    """The runs of one block, which has every axis that the file names."""
    optimizers = _flat(block.optimizer) or [_default("adam", words["optimizer"])]
    policies = _flat(block.layer_lr) or [_default(UNIFORM, words["layer_lr"])]
    schedules = _flat(block.schedule) or [_default(CONSTANT, words["schedule"])]
    seeds, accumulates, precisions = (
        getattr(block, axis) or DEFAULTS[axis] for axis in ("seed", "accumulate", "precision")
    )
    for name in block.workload or ():
        workload = WORKLOADS[name]
        sizes = block.batch_size or (workload.batch_size,)
        for size, k, optimizer in itertools.product(sizes, accumulates, optimizers):
            length = _length(workload, matrix.budget.get(name, Budget()), size * k)
            default = words["optimizer"][optimizer.name].default_lr
            grid = optimizer.lr or block.lr
            for policy, schedule, lr, precision, seed in itertools.product(
                policies, schedules, grid.lrs(default) if grid else (default,), precisions, seeds
            ):
                yield Run(
                    workload=Choice(name=name, revision=workload.revision, label=name),
                    optimizer=_choice("optimizer", optimizer, words),
                    layer_lr=_choice("layer_lr", policy, words),
                    schedule=_choice("schedule", schedule, words),
                    lr=lr,
                    batch_size=size,
                    accumulate=k,
                    precision=precision,
                    seed=seed,
                    **length,
                )


def _length(workload: Workload, budget: Budget, take: int) -> dict[str, Any]:
    """Steps, evaluation interval and target of a workload under a budget, for steps that take so many examples."""
    per_epoch = max(1, workload.examples[0] // take) if budget.epochs else 1
    steps = budget.steps or (budget.epochs and budget.epochs * per_epoch) or workload.steps
    every = budget.eval_every or (workload.eval_every if steps == workload.steps else max(1, steps // 20))
    return {
        "steps": steps,
        "eval_every": min(every, steps),
        "target": workload.target if budget.target is None else budget.target,
    }


def _flat(axis: tuple[list[Pick], ...] | None) -> list[Pick]:
    return [pick for picks in axis or () for pick in picks]


def _default(name: str, catalog: Any) -> Pick:
    return Pick(name=name, settings=catalog[name].settings().resolved())


def _choice(axis: str, pick: Pick, words: Vocabulary) -> Choice:
    revision = revision_of(axis, pick.name, pick.settings)
    return Choice(
        name=pick.name, revision=revision, settings=pick.settings, label=label(words[axis][pick.name], pick.settings)
    )


def label(entry: Entry[Any], settings: dict[str, Any]) -> str:
    """A choice for people: its name, and the settings that differ from their defaults, or from what was done before there were they."""
    required = {name for name, field in entry.settings.model_fields.items() if field.is_required()}
    usual = entry.settings.model_validate(
        entry.settings.neutral() | {name: settings[name] for name in required}
    ).resolved()
    shown = [
        f"{name}={_text(value)}"
        for name, value in settings.items()
        if name in required or name not in usual or value != usual[name]
    ]
    return f"{entry.name}({', '.join(shown)})" if shown else entry.name


def _text(value: Any) -> str:
    if isinstance(value, dict):
        name = value.get("name")
        inner = ", ".join(f"{k}={_text(v)}" for k, v in value.items() if k != "name")
        return f"{name}({inner})" if name and inner else name or "{" + inner + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_text(v) for v in value) + "]"
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def _matches(run: Run, pattern: Exclude, words: Vocabulary) -> bool:
    plain = (("workload", run.workload.name), ("seed", run.seed))
    if any(wanted is not None and value not in wanted for axis, value in plain for wanted in [getattr(pattern, axis)]):
        return False
    if pattern.lr is not None and run.lr not in Grid(values=pattern.lr).lrs(run.lr):
        return False
    for axis in ("optimizer", "layer_lr", "schedule"):
        tables = getattr(pattern, axis)
        if tables is not None and not any(_fits(getattr(run, axis), table, words[axis]) for table in tables):
            return False
    return True


def _fits(choice: Choice, table: dict[str, Any], catalog: Any) -> bool:
    if choice.name != table["name"]:
        return False
    settings = catalog[choice.name].settings.neutral() | choice.settings
    return all(settings[k] == v or (isinstance(v, list) and settings[k] in v) for k, v in table.items() if k != "name")
