"""The sections of a comparison: machines, step costs, energy, times, rankings, steps and money, side by side."""

import math
from collections.abc import Callable
from typing import Any

import pandas as pd

from lrbench import analyse
from lrbench.analyse import ALIKE, DIFFERENT, EQUIVALENT, UNDECIDED, groups, rows
from lrbench.report import machine_figures as pictures
from lrbench.report import markdown as md
from lrbench.report import text
from lrbench.report.comparing import Comparison
from lrbench.report.drawing import Gallery
from lrbench.report.render import markdown as rendering
from lrbench.store import Study


def shown(gallery: Gallery, caption: str) -> str:
    """Some figures and, in italics, what to see in them; empty without any."""
    return "\n\n".join(rendering.blocks(gallery.blocks("{words}", words=caption)))


SHORT = 10
"""The most strategies of a workload, or pairs of them, that are not folded away."""
LONG = 300
"""The most rows of a folded table."""


def machines(two: Comparison) -> str:
    """What was compared."""
    header = [
        "Machine",
        "Model",
        "Count",
        "Driver",
        "CUDA",
        "torch",
        "Threads",
        "Precision flags",
        "Runs",
        "Cases measured",
    ]
    header += ["Price per hour"] if two.prices else []
    lines = [_machine(two, name, study) for name, study in two.studies.items()]
    return md.section("Machines", md.table(header, lines, right=[2, 8, 9]), _which_runs(two))


def _which_runs(two: Comparison) -> str:
    """Where the keys of the runs under each number stand."""
    if two.reference is None:
        return ""
    links = [f"[{name}]({name}/summary.csv)" for name in two.found]
    return (
        "*Which runs.* The same on every machine, so that one key names them all: those of a workload and strategy at "
        "the lr that is best "
        f"on {md.code(two.reference)}. They stand in `summary.csv` of each machine, by strategy and lr: "
        f"{', '.join(links)}. "
        "`lrbench show KEY` tells a run's whole story."
    )


def _machine(two: Comparison, name: str, study: Study) -> list[str]:
    facts = study.machine
    flags = text.fact({key: value for key, value in facts.items() if "precision" in key or "tf32" in key})
    threads = study.costs.conditions.get("threads", facts.get("threads_per_worker"))
    shown = [
        facts.get("model"),
        facts.get("count"),
        facts.get("driver"),
        facts.get("cuda"),
        facts.get("torch"),
        threads,
        flags,
    ]
    cells = [md.code(name), *(text.NONE if fact in {None, ""} else md.plain(str(fact)) for fact in shown)]
    cells += [f"{len(study.runs):,}", f"{sum(cost.measured for cost in study.costs.costs):,}"]
    return cells + ([text.number(two.prices.get(name, math.nan), 6)] if two.prices else [])


def speedups(two: Comparison, drawn: dict[str, Gallery]) -> str:
    """How many times as fast steps are."""
    title = "What a step costs"
    if two.baseline is None:
        return md.section(title, "No machine has step costs.")
    told = (
        f"How many times as fast a training step is as on {md.code(two.baseline)}, the machine with the slowest steps: "
        f"geometric mean over "
        "the cases that both measured, in brackets a bootstrap 95 % interval over these cases: how much it depends on "
        "the case, not how "
        "well it was measured."
    )
    table = _ratio_table(two, two.speedups)
    caption = "Dots: geometric means over shared cases; bars: bootstrap 95 % intervals over them; the dashed line is the baseline."
    return md.section(title, told if table else _no_case(two, "step times"), table, shown(drawn["speed-up"], caption))


def _no_case(two: Comparison, what: str) -> str:
    return f"No other machine has {what} of a case that was measured on {md.code(str(two.baseline))} too."


def _ratio_table(two: Comparison, ratios: pd.DataFrame) -> str:
    """Workloads down, machines across."""
    if ratios.empty:
        return ""
    names = [name for name in two.studies if name in set(ratios.machine)]
    cells = {
        (r.workload, r.machine): f"{text.times(r.ratio, r.low, r.high)} ({text.count(r.cases, 'case')})"
        for r in rows(ratios)
    }
    lines = [
        [md.plain(w), *(cells.get((w, name), text.NONE) for name in names)] for w in sorted(ratios.workload.unique())
    ]
    return md.table(["Workload", *map(md.plain, names)], lines)


def energy(two: Comparison) -> str:
    """What a step draws, where two machines can tell."""
    if two.baseline is None:
        return ""
    known = {name: study for name, study in two.studies.items() if len(analyse.case_costs(study, "joules"))}
    reasons = _energy_reasons(two, set(two.studies) - set(known))
    if len(known) < 2:
        return md.section(
            "Energy of a step", "Two machines that can read their energy are needed to compare it.", reasons
        )
    base = two.baseline if two.baseline in known else next(iter(known))
    ratios = analyse.cost_ratios(known, base, "joules")
    less = ratios.assign(ratio=1.0 / ratios.ratio, low=1.0 / ratios.high, high=1.0 / ratios.low)
    told = f"Energy per step as a multiple of that on {md.code(base)}, over the cases whose energy both know, as above."
    return md.section("Energy of a step", told, _ratio_table(two, less) or "They share no such case.", reasons)


