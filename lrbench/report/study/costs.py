"""What a step costs, and the time and energy to the target that follow from it."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

import numpy as np

from lrbench.analyse.costs import CONDITIONS
from lrbench.analyse.results import Case, Contrast, TimeToTarget, WholeTraining
from lrbench.config.cost import IN_DOUBT, PARTS, Peak
from lrbench.report import text
from lrbench.report.document import (
    Block,
    Bullets,
    Code,
    Column,
    Fold,
    Paragraph,
    Section,
    Table,
    Words,
    caption,
    joined,
    plain,
    prose,
)
from lrbench.report.findings import Findings
from lrbench.stats.estimates import Estimate, geometric_mean

FIRST = 10
"""The rows of a table that a reader sees at first."""
REASONS_SHOWN = 10
"""More reasons for doubt than these are folded away."""
DOUBT = "†"
"""Stands at a measurement that stayed doubtful."""


# ---- time to target


def times(found: Findings) -> Section | None:
    """Which strategies reach the target soonest, in seconds and joules; nothing where no cost was measured."""
    if not found.cases:
        return None
    title = "Time to target"
    if not any(t.seconds.value == t.seconds.value for t in found.times):  # NaN is not known, infinity is
        why = "No step cost was measured for any strategy that was run" if found.times else "No run finished"
        return Section(title, [Paragraph(f"{why}, so there is no time to tell.")])
    by_workload: dict[str, list[TimeToTarget]] = {}
    for t in found.times:
        by_workload.setdefault(t.workload, []).append(t)
    blocks = [block for workload, part in by_workload.items() for block in _fastest(found, workload, part)]
    return Section(title, [*blocks, caption(TIMES)])


TIMES = """\
Each seed's steps to target x the cost of those steps, measured alone (see below); evaluations are not counted. Medians over \
seeds; a seed that never reaches the target counts as later than all others. Brackets: from the lower end of the bootstrap \
95 % interval over seeds at the first quartile of the step time to its upper end at the third. All strategies and run keys: \
`times.csv`."""


def _fastest(found: Findings, workload: str, times: Sequence[TimeToTarget]) -> list[Block]:
    def soonest(t: TimeToTarget) -> tuple[bool, float, bool, float, str]:
        return math.isnan(t.seconds.value), t.seconds.value, math.isnan(t.steps), t.steps, t.strategy

    ordered = sorted(times, key=soonest)
    metric = found.metric(workload)
    goal = f"{metric.name} {'≥' if metric.higher_is_better else '≤'} {metric.show(found.target(workload))}"
    columns: list[Column[TimeToTarget]] = [
        Column("Strategy", lambda t: Code(t.strategy)),
        Column("lr", lambda t: text.lr(t.lr), lambda t: t.lr, right=True),
        Column("Reached", lambda t: f"{t.reached} of {t.seeds}", lambda t: t.reached),
        Column("Steps to target", lambda t: text.number(t.steps), lambda t: t.steps, right=True),
        Column("Step", lambda t: text.measure(t.step_seconds, text.TIME), lambda t: t.step_seconds),
        Column("Time to target", lambda t: text.estimate(t.seconds, text.TIME), lambda t: t.seconds),
        Column("Energy to target", lambda t: text.estimate(t.joules, text.ENERGY), lambda t: t.joules),
    ]
    table = Table(f"time-to-target-{workload}", columns, ordered, FIRST, f"{workload}, to {goal}")
    no_time = _reasons("No time", (t.reason for t in ordered if math.isnan(t.seconds.value)))
    timed = (t for t in ordered if not math.isnan(t.seconds.value))
    no_energy = _reasons("No energy", (t.joules_reason for t in timed if math.isnan(t.joules.value)))
    why_not = " ".join(filter(None, [no_time, no_energy]))
    return [table, *_time_against_steps(ordered), *([Paragraph(why_not)] if why_not else [])]


