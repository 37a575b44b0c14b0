"""What a step costs, and the time and energy to the target that follow from it."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from lrbench.analyse import CONDITIONS, contrasts, geometric_mean, groups, predicted, rows, strategy
from lrbench.config.cost import IN_DOUBT, PARTS
from lrbench.report import markdown as md
from lrbench.report import text
from lrbench.report.findings import Findings

SHORT = 10
"""The most rows of a table that is not folded."""
LONG = 300
"""The most rows of one that is."""
MARK = "†"
"""Stands at a measurement that stayed doubtful."""
REASONS = {"shares_reason": "Shares of the step", "peak_reason": "Peak memory", "joules_reason": "Energy"}


def times(found: Findings) -> str:
    """Which strategies reach the target soonest, in seconds and joules; empty where no cost was measured."""
    if found.step_costs.empty:
        return ""
    title, known = "Time to target", found.times.dropna(subset="seconds")
    if known.empty:
        why = "No run finished" if found.times.empty else "No step cost was measured for any strategy that was run"
        return md.section(title, f"{why}, so there is no time to tell.")
    return md.section(
        title, *(_fastest(found, str(w), part) for (w,), part in groups(found.times, ["workload"])), TIMES_NOTE
    )


TIMES_NOTE = """\
*Each seed's steps to target x the cost of those steps, measured alone (see below); evaluations are not counted. Medians over seeds; a \
seed that never reaches the target counts as later than all others. Brackets: from the lower end of the bootstrap 95 % interval over \
seeds at the first quartile of the step time to its upper end at the third. All strategies and run keys: `times.csv`.*"""


def _fastest(found: Findings, workload: str, times: pd.DataFrame) -> str:
    header = ["Strategy", "lr", "Reached", "Steps to target", "Step", "Time to target", "Energy to target"]
    ordered = times.sort_values(["seconds", "steps", "strategy"], na_position="last")
    lines = [_timed(t) for t in rows(ordered)]
    rest = lines[SHORT : SHORT + LONG]
    hidden = f"\n\n{len(lines) - SHORT - LONG:,} more are in `times.csv`." if len(lines) > SHORT + LONG else ""
    parts = [
        f"**{md.plain(workload)}**, to {_target(found, workload)}",
        md.table(header, lines[:SHORT], right=[1, 3]),
        _time_against_steps(ordered),
        _why_not(ordered),
        md.details(
            f"The other {text.count(len(lines) - SHORT, 'strategy')}", md.table(header, rest, right=[1, 3]) + hidden
        )
        if rest
        else "",
    ]
    return "\n\n".join(part for part in parts if part)


def _target(found: Findings, workload: str) -> str:
    metric, target = found.metric(workload), found.runs.loc[found.runs.workload == workload, "target"].iloc[0]
    return f"{metric.name} {'≥' if metric.higher_is_better else '≤'} {metric.show(target)}"


def _timed(t: Any) -> list[str]:
    return [
        md.code(t.strategy),
        text.lr(t.lr),
        f"{t.reached} of {t.seeds}",
        text.number(t.steps),
        text.measure(t.step_seconds, text.TIME),
        text.measure(t.seconds, text.TIME, t.seconds_low, t.seconds_high),
        text.measure(t.joules, text.ENERGY, t.joules_low, t.joules_high),
    ]


def _time_against_steps(times: pd.DataFrame) -> str:
    """A sentence where the strategy that is done first is not among those that need the fewest steps; ``times`` come fastest first."""
    done = times[np.isfinite(times.seconds)]
    if done.empty:
        return "No strategy reaches the target in more than half of its seeds."
    first, fewest = done.iloc[0], times.dropna(subset="steps").sort_values(["steps", "seconds", "strategy"]).iloc[0]
    if first.steps <= fewest.steps:
        return ""
    other = text.measure(fewest.seconds, text.TIME) if fewest.seconds == fewest.seconds else "a time that is not known"
    return (
        f"The fastest in time is not the fastest in steps: {md.code(fewest.strategy)} needs the fewest, "
        f"{text.number(fewest.steps)} in "
        f"{other}; {md.code(first.strategy)} needs {text.number(first.steps)} in "
        f"{text.measure(first.seconds, text.TIME)}."
    )


def _why_not(times: pd.DataFrame) -> str:
    """The reasons for missing times and energies, each once."""
    lacking = [
        ("No time", times[times.seconds.isna()].reason),
        ("No energy", times[times.joules.isna() & times.seconds.notna()].joules_reason),
    ]
    lines = [_counted(name, reasons) for name, reasons in lacking]
    return " ".join(line for line in lines if line)


