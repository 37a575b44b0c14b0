"""What a step costs, and the time and energy to the target that follow from it."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from lrbench.analyse import CONDITIONS, contrasts, geometric_mean, groups, predicted, rows, strategy
from lrbench.config.cost import IN_DOUBT, PARTS
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
    prose,
)
from lrbench.report.findings import Findings

FIRST = 10
"""The rows of a table that a reader sees at first."""
REASONS_SHOWN = 10
"""More reasons for doubt than these are folded away."""
DOUBT = "†"
"""Stands at a measurement that stayed doubtful."""
REASONS = {"shares_reason": "Shares of the step", "peak_reason": "Peak memory", "joules_reason": "Energy"}


# ---- time to target


def times(found: Findings) -> Section | None:
    """Which strategies reach the target soonest, in seconds and joules; nothing where no cost was measured."""
    if found.step_costs.empty:
        return None
    title = "Time to target"
    if not found.times.seconds.notna().any():
        why = "No run finished" if found.times.empty else "No step cost was measured for any strategy that was run"
        return Section(title, [Paragraph(f"{why}, so there is no time to tell.")])
    blocks = [block for (w,), part in groups(found.times, ["workload"]) for block in _fastest(found, str(w), part)]
    return Section(title, [*blocks, caption(TIMES)])


TIMES = """\
Each seed's steps to target x the cost of those steps, measured alone (see below); evaluations are not counted. Medians over \
seeds; a seed that never reaches the target counts as later than all others. Brackets: from the lower end of the bootstrap \
95 % interval over seeds at the first quartile of the step time to its upper end at the third. All strategies and run keys: \
`times.csv`."""


def _fastest(found: Findings, workload: str, times: pd.DataFrame) -> list[Block]:
    ordered = times.sort_values(["seconds", "steps", "strategy"], na_position="last")
    metric, target = found.metric(workload), found.runs.loc[found.runs.workload == workload, "target"].iloc[0]
    title = f"{workload}, to {metric.name} {'≥' if metric.higher_is_better else '≤'} {metric.show(target)}"

    def joules(t: Any) -> str:
        return text.measure(t.joules, text.ENERGY, t.joules_low, t.joules_high)

    columns: list[Column[Any]] = [
        Column("Strategy", lambda t: Code(t.strategy)),
        Column("lr", lambda t: text.lr(t.lr), lambda t: t.lr, right=True),
        Column("Reached", lambda t: f"{t.reached} of {t.seeds}", lambda t: t.reached),
        Column("Steps to target", lambda t: text.number(t.steps), lambda t: t.steps, right=True),
        Column("Step", lambda t: text.measure(t.step_seconds, text.TIME), lambda t: t.step_seconds),
        Column("Time to target", _seconds, lambda t: t.seconds),
        Column("Energy to target", joules, lambda t: t.joules),
    ]
    table = Table(f"time-to-target-{workload}", columns, list(rows(ordered)), FIRST, title, "in report.html")
    return [table, *_time_against_steps(ordered), *_why_not(ordered)]


def _seconds(t: Any) -> str:
    return text.measure(t.seconds, text.TIME, t.seconds_low, t.seconds_high)


def _time_against_steps(times: pd.DataFrame) -> list[Block]:
    """A sentence where the fastest strategy is not among those that need the fewest steps; ``times`` come fastest first."""
    done = times[np.isfinite(times.seconds)]
    if done.empty:
        return [Paragraph("No strategy reaches the target in more than half of its seeds.")]
    first = done.iloc[0]
    fewest = times.dropna(subset="steps").sort_values(["steps", "seconds", "strategy"]).iloc[0]
    if first.steps <= fewest.steps:
        return []
    other = "a time that is not known" if math.isnan(fewest.seconds) else text.measure(fewest.seconds, text.TIME)
    sentence = (
        "The fastest in time is not the fastest in steps: {fewest} needs the fewest, "
        f"{text.number(fewest.steps)} in {other}; {{first}} needs {text.number(first.steps)} in "
        f"{text.measure(first.seconds, text.TIME)}."
    )
    return [Paragraph(prose(sentence, fewest=Code(fewest.strategy), first=Code(first.strategy)))]