def _time_against_steps(times: Sequence[TimeToTarget]) -> list[Block]:
    """A sentence where the fastest strategy is not among those that need the fewest steps; ``times`` come fastest first."""
    done = [t for t in times if math.isfinite(t.seconds.value)]
    if not done:
        return [Paragraph("No strategy reaches the target in more than half of its seeds.")]

    def fewest_first(t: TimeToTarget) -> tuple[float, bool, float, str]:
        return t.steps, math.isnan(t.seconds.value), t.seconds.value, t.strategy

    first, fewest = done[0], min((t for t in times if not math.isnan(t.steps)), key=fewest_first)
    if first.steps <= fewest.steps:
        return []
    unknown = math.isnan(fewest.seconds.value)
    other = "a time that is not known" if unknown else text.measure(fewest.seconds.value, text.TIME)
    sentence = (
        "The fastest in time is not the fastest in steps: {fewest} needs the fewest, "
        f"{text.number(fewest.steps)} in {other}; {{first}} needs {text.number(first.steps)} in "
        f"{text.measure(first.seconds.value, text.TIME)}."
    )
    return [Paragraph(prose(sentence, fewest=Code(fewest.strategy), first=Code(first.strategy)))]


def _reasons(name: str, reasons: Iterable[str], what: str = "strategy") -> str:
    """``name`` and the reasons for it, with how many each concerns; those without a reason are left out."""
    counts = sorted(Counter(reason for reason in reasons if reason).items())
    return f"{name}: {'; '.join(f'{reason} ({text.count(n, what)})' for reason, n in counts)}." if counts else ""


# ---- the cost of a step


def steps(found: Findings) -> Section | None:
    """What a step costs; nothing where no cost was measured."""
    if not found.cases:
        return None
    measured: dict[str, list[Case]] = {}
    for case in found.cases:
        if not math.isnan(case.seconds.value):
            measured.setdefault(case.workload, []).append(case)
    by_groups = [contrast for contrast in found.contrasts if contrast.property in ("grouping", "layer_lr")]
    return Section(
        "What a step costs",
        [
            Paragraph(_where(found)),
            *(_of_workload(workload, part) for workload, part in measured.items()),
            *([caption(STEPS)] if measured else []),
            *_missing(found.cases),
            *_doubts(found.cases),
            *_compared(found.contrasts),
            *_prediction(found),
            Fold("Every case", [case_table(found.cases)]),
            *([Fold("What layer-lr groups cost", [_group_costs(by_groups)])] if by_groups else []),
            Fold("Conditions and the fastest matrix products", _conditions(found)),
        ],
    )


STEPS = """\
One row per optimizer, over the distinct steps of its strategies (policies, schedules, stages of unfreezing); where there \
are several, medians and the range of the step time. Brackets: quartiles over windows of several steps. Shares: forward, \
backward, `optimizer.step()`, `scheduler.step()`; the rest is selecting batches and zeroing gradients. Memory: parameters, \
gradients, state, activations, data. FLOP/s count matrix products and convolutions; the percentage is of the fastest matrix \
product measured on the device in the same precision. Energy is the whole device's, idle draw included. Evaluations are not \
part of a step."""


def _where(found: Findings) -> str:
    machine, threads = found.study.machine, found.study.costs.conditions.get("threads")
    measured = sum(not math.isnan(case.seconds.value) for case in found.cases)
    intra = f", {text.count(threads, 'thread')}" if isinstance(threads, int) else ""
    missing = f", {len(found.cases) - measured} not." if measured < len(found.cases) else "."
    return (
        "Training steps alone on an idle device, as the reference trainer does them: "
        f"{text.count(measured, 'case')} measured on {', '.join(sorted({case.device for case in found.cases}))} "
        f"({machine['model']}{intra}){missing}"
    )


@dataclass(frozen=True)
class OptimizerCost:
    """The steps of some optimizers' strategies on a workload: medians over cases, the least and the most time."""

    optimizers: Words
    strategies: int
    cases: int
    seconds: Estimate
    least: float
    most: float
    samples_per_second: float
    shares: tuple[float, ...]
    peak_bytes: float
    flops_per_second: float
    peak_share: float
    joules: float
    is_doubtful: bool

    @classmethod
    def of(cls, cases: Sequence[Case], optimizers: Words) -> Self:
        """That of some cases, each of which weighs alike."""

        def middle(value: Callable[[Case], float]) -> float:
            known = [value(case) for case in cases if not math.isnan(value(case))]
            return float(np.median(known)) if known else math.nan

        ends = (middle(lambda c: c.seconds.value), middle(lambda c: c.seconds.low), middle(lambda c: c.seconds.high))
        return cls(
            optimizers,
            len({axes for case in cases for axes in case.strategies}),
            len(cases),
            Estimate(*ends),
            min(case.seconds.value for case in cases),
            max(case.seconds.value for case in cases),
            middle(lambda c: c.samples_per_second),
            tuple(middle(lambda c, i=i: c.shares[i]) for i in range(len(PARTS))),  # type: ignore[misc] # i is bound
            middle(lambda c: c.peak_bytes),
            middle(lambda c: c.flops_per_second),
            middle(lambda c: c.peak_share),
            middle(lambda c: c.joules),
            any(case.noise for case in cases),
        )