def _counted(name: str, reasons: "pd.Series[Any]", what: str = "strategy") -> str:
    """``name`` and the reasons for it, with how many each concerns; those without a reason are left out."""
    counts = reasons[reasons != ""].value_counts().to_dict()
    told = [
        f"{md.plain(str(reason))} ({text.count(int(n), what)})"
        for reason, n in sorted(counts.items(), key=lambda item: str(item[0]))
    ]
    return f"{name}: {'; '.join(told)}." if told else ""


def steps(found: Findings) -> str:
    """What a step costs; empty where no cost was measured."""
    costs = found.step_costs
    if costs.empty:
        return ""
    beside = contrasts(found.study.costs)
    return md.section(
        "What a step costs",
        _where(found),
        *(_of_workload(str(w), part) for (w,), part in groups(costs[costs.seconds.notna()], ["workload"])),
        STEPS_NOTE if costs.seconds.notna().any() else "",
        _missing(costs),
        _doubts(costs),
        _compared(beside),
        _prediction(found),
        md.details("Every case", _every(costs)),
        md.details("What layer-lr groups cost", _group_costs(beside)) if len(_grouped(beside)) else "",
        md.details("Conditions and the fastest matrix products", _conditions(found)),
    )


STEPS_NOTE = """\
*One row per optimizer, over the distinct steps of its strategies (policies, schedules, stages of unfreezing); where there are several, \
medians and the range of the step time. Brackets: quartiles over windows of several steps. Shares: forward, backward, `optimizer.step()`, \
`scheduler.step()`; the rest is selecting batches and zeroing gradients. Memory: parameters, gradients, state, activations, data. \
FLOP/s count matrix products and convolutions; the percentage is of the fastest matrix product measured on the device in the same \
precision. Energy is the whole device's, idle draw included. Evaluations are not part of a step.*"""


def _where(found: Findings) -> str:
    costs, machine = found.step_costs, found.study.machine
    devices = ", ".join(map(md.plain, sorted(costs.device.unique())))
    measured, threads = int(costs.seconds.notna().sum()), found.study.costs.conditions.get("threads")
    intra = f", {text.count(threads, 'thread')}" if isinstance(threads, int) else ""
    return (
        f"Training steps alone on an idle device, as the reference trainer does them: {text.count(measured, 'case')} "
        f"measured on {devices} "
        f"({md.plain(str(machine['model']))}{intra})"
        + (f", {len(costs) - measured} not." if measured < len(costs) else ".")
    )


def _of_workload(workload: str, costs: pd.DataFrame) -> str:
    """The steps of a workload by optimizer, fastest first; of costs alone where no strategy was measured."""
    usual = costs[(costs.implementation == "default") & (costs.grouping == "policy") & ~costs.compiled]
    usual = (
        usual[usual.strategies.map(len) > 0]
        if (usual.strategies.map(len) > 0).any()
        else usual
        if len(usual)
        else costs
    )
    varying = [name for name in [*CONDITIONS, "device"] if usual[name].nunique() > 1]
    parts = sorted((part.seconds.median(), at, part) for at, part in groups(usual, ["optimizer", *varying]))
    header = [
        "Optimizer", "Strategies", "Step", "Range", "Samples/s", "Forward / backward / optimizer / "
        "scheduler", "Peak memory",
        "FLOP/s (of peak)", "Energy per step",
    ]  # fmt: skip
    lines = [_summary(part, dict(zip(varying, at[1:], strict=True))) for _, at, part in parts[:SHORT]]
    more = f" (the {SHORT} fastest of {len(parts)})" if len(parts) > SHORT else ""
    return f"**{md.plain(workload)}**{more}\n\n" + md.table(header, lines, right=[1, 4])


