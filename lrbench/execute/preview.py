"""A plan for people: how much, how long, and what is left out for which reason."""

from collections import Counter
from typing import Any

from lrbench.execute.aside import outdated, told
from lrbench.execute.estimate import estimate
from lrbench.execute.executor import Task
from lrbench.execute.progress import spoken
from lrbench.execute.run import Session
from lrbench.plan import Plan

SHOWN = 5
"""The most names of one kind in a line."""


def preview(session: Session) -> dict[str, Any]:
    """The facts of a plan as plain values; times some steps of each kind of run, and writes nothing."""
    plan = session.plan
    time = estimate(plan.missing, session.devices[0], session.workers)
    return {
        "matrix": plan.matrix.name,
        "folder": str(session.store.folder),
        "devices": [str(d) for d in session.devices],
        "workers": session.workers,
        "to_do": len(plan.missing),
        "stored": len(plan.possible) - len(plan.missing),
        "skipped": len(plan.skips),
        "estimated_seconds": round(time.wall, 1),
        "not_estimated": list(time.unknown),
        "workloads": dict(Counter(run.workload.label for run in plan.missing)),
        "ways": dict(Counter(way for task in time.tasks for way in [_way(task)] * len(task.runs)).most_common()),
        "reasons": reasons(plan),
        "models": models(plan),
        "changed": told(plan, outdated(plan, session.store.unnamed({run.key for run in plan.possible}))),
        "runs": [
            {"key": run.key, "workload": run.workload.label, "strategy": run.strategy, "lr": run.lr, "seed": run.seed}
            for run in plan.missing
        ],
    }


def reasons(plan: Plan) -> dict[str, int]:
    """Why runs are skipped, and how many for each reason, most first."""
    return dict(Counter(skip.reason for skip in plan.skips).most_common())


def reason_lines(counts: dict[str, int]) -> list[str]:
    """What ``reasons`` found, a line each."""
    return [f"  {count:6d}  {reason}" for reason, count in counts.items()]


def models(plan: Plan) -> list[str]:
    """What the workloads' models decide themselves: which parameters they freeze, and which have several names."""
    lines = []
    for name, facts in plan.facts()["workloads"].items():
        if frozen := facts.get("frozen"):
            shown = ", ".join(frozen[:SHOWN]) + (f" and {len(frozen) - SHOWN} more" if len(frozen) > SHOWN else "")
            lines.append(f"{name}: the model itself freezes {shown}: no strategy moves it")
        lines += [
            f"{name}: {names} is one parameter, and learns as the last of its layers" for names in facts.get("tied", [])
        ]
    return lines


def _way(task: Task) -> str:
    """How the runs of a task are trained, and why."""
    name = task.runs[0].workload.label
    if task.is_single:
        return f"{name}: one by one: {task.why}"
    return f"{name}: in {task.mode} populations of {task.width} ({task.why})"


def preview_text(found: dict[str, Any]) -> str:
    """The facts of ``preview`` to read."""
    lines = [
        f"{found['matrix']}: {found['to_do']} runs to do, {found['stored']} stored already, {found['skipped']} skipped",
        f"about {spoken(found['estimated_seconds'])} with {found['workers']} workers on {', '.join(found['devices'])}",
        *(
            f"  and the time of {name}, whose data or weights are made or fetched by the first run"
            for name in found["not_estimated"]
        ),
        f"results go to {found['folder']}",
        *found["changed"],
    ]
    lines += [f"  {count:6d}  {name}" for name, count in found["workloads"].items()]
    if found["ways"]:
        lines += ["trained:", *(f"  {count:6d}  {way}" for way, count in found["ways"].items())]
    if found["models"]:
        lines += ["models:", *(f"  {line}" for line in found["models"])]
    if found["reasons"]:
        lines += ["skipped:", *reason_lines(found["reasons"])]
    return "\n".join(lines)