Cost = TypeVar("Cost", Case, OptimizerCost)


def _numbers(_: type[Cost]) -> list[Column[Cost]]:
    """Samples/s, shares, memory, FLOP/s and energy of a case, or of medians over cases."""

    def shares(c: Cost) -> str:
        if all(map(math.isnan, c.shares)):
            return text.NONE
        return " / ".join(text.share(part).removesuffix(" %") for part in c.shares) + " %"

    def rate(c: Cost) -> str:
        flops = text.measure(c.flops_per_second, text.FLOPS)
        return flops if math.isnan(c.peak_share) else f"{flops} ({text.share(c.peak_share)})"

    return [
        Column("Samples/s", lambda c: text.number(c.samples_per_second), lambda c: c.samples_per_second, right=True),
        Column("Forward / backward / optimizer / scheduler", shares),
        Column("Peak memory", lambda c: text.measure(c.peak_bytes, text.BYTES), lambda c: c.peak_bytes),
        Column("FLOP/s (of peak)", rate, lambda c: c.flops_per_second),
        Column("Energy per step", lambda c: text.measure(c.joules, text.ENERGY), lambda c: c.joules),
    ]


def _of_workload(workload: str, cases: Sequence[Case]) -> Block:
    """The steps of a workload by optimizer, fastest first; of costs alone where no strategy was measured."""
    usual = [c for c in cases if c.implementation == "default" and c.grouping == "policy" and not c.compiled]
    usual = [c for c in usual if c.strategies] or usual or list(cases)
    conditions: list[dict[str, object]] = [{name: getattr(c, name) for name in [*CONDITIONS, "device"]} for c in usual]
    varying = [name for name in conditions[0] if len({of[name] for of in conditions}) > 1]
    parts: dict[tuple[object, ...], list[Case]] = {}
    for case, of in zip(usual, conditions, strict=True):
        parts.setdefault((case.optimizer, *(of[name] for name in varying)), []).append(case)
    lines = [
        OptimizerCost.of(part, _optimizers(part, dict(zip(varying, at[1:], strict=True)))) for at, part in parts.items()
    ]

    def spread(c: OptimizerCost) -> str:
        return text.NONE if c.cases == 1 else f"{text.measure(c.least, text.TIME)} to {text.measure(c.most, text.TIME)}"

    columns: list[Column[OptimizerCost]] = [
        Column("Optimizer", lambda c: c.optimizers),
        Column("Strategies", lambda c: str(c.strategies), lambda c: c.strategies, right=True),
        Column("Step", lambda c: _step(c.seconds, is_doubtful=c.is_doubtful), lambda c: c.seconds),
        Column("Range", spread),
        *_numbers(OptimizerCost),
    ]
    ordered = sorted(lines, key=lambda c: (c.seconds.value, plain(c.optimizers)))
    return Table(f"step-cost-{workload}", columns, ordered, FIRST, workload)


def _optimizers(cases: Sequence[Case], conditions: Mapping[str, object]) -> Words:
    used = {optimizer for case in cases for optimizer, *_ in case.strategies}
    names = sorted(used or {case.optimizer for case in cases})
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    under = "".join(f", {name.replace('_', ' ')} {value}" for name, value in conditions.items())
    return (joined(map(Code, names[:3])), more, under)


def _step(seconds: Estimate, *, is_doubtful: bool) -> str:
    return text.estimate(seconds, text.TIME) + (f" {DOUBT}" if is_doubtful else "")


def _missing(cases: Sequence[Case]) -> list[Block]:
    """What could not be measured, with each reason once."""
    measured = [case for case in cases if not math.isnan(case.seconds.value)]
    lines = [
        _reasons("Not measured at all", (case.reason for case in cases if math.isnan(case.seconds.value)), "case"),
        _reasons("Shares of the step not measured", (case.shares_reason for case in measured), "case"),
        _reasons("Peak memory not measured", (case.peak_reason for case in measured), "case"),
        _reasons("Energy not measured", (case.joules_reason for case in measured), "case"),
    ]
    return [Bullets([line for line in lines if line])] if any(lines) else []