def _summary(costs: pd.DataFrame, conditions: dict[str, Any]) -> list[str]:
    """One row of the table by optimizer."""
    names = sorted(
        {optimizer for strategies in costs.strategies for optimizer, *_ in strategies} or set(costs.optimizer)
    )
    told = "".join(f", {name.replace('_', ' ')} {value}" for name, value in conditions.items())
    middle = costs.median(numeric_only=True)
    low, high = costs.seconds.min(), costs.seconds.max()
    return [
        ", ".join(map(md.code, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "") + md.plain(told),
        str(len({axes for strategies in costs.strategies for axes in strategies})),
        text.measure(middle.seconds, text.TIME, middle.seconds_low, middle.seconds_high) + _mark(costs),
        text.NONE if len(costs) == 1 else f"{text.measure(low, text.TIME)} to {text.measure(high, text.TIME)}",
        *_numbers(middle),
    ]


def _numbers(c: Any) -> list[str]:
    """Samples/s, shares, memory, FLOP/s and energy of a case, or of medians over cases."""
    shares = [getattr(c, f"{part}_share") for part in PARTS]
    rate = text.measure(c.flops_per_second, text.FLOPS)
    return [
        text.number(c.samples_per_second),
        text.NONE
        if all(map(math.isnan, shares))
        else " / ".join(text.share(s).removesuffix(" %") for s in shares) + " %",
        text.measure(c.peak_bytes, text.BYTES),
        rate if math.isnan(c.peak_share) else f"{rate} ({text.share(c.peak_share)})",
        text.measure(c.joules, text.ENERGY),
    ]


def _mark(costs: pd.DataFrame) -> str:
    return f" {MARK}" if costs.noise.map(len).any() else ""


def _missing(costs: pd.DataFrame) -> str:
    """What could not be measured, with each reason once."""
    measured = costs[costs.seconds.notna()]
    lines = [_counted("Not measured at all", costs[costs.seconds.isna()].reason, "case")]
    lines += [_counted(f"{name} not measured", measured[column], "case") for column, name in REASONS.items()]
    return md.bullets(line for line in lines if line)


def _doubts(costs: pd.DataFrame) -> str:
    noisy = costs[costs.noise.map(len) > 0]
    if noisy.empty:
        return ""
    of = text.count(int(costs.seconds.notna().sum()), "step cost")
    told = f"{MARK} {len(noisy)} of {of} {'is' if len(noisy) == 1 else 'are'} in doubt"
    reasons = noisy.noise.map(", ".join)
    meaning = f"A step cost is in doubt where {IN_DOUBT}."
    lines = f"{_counted(told, reasons, 'case')} {meaning}"
    return lines if reasons.nunique() <= SHORT else md.details(told, lines)


def _compared(beside: pd.DataFrame) -> str:
    """What implementations, group counts, precisions and compilation change, over all cases."""
    table = beside[beside.property != "layer_lr"]
    if table.empty:
        return ""
    names = {
        "compiled": {"True": "compiled", "False": "not compiled"},
        "grouping": {"parameter": "a group per parameter", "one": "one group"},
    }
    names["grouping"] |= {"layer": "a group per layer", "two": "two groups"}
    lines = []
    for (kind, base, value, how), part in groups(_with_how(table), ["property", "base", "value", "how"]):
        told = names.get(kind, {})
        lines.append([md.plain(f"{told.get(value, value)}{how}"), md.plain(told.get(base, base)), *_ratios(part.ratio)])
    return md.table(["Step time with", "Against", "Cases", "Geometric mean", "Range"], lines, right=[2])


def _with_how(beside: pd.DataFrame) -> pd.DataFrame:
    """What groups cost depends on the implementation, so it is told for each."""
    return beside.assign(how=(" (" + beside.implementation + ")").where(beside.property == "grouping", ""))


def _ratios(ratio: "pd.Series[float]") -> list[str]:
    return [
        str(len(ratio)),
        text.times(geometric_mean(ratio)),
        f"{text.number(ratio.min())} to {text.number(ratio.max())}",
    ]


def _grouped(beside: pd.DataFrame) -> pd.DataFrame:
    return beside[beside.property.isin(["grouping", "layer_lr"])]


def _group_costs(beside: pd.DataFrame) -> str:
    header = [
        "Workload",
        "Optimizer",
        "Schedule",
        "Groups are",
        "Implementation",
        "Groups",
        "Step",
        "Against",
        "Groups",
        "Step",
        "Ratio",
    ]
    lines = [
        [
            md.plain(b.workload),
            md.code(b.optimizer),
            md.code(b.schedule),
            md.code(b.value) + (f" from step {b.from_step}" if b.from_step else ""),
            b.implementation,
            str(b.groups),
            text.measure(b.seconds, text.TIME),
            md.plain(b.base),
            str(b.base_groups),
            text.measure(b.base_seconds, text.TIME),
            text.times(b.ratio),
        ]
        for b in rows(
            _grouped(beside).sort_values(
                ["workload", "optimizer", "schedule", "property", "groups", "value"], kind="stable"
            )
        )
    ]
    return _cut(header, lines, [5, 8, 10])


def _cut(header: Sequence[str], lines: Sequence[Sequence[str]], right: Sequence[int]) -> str:
    """A folded table, and where the rest of it is."""
    more = (
        f"\n\n{len(lines) - LONG:,} more rows are left out; every case is in `costs.csv`." if len(lines) > LONG else ""
    )
    return md.table(header, lines[:LONG], right=right) + more


def _every(costs: pd.DataFrame) -> str:
    header = [
        "Workload", "Optimizer", "Layer-lr policy", "Schedule", "From step", "Strategies", "Batch", "Precision", "Implementation",
        "Groups", "Step", "Samples/s", "Forward / backward / optimizer / "
        "scheduler", "Peak memory", "FLOP/s (of peak)", "Energy per step",
    ]  # fmt: skip
    return _cut(header, [_case(c) for c in rows(costs)], [4, 5, 11])


def _case(c: Any) -> list[str]:
    mark = f" {MARK}" if c.noise else ""
    step = (
        text.measure(c.seconds, text.TIME, c.seconds_low, c.seconds_high) + mark
        if not c.reason
        else md.plain(f"not measured: {c.reason}")
    )
    return [
        md.plain(c.workload),
        *(md.code(getattr(c, axis)) for axis in ("optimizer", "layer_lr", "schedule")),
        str(c.from_step),
        str(len(c.strategies)),
        str(c.batch_size) + (f" x {c.accumulate}" if c.accumulate > 1 else ""),
        c.precision,
        c.implementation + (", compiled" if c.compiled else ""),
        f"{c.groups}" + ("" if c.grouping == "policy" else f" ({c.grouping})"),
        step,
        *_numbers(c),
    ]


def _prediction(found: Findings) -> str:
    """Whole trainings beside what their step costs predict."""
    table = predicted(found.study)
    known = table.dropna(subset="ratio")
    if table.empty:
        return ""
    header = ["Workload", "Strategy", "Run", "Steps", "Time", "Predicted", "Actual / predicted", "Energy", "Predicted"]
    body = md.details(
        "Whole trainings beside what their step costs predict",
        md.table(header, map(_beside, rows(table)), right=[3, 6]),
    )
    if known.empty:
        return f"No step cost was measured for the {text.count(len(table), 'training')} timed whole.\n\n{body}"
    worst = known.loc[np.log(known.ratio).abs().idxmax()]
    return (
        f"Of {text.count(len(known), 'training')} timed whole and alone, the one farthest from what its step costs "
        f"predict took "
        f"{text.times(worst.ratio)} that: {md.code(strategy(worst))} on {md.plain(worst.workload)} (run "
        f"{md.code(worst.key)}).\n\n{body}"
    )


def _beside(p: Any) -> list[str]:
    return [
        md.plain(p.workload),
        md.code(strategy(p)),
        md.code(p.key),
        text.number(p.steps),
        text.measure(p.seconds, text.TIME),
        text.measure(p.predicted, text.TIME),
        text.times(p.ratio),
        text.measure(p.joules, text.ENERGY),
        text.measure(p.joules_predicted, text.ENERGY),
    ]


def _conditions(found: Findings) -> str:
    facts = [
        [name.replace("_", " "), md.plain(text.fact(value))]
        for name, value in sorted(found.study.costs.conditions.items())
    ]
    peaks = [
        [md.plain(p.device), p.precision, text.measure(p.flops_per_second, text.FLOPS), f"{p.size:,}"]
        for p in sorted(found.study.costs.peaks, key=lambda p: (p.device, p.precision))
    ]
    tables = [
        md.table(["Condition", ""], facts) if facts else "",
        md.table(["Device", "Precision", "Fastest matrix product", "Rows and columns"], peaks, right=[2, 3])
        if peaks
        else "",
    ]
    return "\n\n".join(table for table in tables if table) or "Nothing was recorded."


def cases_csv(found: Findings) -> str:
    """Every case as ``costs.csv``: sorted, six significant digits; strategies and doubts in one cell each."""
    table = found.step_costs
    told = table.assign(
        strategies=[" | ".join(" / ".join(axes) for axes in names) for names in table.strategies],
        noise=["; ".join(n) for n in table.noise],
    )
    return told.to_csv(index=False, float_format="%.6g", lineterminator="\n")


def times_csv(found: Findings) -> str:
    """Time and energy to target of every strategy as ``times.csv``: sorted, six significant digits, ``inf`` where it is never reached."""
    return found.times.drop(columns="strategy").to_csv(index=False, float_format="%.6g", lineterminator="\n")