def _energy_reasons(two: Comparison, names: set[str]) -> str:
    lines = []
    for name in sorted(names):
        reasons = sorted({cost.joules_reason for cost in two.studies[name].costs.costs if cost.measured} - {""})
        lines.append(
            f"{md.plain(name)}: no energy{': ' + md.plain('; '.join(reasons)) if reasons else ' was recorded'}."
        )
    return md.bullets(lines)


def times(two: Comparison, drawn: dict[str, Gallery]) -> str:
    """Time to target of every strategy on every machine."""
    known = two.known_times
    if known.empty:
        return ""
    note = (
        f"*Steps to target on the machine x what its own steps cost. Every strategy at the lr that is best on "
        f"{md.code(str(two.reference))}, so that all machines are compared on the same runs{_other_lrs(two)}. Medians "
        f"over seeds, a seed "
        "that never reaches the target counting as later than all others; brackets: from the lower end of the "
        "bootstrap 95 % interval over "
        "seeds at the first quartile of the step time to its upper end at the third.*"
    )
    caption = (
        f"Of each workload up to {pictures.STRATEGIES} strategies, those that are done first on some machine. Dots: "
        f"medians; bars: the "
        "intervals below, an arrow where one ends at never."
    )
    blocks = [_over_machines(two, str(w), part, _time_cell) for (w,), part in groups(known, ["workload"])]
    return md.section("Time to target", shown(drawn["time-to-target"], caption), *blocks, note)


def _other_lrs(two: Comparison) -> str:
    """On how many pairs of workload and strategy another machine prefers another lr."""
    here = two.found[str(two.reference)].responses.set_index(analyse.STRATEGY).best_lr
    others = {
        name: found.responses.set_index(analyse.STRATEGY).best_lr
        for name, found in two.found.items()
        if name != two.reference
    }
    apart = {name: int((best.reindex(here.index) != here)[here.notna()].sum()) for name, best in others.items()}
    told = [f"{md.plain(name)} with {n} of {int(here.notna().sum())} strategies" for name, n in apart.items() if n]
    return f"; another lr is best on {', '.join(told)}" if told else ""


def _time_cell(_: Comparison, t: Any) -> tuple[float, str]:
    return t.seconds, text.measure(t.seconds, text.TIME, t.seconds_low, t.seconds_high)


def _over_machines(
    two: Comparison, workload: str, times: pd.DataFrame, cell: Callable[[Comparison, Any], tuple[float, str]]
) -> str:
    """Strategies down, those with the least value on some machine first; machines across."""
    names = [name for name in two.studies if name in set(times.machine)]
    cells = {(t.strategy, t.machine): cell(two, t) for t in rows(times)}
    least = {s: min(cells[s, name][0] for name in names if (s, name) in cells) for s in sorted(times.strategy.unique())}
    lines = [
        [md.code(s), *(cells[s, name][1] if (s, name) in cells else text.NONE for name in names)]
        for s in sorted(least, key=lambda s: (least[s], s))
    ]
    header = ["Strategy", *map(md.plain, names)]
    rest = lines[SHORT : SHORT + LONG]
    folded = (
        md.details(f"The other {text.count(len(lines) - SHORT, 'strategy')}", md.table(header, rest)) if rest else ""
    )
    return "\n\n".join(filter(None, [f"**{md.plain(workload)}**", md.table(header, lines[:SHORT]), folded]))


def changes(two: Comparison) -> str:
    """Pairs of strategies that change places."""
    known = two.known_times
    if known.empty or known.machine.nunique() < 2:
        return ""
    title, changes = "Where the ranking by time changes", analyse.rank_changes(known)
    rule = (
        "*A pair counts when one of the two has the smaller median time on one machine and the greater on another, and "
        "their intervals "
        "(those of the times above) do not overlap on at least one of the two machines. Pairs that only their medians "
        "reverse are not "
        "listed. The pairs are not corrected for their number.*"
    )
    if changes.empty:
        return md.section(title, "No pair of strategies changes places between two machines.", rule)
    header = [
        "Workload",
        "Faster here, slower there",
        "Slower here, faster there",
        "Here",
        "Times here",
        "There",
        "Times there",
        "Apart on",
    ]
    lines = [_change(c) for c in rows(changes)]
    folded = (
        md.details(f"{len(lines) - SHORT:,} more", md.table(header, lines[SHORT : SHORT + LONG]))
        if len(lines) > SHORT
        else ""
    )
    return md.section(
        title,
        f"{text.count(len(changes), 'pair')}, the most pronounced first:",
        md.table(header, lines[:SHORT]),
        folded,
        rule,
    )