def _doubts(cases: Sequence[Case]) -> list[Block]:
    reasons = [", ".join(case.noise) for case in cases if case.noise]
    if not reasons:
        return []
    of = text.count(sum(not math.isnan(case.seconds.value) for case in cases), "step cost")
    title = f"{DOUBT} {len(reasons)} of {of} {'is' if len(reasons) == 1 else 'are'} in doubt"
    lines = Paragraph(f"{_reasons(title, reasons, 'case')} A step cost is in doubt where {IN_DOUBT}.")
    return [lines] if len(set(reasons)) <= REASONS_SHOWN else [Fold(title, [lines])]


VALUES = {
    "compiled": {"True": "compiled", "False": "not compiled"},
    "grouping": {
        "parameter": "a group per parameter",
        "layer": "a group per layer",
        "two": "two groups",
        "one": "one group",
    },
}
"""What the values of a property are called."""


def _compared(contrasts: Sequence[Contrast]) -> list[Block]:
    """What implementations, group counts, precisions and compilation change, over all cases."""
    ratios: dict[tuple[str, str, str, str], list[float]] = {}
    for c in contrasts:
        if c.property != "layer_lr":
            how = f" ({c.implementation})" if c.property == "grouping" else ""  # groups cost otherwise in each
            ratios.setdefault((c.property, c.base, c.value, how), []).append(c.ratio)
    if not ratios:
        return []
    names: dict[str, dict[str, str]] = VALUES
    lines = [
        (names.get(kind, {}).get(value, value) + how, names.get(kind, {}).get(base, base), ratio)
        for (kind, base, value, how), ratio in sorted(ratios.items())
    ]
    columns: list[Column[tuple[str, str, list[float]]]] = [
        Column("Step time with", lambda line: line[0]),
        Column("Against", lambda line: line[1]),
        Column("Cases", lambda line: str(len(line[2])), lambda line: len(line[2]), right=True),
        Column(
            "Geometric mean", lambda line: text.times(geometric_mean(line[2])), lambda line: geometric_mean(line[2])
        ),
        Column("Range", lambda line: f"{text.number(min(line[2]))} to {text.number(max(line[2]))}"),
    ]
    return [Table("step-cost-contrasts", columns, lines)]


def _group_costs(contrasts: Sequence[Contrast]) -> "Table[Contrast]":
    columns: list[Column[Contrast]] = [
        Column("Workload", lambda b: b.workload),
        Column("Optimizer", lambda b: Code(b.optimizer)),
        Column("Schedule", lambda b: Code(b.schedule)),
        Column("Groups are", lambda b: (Code(b.value), f" from step {b.from_step}" if b.from_step else "")),
        Column("Implementation", lambda b: b.implementation),
        Column("Groups", lambda b: str(b.groups), lambda b: b.groups, right=True),
        Column("Step", lambda b: text.measure(b.seconds, text.TIME), lambda b: b.seconds),
        Column("Against", lambda b: b.base),
        Column("Groups", lambda b: str(b.base_groups), lambda b: b.base_groups, right=True),
        Column("Step", lambda b: text.measure(b.base_seconds, text.TIME), lambda b: b.base_seconds),
        Column("Ratio", lambda b: text.times(b.ratio), lambda b: b.ratio, right=True),
    ]
    order = sorted(contrasts, key=lambda b: (b.workload, b.optimizer, b.schedule, b.property, b.groups, b.value))
    return Table("group-costs", columns, order)


def case_table(cases: Sequence[Case]) -> "Table[Case]":
    """Every case, measured or not."""

    def step(c: Case) -> str:
        return f"not measured: {c.reason}" if c.reason else _step(c.seconds, is_doubtful=bool(c.noise))

    columns: list[Column[Case]] = [
        Column("Workload", lambda c: c.workload),
        Column("Optimizer", lambda c: Code(c.optimizer)),
        Column("Layer-lr policy", lambda c: Code(c.layer_lr)),
        Column("Schedule", lambda c: Code(c.schedule)),
        Column("From step", lambda c: str(c.from_step), lambda c: c.from_step, right=True),
        Column("Strategies", lambda c: str(len(c.strategies)), lambda c: len(c.strategies), right=True),
        Column("Batch", lambda c: str(c.batch_size) + (f" x {c.accumulate}" if c.accumulate > 1 else "")),
        Column("Precision", lambda c: c.precision),
        Column("Implementation", lambda c: c.implementation + (", compiled" if c.compiled else "")),
        Column("Groups", lambda c: f"{c.groups}" + ("" if c.grouping == "policy" else f" ({c.grouping})")),
        Column("Step", step, lambda c: c.seconds),
        *_numbers(Case),
    ]
    return Table("cases", columns, cases)