def _why_not(times: pd.DataFrame) -> list[Block]:
    """The reasons for missing times and energies, each once."""
    no_time = times[times.seconds.isna()].reason
    no_energy = times[times.joules.isna() & times.seconds.notna()].joules_reason
    lines = [_reasons("No time", no_time), _reasons("No energy", no_energy)]
    return [Paragraph(" ".join(filter(None, lines)))] if any(lines) else []


def _reasons(name: str, reasons: "pd.Series[Any]", what: str = "strategy") -> str:
    """``name`` and the reasons for it, with how many each concerns; those without a reason are left out."""
    counts = sorted(reasons[reasons != ""].value_counts().to_dict().items(), key=lambda item: str(item[0]))
    return f"{name}: {'; '.join(f'{reason} ({text.count(int(n), what)})' for reason, n in counts)}." if counts else ""


# ---- the cost of a step


def steps(found: Findings) -> Section | None:
    """What a step costs; nothing where no cost was measured."""
    costs = found.step_costs
    if costs.empty:
        return None
    beside = contrasts(found.study.costs)
    measured = costs[costs.seconds.notna()]
    by_groups = beside[beside.property.isin(["grouping", "layer_lr"])]
    return Section(
        "What a step costs",
        [
            Paragraph(_where(found)),
            *(_of_workload(str(w), part) for (w,), part in groups(measured, ["workload"])),
            *([caption(STEPS)] if len(measured) else []),
            *_missing(costs),
            *_doubts(costs),
            *_compared(beside),
            *_prediction(found),
            Fold("Every case", [case_table(costs)]),
            *([Fold("What layer-lr groups cost", [_group_costs(by_groups)])] if len(by_groups) else []),
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
    costs, machine = found.step_costs, found.study.machine
    measured, threads = int(costs.seconds.notna().sum()), found.study.costs.conditions.get("threads")
    intra = f", {text.count(threads, 'thread')}" if isinstance(threads, int) else ""
    missing = f", {len(costs) - measured} not." if measured < len(costs) else "."
    return (
        "Training steps alone on an idle device, as the reference trainer does them: "
        f"{text.count(measured, 'case')} measured on {', '.join(sorted(costs.device.unique()))} "
        f"({machine['model']}{intra}){missing}"
    )


def _numbers() -> list[Column[Any]]:
    """Samples/s, shares, memory, FLOP/s and energy of a case, or of medians over cases."""

    def shares(c: Any) -> str:
        parts = [getattr(c, f"{part}_share") for part in PARTS]
        if all(map(math.isnan, parts)):
            return text.NONE
        return " / ".join(text.share(part).removesuffix(" %") for part in parts) + " %"

    def rate(c: Any) -> str:
        flops = text.measure(c.flops_per_second, text.FLOPS)
        return flops if math.isnan(c.peak_share) else f"{flops} ({text.share(c.peak_share)})"

    return [
        Column("Samples/s", lambda c: text.number(c.samples_per_second), lambda c: c.samples_per_second, right=True),
        Column("Forward / backward / optimizer / scheduler", shares),
        Column("Peak memory", lambda c: text.measure(c.peak_bytes, text.BYTES), lambda c: c.peak_bytes),
        Column("FLOP/s (of peak)", rate, lambda c: c.flops_per_second),
        Column("Energy per step", lambda c: text.measure(c.joules, text.ENERGY), lambda c: c.joules),
    ]


def _of_workload(workload: str, costs: pd.DataFrame) -> Block:
    """The steps of a workload by optimizer, fastest first; of costs alone where no strategy was measured."""
    usual = costs[(costs.implementation == "default") & (costs.grouping == "policy") & ~costs.compiled]
    of_strategies = usual[usual.strategies.map(len) > 0]
    usual = of_strategies if len(of_strategies) else usual if len(usual) else costs
    varying = [name for name in [*CONDITIONS, "device"] if usual[name].nunique() > 1]
    parts = sorted((part.seconds.median(), at, part) for at, part in groups(usual, ["optimizer", *varying]))
    lines = [
        part.median(numeric_only=True).to_dict()
        | {
            "optimizer": _optimizers(part, dict(zip(varying, at[1:], strict=True))),
            "strategies": len({axes for strategies in part.strategies for axes in strategies}),
            "cases": len(part),
            "least": part.seconds.min(),
            "most": part.seconds.max(),
            "is_doubtful": bool(part.noise.map(len).any()),
        }
        for _, at, part in parts
    ]

    def spread(c: Any) -> str:
        return text.NONE if c.cases == 1 else f"{text.measure(c.least, text.TIME)} to {text.measure(c.most, text.TIME)}"

    columns: list[Column[Any]] = [
        Column("Optimizer", lambda c: c.optimizer),
        Column("Strategies", lambda c: str(c.strategies), lambda c: c.strategies, right=True),
        Column("Step", lambda c: _step(c, is_doubtful=c.is_doubtful), lambda c: c.seconds),
        Column("Range", spread),
        *_numbers(),
    ]
    return Table(f"step-cost-{workload}", columns, list(rows(pd.DataFrame(lines))), FIRST, workload)


def _optimizers(costs: pd.DataFrame, conditions: Mapping[str, Any]) -> Words:
    names = sorted(
        {optimizer for strategies in costs.strategies for optimizer, *_ in strategies} or set(costs.optimizer)
    )
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    under = "".join(f", {name.replace('_', ' ')} {value}" for name, value in conditions.items())
    return (joined(map(Code, names[:3])), more, under)


def _step(c: Any, *, is_doubtful: bool) -> str:
    return text.measure(c.seconds, text.TIME, c.seconds_low, c.seconds_high) + (f" {DOUBT}" if is_doubtful else "")


def _missing(costs: pd.DataFrame) -> list[Block]:
    """What could not be measured, with each reason once."""
    measured = costs[costs.seconds.notna()]
    lines = [_reasons("Not measured at all", costs[costs.seconds.isna()].reason, "case")]
    lines += [_reasons(f"{name} not measured", measured[column], "case") for column, name in REASONS.items()]
    return [Bullets([line for line in lines if line])] if any(lines) else []


def _doubts(costs: pd.DataFrame) -> list[Block]:
    noisy = costs[costs.noise.map(len) > 0]
    if noisy.empty:
        return []
    of = text.count(int(costs.seconds.notna().sum()), "step cost")
    title = f"{DOUBT} {len(noisy)} of {of} {'is' if len(noisy) == 1 else 'are'} in doubt"
    reasons = noisy.noise.map(", ".join)
    lines = Paragraph(f"{_reasons(title, reasons, 'case')} A step cost is in doubt where {IN_DOUBT}.")
    return [lines] if reasons.nunique() <= REASONS_SHOWN else [Fold(title, [lines])]


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


def _compared(beside: pd.DataFrame) -> list[Block]:
    """What implementations, group counts, precisions and compilation change, over all cases."""
    table = beside[beside.property != "layer_lr"]
    if table.empty:
        return []
    # What groups cost depends on the implementation, so it is told for each.
    named = table.assign(how=(" (" + table.implementation + ")").where(table.property == "grouping", ""))
    lines = [
        (VALUES.get(kind, {}).get(value, value) + how, VALUES.get(kind, {}).get(base, base), part.ratio)
        for (kind, base, value, how), part in groups(named, ["property", "base", "value", "how"])
    ]
    columns: list[Column[Any]] = [
        Column("Step time with", lambda line: line[0]),
        Column("Against", lambda line: line[1]),
        Column("Cases", lambda line: str(len(line[2])), lambda line: len(line[2]), right=True),
        Column(
            "Geometric mean", lambda line: text.times(geometric_mean(line[2])), lambda line: geometric_mean(line[2])
        ),
        Column("Range", lambda line: f"{text.number(line[2].min())} to {text.number(line[2].max())}"),
    ]
    return [Table("step-cost-contrasts", columns, lines)]


def _group_costs(beside: pd.DataFrame) -> "Table[Any]":
    order = ["workload", "optimizer", "schedule", "property", "groups", "value"]
    columns: list[Column[Any]] = [
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
    return Table("group-costs", columns, list(rows(beside.sort_values(order, kind="stable"))))


def case_table(costs: pd.DataFrame) -> "Table[Any]":
    """Every case, measured or not."""
    columns: list[Column[Any]] = [
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
        Column(
            "Step",
            lambda c: f"not measured: {c.reason}" if c.reason else _step(c, is_doubtful=bool(c.noise)),
            lambda c: c.seconds,
        ),
        *_numbers(),
    ]
    return Table("cases", columns, list(rows(costs)))


def _prediction(found: Findings) -> list[Block]:
    """Whole trainings beside what their step costs predict."""
    table = predicted(found.study)
    if table.empty:
        return []
    columns: list[Column[Any]] = [
        Column("Workload", lambda p: p.workload),
        Column("Strategy", lambda p: Code(strategy(p))),
        Column("Run", lambda p: Code(p.key)),
        Column("Steps", lambda p: text.number(p.steps), lambda p: p.steps, right=True),
        Column("Time", lambda p: text.measure(p.seconds, text.TIME), lambda p: p.seconds),
        Column("Predicted", lambda p: text.measure(p.predicted, text.TIME), lambda p: p.predicted),
        Column("Actual / predicted", lambda p: text.times(p.ratio), lambda p: p.ratio, right=True),
        Column("Energy", lambda p: text.measure(p.joules, text.ENERGY), lambda p: p.joules),
        Column("Predicted", lambda p: text.measure(p.joules_predicted, text.ENERGY), lambda p: p.joules_predicted),
    ]
    title = "Whole trainings beside what their step costs predict"
    each = Fold(title, [Table("whole-trainings", columns, list(rows(table)))])
    known = table.dropna(subset="ratio")
    if known.empty:
        nothing = f"No step cost was measured for the {text.count(len(table), 'training')} timed whole."
        return [Paragraph(nothing), each]
    worst = known.loc[np.log(known.ratio).abs().idxmax()]
    sentence = (
        f"Of {text.count(len(known), 'training')} timed whole and alone, the one farthest from what its step costs predict "
        f"took {text.times(worst.ratio)} that: {{strategy}} on {{workload}} (run {{run}})."
    )
    named: dict[str, Words] = {"strategy": Code(strategy(worst)), "workload": worst.workload, "run": Code(worst.key)}
    return [Paragraph(prose(sentence, **named)), each]


def _conditions(found: Findings) -> list[Block]:
    costs = found.study.costs
    facts: list[tuple[str, str]] = [
        (name.replace("_", " "), text.fact(of)) for name, of in sorted(costs.conditions.items())
    ]
    tables: list[Block] = []
    if facts:
        columns: list[Column[Any]] = [Column("Condition", lambda fact: fact[0]), Column("", lambda fact: fact[1])]
        tables.append(Table("", columns, facts))
    if costs.peaks:
        of_peaks: list[Column[Any]] = [
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
    table = found.step_costs
    strategies = [" | ".join(" / ".join(axes) for axes in names) for names in table.strategies]
    plain = table.assign(strategies=strategies, noise=["; ".join(doubts) for doubts in table.noise])
    return plain.to_csv(index=False, float_format="%.6g", lineterminator="\n")


def times_csv(found: Findings) -> str:
    """Time and energy to target of every strategy as ``times.csv``; ``inf`` where it is never reached."""
    return found.times.drop(columns="strategy").to_csv(index=False, float_format="%.6g", lineterminator="\n")