def _change(c: Any) -> list[str]:
    here, there = (c.faster_seconds, c.slower_seconds), (c.other_faster_seconds, c.other_slower_seconds)
    return [
        md.plain(c.workload),
        md.code(c.faster),
        md.code(c.slower),
        md.plain(c.machine),
        " against ".join(text.measure(t, text.TIME) for t in here),
        md.plain(c.other_machine),
        " against ".join(text.measure(t, text.TIME) for t in there),
        md.plain(c.apart_on),
    ]


def parity(two: Comparison) -> str:
    """Whether the machines need the same numbers of steps."""
    title = "Steps to target"
    if two.parity.empty:
        return md.section(title, "Two machines with shared runs are needed to compare steps to target.")
    verdicts = (EQUIVALENT, DIFFERENT, UNDECIDED)
    header = [
        "Workload",
        "Machine",
        *(v.capitalize() for v in verdicts),
        "Steps, range of ratios",
        "Seeds that reach it on one only",
    ]
    lines = [
        [
            md.plain(w),
            md.plain(m),
            *(str(int((p.verdict == v).sum())) for v in verdicts),
            _range(p.ratio),
            str(int(p.one_only.sum())),
        ]
        for (w, m), p in groups(two.parity, ["workload", "machine"])
    ]
    order = {DIFFERENT: 0, UNDECIDED: 1, EQUIVALENT: 2}
    each = two.parity.assign(order=two.parity.verdict.map(order)).sort_values(
        ["order", "workload", "strategy", "machine"], kind="stable"
    )
    detail = [
        "Workload",
        "Strategy",
        "lr",
        "Machine",
        "Steps",
        f"on {md.plain(str(two.reference))}",
        "Ratio",
        "p, equivalent",
        "p, different",
    ]
    detail += ["Seeds", "On one only", "On neither", "Verdict"]
    more = f"\n\n{len(each) - LONG:,} more rows are left out." if len(each) > LONG else ""
    return md.section(
        title,
        f"They are a matter of the mathematics, so every machine should need as many as {md.code(str(two.reference))}:",
        md.table(header, lines, right=range(2, 5)),
        PARITY_NOTE,
        md.details(
            "Every strategy",
            md.table(detail, [_pair(p) for p in rows(each.head(LONG))], right=[2, 4, 5, 7, 8, 9, 10, 11]) + more,
        ),
    )


PARITY_NOTE = f"""\
*Equivalent: the mean ratio of steps to target, paired by run (same seed and lr), lies between 1/{1 + ALIKE:g} and {1 + ALIKE:g}, by \
two one-sided t-tests on the log steps (TOST) at 5 %. Different: not so, and a paired t-test tells the two apart at 5 %. Undecided: \
neither, for want of seeds or because no seed reaches the target on both. p-values are Holm-corrected over the strategies of a workload \
and machine. A seed that reaches the target on one machine only counts as reaching it right after the budget on the other, the least \
that it can be apart, and makes no strategy equivalent; one that reaches it on neither says nothing. Steps are counted in whole evaluation \
intervals: what is less is not seen.*"""


def _range(ratio: "pd.Series[float]") -> str:
    known = ratio.dropna()
    return f"{text.number(known.min())} to {text.number(known.max())}" if len(known) else text.NONE


def _pair(p: Any) -> list[str]:
    return [
        md.plain(p.workload),
        md.code(p.strategy),
        text.lr(p.lr),
        md.plain(p.machine),
        text.number(p.steps),
        text.number(p.reference_steps),
        text.times(p.ratio),
        text.number(p.p, 2),
        text.number(p.p_different, 2),
        *map(str, (p.seeds, p.one_only, p.neither)),
        p.verdict if p.verdict != DIFFERENT else f"**{p.verdict}**",
    ]


def money(two: Comparison) -> str:
    """What a training to the target costs at the prices given."""
    known = two.known_times[two.known_times.machine.isin(list(two.prices))] if len(two.known_times) else two.known_times
    if not two.prices:
        return ""
    title = "Cost to target"
    if known.empty:
        return md.section(title, "None of the machines with a price has times to target.")
    told = ", ".join(f"{md.plain(name)} {text.number(price, 6)}" for name, price in two.prices.items())
    note = (
        f"*Time to target x price per hour of the whole machine ({told}), in the currency of the prices. One training "
        f"is charged the "
        "whole machine, as if it ran alone there: where n trainings share it without slowing each other, divide by n. "
        "Evaluations, start "
        "and idle hours are not counted. Intervals as for the times.*"
    )
    blocks = [_over_machines(two, str(w), part, _money_cell) for (w,), part in groups(known, ["workload"])]
    return md.section(title, *blocks, note)


def _money_cell(two: Comparison, t: Any) -> tuple[float, str]:
    cost, low, high = (
        analyse.money(s, two.prices[t.machine]) if math.isfinite(s) else s
        for s in (t.seconds, t.seconds_low, t.seconds_high)
    )
    interval = "" if math.isnan(low) else f" [{_amount(low)}, {_amount(high)}]"
    return cost, _amount(cost) + interval


def _amount(value: float) -> str:
    return text.NEVER if math.isinf(value) else text.number(value)