def _prediction(found: Findings) -> list[Block]:
    """Whole trainings beside what their step costs predict."""
    trainings = found.whole_trainings
    if not trainings:
        return []
    columns: list[Column[WholeTraining]] = [
        Column("Workload", lambda p: p.workload),
        Column("Strategy", lambda p: Code(p.strategy)),
        Column("Run", lambda p: Code(p.key)),
        Column("Steps", lambda p: text.number(p.steps), lambda p: p.steps, right=True),
        Column("Time", lambda p: text.measure(p.seconds, text.TIME), lambda p: p.seconds),
        Column("Predicted", lambda p: text.measure(p.predicted, text.TIME), lambda p: p.predicted),
        Column("Actual / predicted", lambda p: text.times(p.ratio), lambda p: p.ratio, right=True),
        Column("Energy", lambda p: text.measure(p.joules, text.ENERGY), lambda p: p.joules),
        Column("Predicted", lambda p: text.measure(p.joules_predicted, text.ENERGY), lambda p: p.joules_predicted),
    ]
    title = "Whole trainings beside what their step costs predict"
    each = Fold(title, [Table("whole-trainings", columns, trainings)])
    known = [p for p in trainings if not math.isnan(p.ratio)]
    if not known:
        nothing = f"No step cost was measured for the {text.count(len(trainings), 'training')} timed whole."
        return [Paragraph(nothing), each]
    worst = max(known, key=lambda p: abs(math.log(p.ratio)))
    sentence = (
        f"Of {text.count(len(known), 'training')} timed whole and alone, the one farthest from what its step costs predict "
        f"took {text.times(worst.ratio)} that: {{strategy}} on {{workload}} (run {{run}})."
    )
    named: dict[str, Words] = {"strategy": Code(worst.strategy), "workload": worst.workload, "run": Code(worst.key)}
    return [Paragraph(prose(sentence, **named)), each]


def _conditions(found: Findings) -> list[Block]:
    costs = found.study.costs
    facts: list[tuple[str, str]] = [
        (name.replace("_", " "), text.fact(of)) for name, of in sorted(costs.conditions.items())
    ]
    tables: list[Block] = []
    if facts:
        columns: list[Column[tuple[str, str]]] = [
            Column("Condition", lambda fact: fact[0]),
            Column("", lambda fact: fact[1]),
        ]
        tables.append(Table("", columns, facts))
    if costs.peaks:
        of_peaks: list[Column[Peak]] = [
            Column("Device", lambda p: p.device),
            Column("Precision", lambda p: p.precision),
            Column(
                "Fastest matrix product",
                lambda p: text.measure(p.flops_per_second, text.FLOPS),
                lambda p: p.flops_per_second,
                right=True,
            ),
            Column("Rows and columns", lambda p: f"{p.size:,}", lambda p: p.size, right=True),
        ]
        tables.append(Table("peaks", of_peaks, sorted(costs.peaks, key=lambda p: (p.device, p.precision))))
    return tables or [Paragraph("Nothing was recorded.")]


# ---- files for programs


def cases_csv(found: Findings) -> str:
    """Every case as ``costs.csv``: sorted, six significant digits; strategies and doubts in one cell each."""
    table = found.case_table
    strategies = [" | ".join(" / ".join(axes) for axes in names) for names in table.strategies]
    flat = table.assign(strategies=strategies, noise=["; ".join(doubts) for doubts in table.noise])
    return flat.to_csv(index=False, float_format="%.6g", lineterminator="\n")


def times_csv(found: Findings) -> str:
    """Time and energy to target of every strategy as ``times.csv``; ``inf`` where it is never reached."""
    return found.time_table.drop(columns="strategy").to_csv(index=False, float_format="%.6g", lineterminator="\n")
