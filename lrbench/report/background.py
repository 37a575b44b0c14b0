"""The small print: everything that was run, what was not and why, the workloads and the machine."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lrbench.analyse import groups
from lrbench.report import markdown as md
from lrbench.report import text
from lrbench.report.findings import Findings

CATALOGS = {
    "optimizers": ("optimizer", "Optimizer"),
    "layer_lrs": ("layer_lr", "Layer-lr policy"),
    "schedules": ("schedule", "Schedule"),
}
WIDE = 6
"""The most workloads that have a column each."""


def catalog(found: Findings) -> str:
    """Every optimizer, layer-lr policy and schedule of the matrix, with what became of it."""
    tables = [_catalog(found, facts, axis, name) for facts, (axis, name) in CATALOGS.items()]
    note = "Best: the validation metric of the best strategy with it, at its best lr."
    return md.section("Everything in the matrix", note if any(tables) else "The matrix names nothing.", *tables)


def _catalog(found: Findings, facts: str, axis: str, name: str) -> str:
    entries = found.study.facts.get(facts, {})
    labels = sorted(set(entries) | set(found.runs[axis]) | set(found.study.skipped[axis].astype(str)))
    if not labels:
        return ""
    workloads = found.ranked_workloads[:WIDE]
    counts = found.runs[axis].value_counts()
    skipped = found.study.skipped[axis].value_counts()
    rows = [
        [
            md.code(label),
            md.plain(entries.get(label, {}).get("meaning", "")),
            f"{counts.get(label, 0):,}",
            f"{skipped.get(label, 0):,}",
        ]
        + [_best(found, workload, axis, label) for workload in workloads]
        for label in labels
    ]
    header = [name, "Meaning", "Runs", "Skipped", *(f"Best on {md.plain(w)}" for w in workloads)]
    return md.table(header, rows, right=range(2, len(header)))


def _best(found: Findings, workload: str, axis: str, label: str) -> str:
    metric = found.metric(workload)
    scores = found.ranking.loc[(found.ranking.workload == workload) & (found.ranking[axis] == label), "score"]
    return metric.show(scores.iloc[0] * (1 if metric.higher_is_better else -1) + 0.0) if len(scores) else text.NONE


REASONS = 30
"""The most reasons told one by one."""


def not_run(found: Findings) -> str:
    """What was skipped and what crashed, with reasons."""
    skipped, crashed = found.study.skipped, found.runs[found.runs.status == "crashed"]
    blocks = [
        _reasons(f"{text.count(len(skipped), 'run')} skipped", skipped),
        _reasons(f"{text.count(len(crashed), 'run')} crashed", crashed),
    ]
    return md.section(
        "What was not run, and why", *(blocks if any(blocks) else ["Nothing was skipped and nothing crashed."])
    )


def _reasons(title: str, runs: pd.DataFrame) -> str:
    if runs.empty:
        return ""
    reasons = sorted(groups(runs, ["reason"]), key=lambda group: -len(group[1]))
    rows = [[md.plain(reason), f"{len(part):,}", ", ".join(_who(part))] for (reason,), part in reasons[:REASONS]]
    more = f"\n\n…and {len(reasons) - REASONS} more reasons." if len(reasons) > REASONS else ""
    return f"**{title}**\n\n" + md.table(["Reason", "Runs", "Concerns"], rows, right=[1]) + more


def _who(runs: pd.DataFrame) -> Iterator[str]:
    """The labels of the axis that says most briefly which runs these are."""
    axis = min(["optimizer", "layer_lr", "schedule", "workload"], key=lambda a: runs[a].nunique())
    axis = "optimizer" if runs.optimizer.nunique() == runs[axis].nunique() else axis
    labels = sorted(set(runs[axis]))
    yield from map(md.code, labels[:8])
    if len(labels) > 8:
        yield f"{len(labels) - 8} more"


def workloads(found: Findings) -> str:
    """What was trained on what, to which target and why."""
    header = [
        "Workload", "Meaning", "Target", "Why this target", "Budget, steps", "Batch", "Parameters", "Training / validation / test",
        "Source", "Licence",
    ]  # fmt: skip
    rows = [_workload(label, fact) for label, fact in sorted(found.study.facts.get("workloads", {}).items())]
    table = md.details("Data, targets, sources and licences", md.table(header, rows, right=range(4, 7)))
    return md.section("Workloads", table if rows else "The matrix names none.")


def _workload(label: str, fact: dict[str, Any]) -> list[str]:
    metric = text.Metric.of(fact)
    sign = "≥" if metric.higher_is_better else "≤"
    sizes = [fact.get(f"{part}_examples") for part in ("train", "validation", "test")]
    return [
        md.plain(label),
        md.plain(str(fact.get("meaning", ""))),
        f"{metric.name} {sign} {metric.show(fact['target'])}",
        md.plain(str(fact.get("target_reason", ""))),
        *(f"{fact[name]:,}" if name in fact else text.NONE for name in ("steps", "batch_size", "parameters")),
        " / ".join(text.NONE if size is None else f"{size:,}" for size in sizes),
        md.plain(str(fact.get("source", ""))),
        md.plain(str(fact.get("licence", ""))),
    ]


def machine(found: Findings) -> str:
    """Where it ran, with what, and how fast it went."""
    facts = found.study.machine
    plain = {name: value for name, value in sorted(facts.items()) if name != "packages" and value is not None}
    known = [[name.replace("_", " "), md.plain(text.fact(value))] for name, value in plain.items()]
    packages = ", ".join(f"{name} {version}" for name, version in sorted(facts.get("packages", {}).items()))
    rows = [*known, ["packages", md.plain(packages)]] if packages else known
    return md.section("Machine", md.details("Hardware and versions", md.table(["", ""], rows)), _throughput(found))


def _throughput(found: Findings) -> str:
    known = found.runs.dropna(subset="samples_per_second")
    if known.empty:
        return ""
    rows = [
        _speed(workload, part.samples_per_second.to_numpy(float)) for (workload,), part in groups(known, ["workload"])
    ]
    note = (
        f"*The {text.count(len(known), 'run')} of {len(found.runs):,} that were trained one by one, by several workers "
        f"at once: this says "
        "how long they took, and is not the cost of a step.*"
    )
    table = md.table(["Workload", "Samples/s, median", "Middle half"], rows, right=[1, 2])
    return md.details("Throughput of the runs", f"{table}\n\n{note}")


def _speed(workload: str, samples_per_second: NDArray[np.float64]) -> list[str]:
    low, middle, high = np.quantile(samples_per_second, [0.25, 0.5, 0.75])
    return [md.plain(workload), f"{middle:,.0f}", f"{low:,.0f} to {high:,.0f}"]
