"""Stored runs that are not used again because the code of an entry is another: they are told of, never passed over."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from lrbench.config.run import Run
from lrbench.plan import Plan, origins_of
from lrbench.store import write_costs
from lrbench.store.costs import FILE, read_costs

AXES = ("workload", "optimizer", "layer_lr", "schedule")


def outdated(plan: Plan, unnamed: Sequence[str]) -> list[tuple[Run, Run]]:
    """Of stored runs that a plan does not name, those that it would name but for a revision, each with the one that it names."""
    if not unnamed:
        return []
    asked = {run.asked: run for run in plan.possible}
    found = []
    for text in unnamed:
        try:
            run = Run.model_validate_json(text)
        except ValidationError:  # of another lrbench, whose runs had other values
            continue
        if run.asked in asked:
            found.append((run, asked[run.asked]))
    return found


def told(plan: Plan, pairs: Sequence[tuple[Run, Run]]) -> list[str]:
    """One line on what changed and what comes of it; none where nothing did."""
    if not pairs:
        return []
    choices = {getattr(new, axis).label: getattr(new, axis).name for old, new in pairs for axis in _changed(old, new)}
    origins = {name: origin for _, new in pairs for name, origin in origins_of(new).items()}
    known = [origins[name].file for name in choices.values() if name in origins]
    files = sorted({Path(file).name if file else "this session" for file in known})
    missing = {run.key for run in plan.missing}
    where = f" ({', '.join(files)})" if files else ""
    count, to_do = len(pairs), sum(new.key in missing for _, new in pairs)
    return [
        f"{', '.join(choices)}{where} changed since, in code or a package: {count} stored "
        f"run{'s' if count > 1 else ''} of "
        f"{plan.matrix.name} {'are' if count > 1 else 'is'} set aside, in retired/; {to_do} of them to do anew"
    ]


def _changed(old: Run, new: Run) -> list[str]:
    return [axis for axis in AXES if getattr(old, axis).revision != getattr(new, axis).revision]


def drop_costs(folder: Path, pairs: Sequence[tuple[Run, Run]]) -> list[str]:
    """Let go of the step costs of what changed. Returns: a line, if there were any."""
    labels = {axis: {getattr(old, axis).label for old, new in pairs if axis in _changed(old, new)} for axis in AXES}
    try:
        costs = read_costs(folder)
    except (ValueError, LookupError, TypeError):  # which reports tell
        return []
    kept = tuple(cost for cost in costs.costs if not any(getattr(cost, axis) in labels[axis] for axis in AXES))
    timed = tuple(run for run in costs.timed if not any(getattr(run, axis) in labels[axis] for axis in AXES))
    if (lost := len(costs.costs) - len(kept)) == 0 and len(timed) == len(costs.timed):
        return []
    write_costs(folder, replace(costs, costs=kept, timed=timed))
    return [f"{lost} step costs of theirs are taken out of {FILE}: measure them again with `lrbench cost`"]
