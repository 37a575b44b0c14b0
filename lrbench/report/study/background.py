"""The small print: everything that was run, what was not and why, the workloads and the machine."""

from collections.abc import Sequence
from typing import Any

from lrbench.analyse.results import Reason, Throughput
from lrbench.report import text
from lrbench.report.document import Block, Code, Column, Fold, Paragraph, Section, Table, Words, caption, joined
from lrbench.report.findings import Findings

CATALOGS = {
    "optimizers": ("optimizer", "Optimizer"),
    "layer_lrs": ("layer_lr", "Layer-lr policy"),
    "schedules": ("schedule", "Schedule"),
}
"""The parts of a study's description, with the axis and the title of each."""
WORKLOADS = 6
"""The most workloads that have a column each."""
REASONS = 30
"""The most reasons told one by one."""
LABELS = 8
"""The most labels told with a reason."""


def catalog(found: Findings) -> Section:
    """Every optimizer, layer-lr policy and schedule of the matrix, with what became of it."""
    tables = [table for part in CATALOGS if (table := _catalog(found, part))]
    note = "Best: the validation metric of the best strategy with it, at its best lr."
    return Section("Everything in the matrix", [Paragraph(note if tables else "The matrix names nothing."), *tables])


def _catalog(found: Findings, part: str) -> "Table[str] | None":
    axis, title = CATALOGS[part]
    entries, runs, left_out = found.study.facts.get(part, {}), found.run_counts(axis), found.skipped_counts(axis)
    labels = sorted({*entries, *runs, *left_out})
    if not labels:
        return None

    def best(workload: str) -> Column[str]:
        metric, scores = found.metric(workload), dict[str, float]()
        for row in found.ranked(workload):  # best first
            scores.setdefault(getattr(row, axis), row.score)

        def show(label: str) -> str:
            sign = 1 if metric.higher_is_better else -1
            return metric.show(sign * scores[label] + 0.0) if label in scores else text.NONE

        return Column(f"Best on {workload}", show, right=True)

    columns: list[Column[str]] = [
        Column(title, Code),
        Column("Meaning", lambda label: str(entries.get(label, {}).get("meaning", ""))),
        Column("Runs", lambda label: f"{runs.get(label, 0):,}", lambda label: runs.get(label, 0), right=True),
        Column(
            "Skipped", lambda label: f"{left_out.get(label, 0):,}", lambda label: left_out.get(label, 0), right=True
        ),
        *map(best, found.ranked_workloads[:WORKLOADS]),
    ]
    return Table(part.replace("_", "-"), columns, labels)


def not_run(found: Findings) -> Section:
    """What was skipped and what crashed, with reasons."""
    blocks = [*_reasons("skipped", found.skipped), *_reasons("crashed", found.crashed)]
    nothing = Paragraph("Nothing was skipped and nothing crashed.")
    return Section("What was not run, and why", blocks or [nothing], brief=True)


def _reasons(what: str, reasons: Sequence[Reason]) -> list[Block]:
    if not reasons:
        return []

    def concerned(of: Reason) -> Words:
        more = [f"{len(of.labels) - LABELS} more"] if len(of.labels) > LABELS else []
        return joined([*map(Code, of.labels[:LABELS]), *more])

    columns: list[Column[Reason]] = [
        Column("Reason", lambda of: of.reason),
        Column("Runs", lambda of: f"{of.runs:,}", lambda of: of.runs, right=True),
        Column("Concerns", concerned),
    ]
    title = f"{text.count(sum(of.runs for of in reasons), 'run')} {what}"
    return [Table(what, columns, reasons, REASONS, title, "reasons in report.html")]


Described = tuple[str, dict[str, Any]]
"""A workload and what its study says of it."""


def workloads(found: Findings) -> Section:
    """What was trained on what, to which target and why."""

    def metric(fact: dict[str, Any]) -> text.Metric:
        return text.Metric.of(fact)

    def target(fact: dict[str, Any]) -> str:
        of = metric(fact)
        return f"{of.name} {'≥' if of.higher_is_better else '≤'} {of.show(fact['target'])}"

    def sizes(fact: dict[str, Any]) -> str:
        parts = [fact.get(f"{part}_examples") for part in ("train", "validation", "test")]
        return " / ".join(text.NONE if size is None else f"{size:,}" for size in parts)

    def count(title: str, name: str) -> Column[Described]:
        return Column(
            title,
            lambda named: f"{named[1][name]:,}" if name in named[1] else text.NONE,
            lambda named: named[1].get(name),
            right=True,
        )

    def words(title: str, name: str) -> Column[Described]:
        return Column(title, lambda named: str(named[1].get(name, "")))

    columns: list[Column[Described]] = [
        Column("Workload", lambda named: named[0]),
        words("Meaning", "meaning"),
        Column("Target", lambda named: target(named[1]), lambda named: named[1]["target"]),
        words("Why this target", "target_reason"),
        count("Budget, steps", "steps"),
        count("Batch", "batch_size"),
        count("Parameters", "parameters"),
        Column("Training / validation / test", lambda named: sizes(named[1])),
        words("Source", "source"),
        words("Licence", "licence"),
    ]
    facts = sorted(found.study.facts.get("workloads", {}).items())
    nothing = Paragraph("The matrix names none.")
    return Section("Workloads", [Table("workloads", columns, facts)] if facts else [nothing])


def machine(found: Findings) -> Section:
    """Where it ran, with what, and how fast it went."""
    facts = found.study.machine
    known: list[tuple[str, str]] = [
        (name.replace("_", " "), text.fact(value))
        for name, value in sorted(facts.items())
        if name != "packages" and value is not None
    ]
    if packages := sorted(facts.get("packages", {}).items()):
        known.append(("packages", ", ".join(f"{name} {version}" for name, version in packages)))
    columns: list[Column[tuple[str, str]]] = [Column("", lambda fact: fact[0]), Column("", lambda fact: fact[1])]
    return Section("Machine", [Table("", columns, known), *_throughput(found)])


def _throughput(found: Findings) -> list[Block]:
    if not found.throughput:
        return []
    columns: list[Column[Throughput]] = [
        Column("Workload", lambda of: of.workload),
        Column("Samples/s, median", lambda of: f"{of.middle:,.0f}", lambda of: of.middle, right=True),
        Column("Middle half", lambda of: f"{of.low:,.0f} to {of.high:,.0f}", right=True),
    ]
    note = (
        f"The {text.count(found.trained_alone, 'run')} of {len(found.study.runs):,} that were trained one by one, by several "
        "workers at once: this says how long they took, and is not the cost of a step."
    )
    return [Fold("Throughput of the runs", [Table("throughput", columns, found.throughput), caption(note)])]
