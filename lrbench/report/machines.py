"""One matrix on several machines as something to read: ``comparison.md`` beside their folders. Side by side, never pooled."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pandas as pd

from lrbench import analyse
from lrbench.analyse import DIFFERENT, EQUIVALENT, EQUIVALENT_STEPS, UNDECIDED, groups, rows, seed_warning
from lrbench.config.cost import IN_DOUBT
from lrbench.report import text
from lrbench.report.document import (
    Block,
    Bullets,
    Code,
    Column,
    Document,
    Fold,
    Paragraph,
    Section,
    Strong,
    Table,
    Warnings,
    Words,
    caption,
    joined,
    prose,
)
from lrbench.report.drawing import write_figures
from lrbench.report.findings import Findings
from lrbench.report.machine_figures import STRATEGIES, speed_up, time_to_target
from lrbench.report.render import markdown, write_tables
from lrbench.store import Study, write_whole

FILE = "comparison.md"
FIRST = 10
"""The strategies of a workload, or pairs of them, that a reader sees at first."""
MOST = 300
"""The most rows of a folded table."""


def together(studies: Iterable[Study]) -> dict[Path, dict[str, Study]]:
    """Of each folder with two or more machines' studies of one matrix: these, by machine; of several matrices the fullest."""
    places: dict[Path, dict[str, list[Study]]] = {}
    for study in studies:
        places.setdefault(study.folder.parent, {}).setdefault(study.name, []).append(study)
    fullest = {
        place: max(sorted(parts.items()), key=lambda part: len(part[1]))[1] for place, parts in sorted(places.items())
    }
    return {place: analyse.side_by_side(part) for place, part in fullest.items() if len(part) > 1}


def write(folder: Path, studies: Mapping[str, Study], prices: Mapping[str, float] | None = None) -> Path:
    """Write ``comparison.md`` and its figures into a folder. Returns: the path of ``comparison.md``.

    The order of the studies changes nothing. Figures of an earlier comparison that this one does not have are removed.
    """
    known = {name: price for name, price in sorted((prices or {}).items()) if name in studies}
    document = comparison(Comparison(dict(sorted(studies.items())), known))
    write_figures(folder, document.figures())
    write_tables(folder, document)
    return write_whole(folder / FILE, markdown.document(document))


@dataclass(frozen=True)
class Comparison:
    """Studies of one matrix by machine, and the tables that ``analyse`` makes of them; ``prices`` are per hour of a machine."""

    studies: dict[str, Study]
    prices: dict[str, float] = field(default_factory=dict)

    @cached_property
    def baseline(self) -> str | None:
        """The machine with the slowest steps, which the others are compared with; None where none has costs."""
        return analyse.slowest(self.studies)

    @cached_property
    def found(self) -> dict[str, Findings]:
        """The machines that have runs, each with those that all of them share."""
        return {name: Findings(study) for name, study in analyse.shared_runs(self.studies).items() if len(study.runs)}

    @cached_property
    def reference(self) -> str | None:
        """The machine whose steps to target, and best lrs, the others are compared with; None where no run is shared."""
        return self.baseline if self.baseline in self.found else next(iter(self.found), None)

    @cached_property
    def best(self) -> dict[str, pd.DataFrame]:
        """The shared runs of each machine at the lrs that are best on the reference."""
        if self.reference is None:
            return {}
        responses = self.found[self.reference].response_table
        return {name: analyse.at_best_lr(found.runs, responses) for name, found in self.found.items()}

    @cached_property
    def times(self) -> pd.DataFrame:
        """Time to target by machine, workload and strategy; empty without shared runs."""
        if not self.best:
            return pd.DataFrame()
        return analyse.times_on({name: self.studies[name] for name in self.best}, self.best)

    @cached_property
    def known_times(self) -> pd.DataFrame:
        """Those of strategies whose step was measured."""
        return self.times.dropna(subset="seconds") if len(self.times) else self.times

    @cached_property
    def parity(self) -> pd.DataFrame:
        """Steps to target beside those of the reference."""
        return analyse.parity(self.best, self.reference) if self.reference else pd.DataFrame()

    @cached_property
    def speedups(self) -> pd.DataFrame:
        """How many times as fast a step is as on the baseline."""
        return analyse.cost_ratios(self.studies, self.baseline) if self.baseline else pd.DataFrame()


def comparison(two: Comparison) -> Document:
    """The whole comparison."""
    name = next(iter(two.studies.values())).name
    sections = [
        in_short(two),
        machines(two),
        speedups(two),
        energy(two),
        times(two),
        changes(two),
        parity(two),
        money(two),
    ]
    return Document(
        f"{name} on {len(two.studies)} machines",
        [
            Paragraph(("Side by side, never pooled: ", joined(map(Code, two.studies)), ".")),
            Warnings(list(warnings(two))),
        ],
        [section for section in sections if section],
    )


# ---- what limits it

PARTS = {
    "optimizers": "optimizers",
    "layer_lrs": "layer-lr policies",
    "schedules": "schedules",
    "workloads": "workloads",
}


def warnings(two: Comparison) -> Iterator[Words]:
    """A sentence for everything that limits the comparison."""
    yield from _other_steps(two)
    facts = [study.facts for study in two.studies.values()]
    if apart := [words for name, words in PARTS.items() if len({tuple(sorted(f.get(name, {}))) for f in facts}) > 1]:
        yield f"The matrices do not have the same {' and '.join(apart)}."
    if names := _other_budgets(facts):
        yield f"Targets or budgets differ on {', '.join(names)}: these are other runs."
    counts = {name: len(study.runs) for name, study in two.studies.items() if len(study.runs)}
    shared = len(next(iter(two.found.values())).runs) if two.found else 0
    if len(counts) > 1 and set(counts.values()) != {shared}:
        had = ", ".join(f"{name} has {n:,}" for name, n in counts.items())
        runs = text.count(shared, "run")
        yield f"{runs} with the same key were trained on all machines with runs ({had}): only these are compared."
    if no_runs := [name for name, study in two.studies.items() if study.runs.empty]:
        yield f"No runs are stored of {', '.join(no_runs)}: only its step costs are compared."
    if no_costs := [name for name, study in two.studies.items() if analyse.case_costs(study).empty]:
        yield f"No step costs were measured on {', '.join(no_costs)}: there are no times for it."
    if two.reference and (few := seed_warning(two.found[two.reference].runs.seed.nunique())):
        yield few
    for fact, words in {"torch": "versions of torch", "commit": "commits of lrbench"}.items():
        values = {name: study.machine.get(fact) for name, study in two.studies.items()}
        if len(set(values.values())) > 1:
            yield f"Different {words}: {', '.join(f'{n} {str(v)[:12]}' for n, v in values.items())}."
    doubts = {name: sum(bool(cost.noise) for cost in study.costs.costs) for name, study in two.studies.items()}
    if noisy := [f"{n} of {len(two.studies[name].costs.costs)} on {name}" for name, n in doubts.items() if n]:
        yield f"Step costs in doubt ({IN_DOUBT}): {', '.join(noisy)}. Each machine's own report says which."


def _other_steps(two: Comparison) -> Iterator[Words]:
    """The machines that need other numbers of steps: what should not be."""
    for (machine,), part in groups(two.parity, ["machine"]) if len(two.parity) else ():
        others = list(rows(part[part.verdict == DIFFERENT]))
        if others:
            named = [(Code(p.strategy), f" on {p.workload} ({_how_other(p)})") for p in others[:5]]
            more = f" and {len(others) - 5} more" if len(others) > 5 else ""
            pairs = f" with {len(others)} of {text.count(len(part), 'pair')} of workload and strategy: "
            yield (
                Strong(f"{machine} needs other numbers of steps than {two.reference}"),
                pairs,
                joined(named),
                f"{more}.",
            )


def _how_other(p: Any) -> str:
    apart = f"{text.count(p.one_only, 'seed')} of {p.seeds} reached on one only" if p.one_only else ""
    return ", ".join(filter(None, [text.times(p.ratio) if math.isfinite(p.ratio) else "", apart]))


def _other_budgets(facts: Sequence[dict[str, Any]]) -> list[str]:
    """The workloads of all studies that have another target or budget in some."""
    names = sorted(set.intersection(*(set(f.get("workloads", {})) for f in facts)))
    terms = {w: {(f["workloads"][w].get("target"), f["workloads"][w].get("steps")) for f in facts} for w in names}
    return [w for w in names if len(terms[w]) > 1]


# ---- the sections


def in_short(two: Comparison) -> Section:
    """The strategy that is done first on each machine, for each workload."""
    known = two.known_times
    if known.empty:
        nothing = "No machine has both runs that all share and the step costs of their strategies: there are no times."
        return Section("In short", [Paragraph(nothing)])

    def first(machine: str) -> Column[Any]:
        def show(part: pd.DataFrame) -> Words:
            times = part[part.machine == machine]
            done = times[times.seconds < math.inf].sort_values(["seconds", "strategy"])
            if done.empty:
                return "none reaches it" if len(times) else text.NONE
            soonest = done.iloc[0]
            return (Code(soonest.strategy), ": ", _seconds(soonest))

        return Column(machine, show)

    columns: list[Column[Any]] = [
        Column("Workload", lambda part: str(part.workload.iloc[0])),
        *map(first, sorted(known.machine.unique())),
    ]
    table = Table("soonest", columns, [part for _, part in groups(known, ["workload"])])
    return Section("In short", [Paragraph("The strategy that reaches the target soonest:"), table])


def _seconds(t: Any) -> str:
    return text.measure(t.seconds, text.TIME, t.seconds_low, t.seconds_high)


def machines(two: Comparison) -> Section:
    """What was compared."""

    def fact(title: str, name: str, *, right: bool = False) -> Column[str]:
        def value(machine: str) -> object:
            return two.studies[machine].machine.get(name)

        return Column(title, lambda m: text.NONE if value(m) in {None, ""} else str(value(m)), value, right)

    def flags(machine: str) -> str:
        facts = two.studies[machine].machine
        return text.fact({name: of for name, of in facts.items() if "precision" in name or "tf32" in name})

    def threads(machine: str) -> str:
        study = two.studies[machine]
        of = study.costs.conditions.get("threads", study.machine.get("threads_per_worker"))
        return text.NONE if of is None else str(of)

    def runs(machine: str) -> int:
        return len(two.studies[machine].runs)

    def cases(machine: str) -> int:
        return sum(cost.measured for cost in two.studies[machine].costs.costs)

    def price(machine: str) -> float:
        return two.prices.get(machine, math.nan)

    columns: list[Column[str]] = [
        Column("Machine", Code),
        fact("Model", "model"),
        fact("Count", "count", right=True),
        fact("Driver", "driver"),
        fact("CUDA", "cuda"),
        fact("torch", "torch"),
        Column("Threads", threads),
        Column("Precision flags", flags),
        Column("Runs", lambda m: f"{runs(m):,}", runs, right=True),
        Column("Cases measured", lambda m: f"{cases(m):,}", cases, right=True),
        *([Column("Price per hour", lambda m: text.number(price(m), 6), price)] if two.prices else []),
    ]
    blocks: list[Block] = [Table("machines", columns, list(two.studies))]
    if two.reference is not None:
        links = ", ".join(f"[{name}]({name}/summary.csv)" for name in two.found)
        blocks.append(Paragraph(prose(WHICH_RUNS.replace("LINKS", links), reference=Code(two.reference))))
    return Section("Machines", blocks)


WHICH_RUNS = """\
*Which runs.* The same on every machine, so that one key names them all: those of a workload and strategy at the lr that is \
best on {reference}. They stand in `summary.csv` of each machine, by strategy and lr: LINKS. `lrbench show KEY` tells a \
run's whole story."""


def speedups(two: Comparison) -> Section:
    """How many times as fast steps are."""
    title = "What a step costs"
    if two.baseline is None:
        return Section(title, [Paragraph("No machine has step costs.")])
    table = _ratio_table(two, "speed-up", two.speedups)
    if not table:
        return Section(title, [_no_case(two.baseline, "step times")])
    what = Paragraph(prose(SPEEDUPS, baseline=Code(two.baseline)))
    return Section(title, [what, *table, *speed_up(two.speedups).blocks(SPEEDUP_CAPTION)])


SPEEDUPS = """\
How many times as fast a training step is as on {baseline}, the machine with the slowest steps: geometric mean over the \
cases that both measured, in brackets a bootstrap 95 % interval over these cases: how much it depends on the case, not how \
well it was measured."""
SPEEDUP_CAPTION = "Dots: geometric means over shared cases; bars: bootstrap 95 % intervals over them; the dashed line is the baseline."


def _no_case(baseline: str, what: str) -> Paragraph:
    sentence = f"No other machine has {what} of a case that was measured on {{baseline}} too."
    return Paragraph(prose(sentence, baseline=Code(baseline)))


def _ratio_table(two: Comparison, name: str, ratios: pd.DataFrame) -> list[Block]:
    """Workloads down, machines across; nothing without a shared case."""
    if ratios.empty:
        return []
    cells = {(r.workload, r.machine): r for r in rows(ratios)}

    def ratio(machine: str) -> Column[str]:
        def show(workload: str) -> str:
            r = cells.get((workload, machine))
            return text.NONE if r is None else f"{text.times(r.ratio, r.low, r.high)} ({text.count(r.cases, 'case')})"

        return Column(machine, show)

    names = [machine for machine in two.studies if machine in set(ratios.machine)]
    columns = [Column[str]("Workload", str), *map(ratio, names)]
    return [Table(name, columns, sorted(ratios.workload.unique()))]


def energy(two: Comparison) -> Section | None:
    """What a step draws, where two machines can tell."""
    if two.baseline is None:
        return None
    title = "Energy of a step"
    known = {name: study for name, study in two.studies.items() if len(analyse.case_costs(study, "joules"))}
    unknown: list[Words] = []
    for name in sorted(set(two.studies) - set(known)):
        reasons = {cost.joules_reason for cost in two.studies[name].costs.costs if cost.measured} - {""}
        unknown.append(f"{name}: no energy{': ' + '; '.join(sorted(reasons)) if reasons else ' was recorded'}.")
    if len(known) < 2:
        few = Paragraph("Two machines that can read their energy are needed to compare it.")
        return Section(title, [few, Bullets(unknown)])
    base = two.baseline if two.baseline in known else next(iter(known))
    ratios = analyse.cost_ratios(known, base, "joules")
    less = ratios.assign(ratio=1.0 / ratios.ratio, low=1.0 / ratios.high, high=1.0 / ratios.low)
    what = "Energy per step as a multiple of that on {base}, over the cases whose energy both know, as above."
    table = _ratio_table(two, "energy", less) or [Paragraph("They share no such case.")]
    return Section(title, [Paragraph(prose(what, base=Code(base))), *table, *([Bullets(unknown)] if unknown else [])])


def times(two: Comparison) -> Section | None:
    """Time to target of every strategy on every machine."""
    known = two.known_times
    if known.empty:
        return None
    tables = [_over_machines(two, "time", str(w), part, _time) for (w,), part in groups(known, ["workload"])]
    note = caption(TIMES, reference=Code(str(two.reference)), others=_other_lrs(two))
    return Section("Time to target", [*time_to_target(known).blocks(TIMES_CAPTION), *tables, note])


TIMES = """\
Steps to target on the machine x what its own steps cost. Every strategy at the lr that is best on {reference}, so that all \
machines are compared on the same runs{others}. Medians over seeds, a seed that never reaches the target counting as later \
than all others; brackets: from the lower end of the bootstrap 95 % interval over seeds at the first quartile of the step \
time to its upper end at the third."""
TIMES_CAPTION = (
    f"Of each workload up to {STRATEGIES} strategies, those that are done first on some machine. Dots: medians; bars: the "
    "intervals below, an arrow where one ends at never."
)


def _other_lrs(two: Comparison) -> str:
    """On how many pairs of workload and strategy another machine prefers another lr."""
    best = {name: {row.place: row.best_lr for row in found.ranking} for name, found in two.found.items()}
    here = best.pop(str(two.reference))
    apart = {name: sum(there.get(place) != lr for place, lr in here.items()) for name, there in best.items()}
    named = [f"{name} with {n} of {len(here)} strategies" for name, n in apart.items() if n]
    return f"; another lr is best on {', '.join(named)}" if named else ""


Cell = Callable[[Any], tuple[float, str]]
"""Of a time its value, to sort by, and what is shown."""


def _time(t: Any) -> tuple[float, str]:
    return t.seconds, _seconds(t)


def _over_machines(two: Comparison, name: str, workload: str, times: pd.DataFrame, cell: Cell) -> Block:
    """Strategies down, those with the least value on some machine first; machines across."""
    machines = [machine for machine in two.studies if machine in set(times.machine)]
    cells = {(t.strategy, t.machine): cell(t) for t in rows(times)}
    least = {s: min(cells[s, m][0] for m in machines if (s, m) in cells) for s in sorted(times.strategy.unique())}

    def of(machine: str) -> Column[str]:
        def get(strategy: str) -> tuple[float, str]:
            return cells.get((strategy, machine), (math.nan, text.NONE))

        return Column(machine, lambda strategy: get(strategy)[1], lambda strategy: get(strategy)[0])

    columns = [Column[str]("Strategy", Code), *map(of, machines)]
    return Table(
        f"{name}-{workload}", columns, sorted(least, key=lambda s: (least[s], s)), FIRST, workload, "in tables/"
    )


def changes(two: Comparison) -> Section | None:
    """Pairs of strategies that change places."""
    known = two.known_times
    if known.empty or known.machine.nunique() < 2:
        return None
    title, pairs = "Where the ranking by time changes", list(rows(analyse.rank_changes(known)))
    if not pairs:
        nothing = "No pair of strategies changes places between two machines."
        return Section(title, [Paragraph(nothing), caption(CHANGES)])

    def against(one: float, other: float) -> str:
        return f"{text.measure(one, text.TIME)} against {text.measure(other, text.TIME)}"

    columns: list[Column[Any]] = [
        Column("Workload", lambda c: c.workload),
        Column("Faster here, slower there", lambda c: Code(c.faster)),
        Column("Slower here, faster there", lambda c: Code(c.slower)),
        Column("Here", lambda c: c.machine),
        Column("Times here", lambda c: against(c.faster_seconds, c.slower_seconds)),
        Column("There", lambda c: c.other_machine),
        Column("Times there", lambda c: against(c.other_faster_seconds, c.other_slower_seconds)),
        Column("Apart on", lambda c: c.apart_on),
    ]
    intro = Paragraph(f"{text.count(len(pairs), 'pair')}, the most pronounced first:")
    return Section(title, [intro, Table("rank-changes", columns, pairs, FIRST, rest="in tables/"), caption(CHANGES)])


CHANGES = """\
A pair counts when one of the two has the smaller median time on one machine and the greater on another, and their intervals \
(those of the times above) do not overlap on at least one of the two machines. Pairs that only their medians reverse are not \
listed. The pairs are not corrected for their number."""


def parity(two: Comparison) -> Section:
    """Whether the machines need the same numbers of steps."""
    title = "Steps to target"
    if two.parity.empty:
        return Section(title, [Paragraph("Two machines with shared runs are needed to compare steps to target.")])

    def verdicts(verdict: str) -> Column[Any]:
        def count(part: pd.DataFrame) -> int:
            return int((part.verdict == verdict).sum())

        return Column(verdict.capitalize(), lambda part: str(count(part)), count, right=True)

    summary: list[Column[Any]] = [
        Column("Workload", lambda part: str(part.workload.iloc[0])),
        Column("Machine", lambda part: str(part.machine.iloc[0])),
        *map(verdicts, (EQUIVALENT, DIFFERENT, UNDECIDED)),
        Column("Steps, range of ratios", lambda part: _range(part.ratio)),
        Column("Seeds that reach it on one only", lambda part: str(int(part.one_only.sum()))),
    ]
    each: list[Column[Any]] = [
        Column("Workload", lambda p: p.workload),
        Column("Strategy", lambda p: Code(p.strategy)),
        Column("lr", lambda p: text.lr(p.lr), lambda p: p.lr, right=True),
        Column("Machine", lambda p: p.machine),
        Column("Steps", lambda p: text.number(p.steps), lambda p: p.steps, right=True),
        Column(
            f"on {two.reference}", lambda p: text.number(p.reference_steps), lambda p: p.reference_steps, right=True
        ),
        Column("Ratio", lambda p: text.times(p.ratio), lambda p: p.ratio),
        Column("p, equivalent", lambda p: text.number(p.p, 2), lambda p: p.p, right=True),
        Column("p, different", lambda p: text.number(p.p_different, 2), lambda p: p.p_different, right=True),
        Column("Seeds", lambda p: str(p.seeds), lambda p: p.seeds, right=True),
        Column("On one only", lambda p: str(p.one_only), lambda p: p.one_only, right=True),
        Column("On neither", lambda p: str(p.neither), lambda p: p.neither, right=True),
        Column("Verdict", lambda p: Strong(p.verdict) if p.verdict == DIFFERENT else p.verdict),
    ]
    gravity = two.parity.verdict.map({DIFFERENT: 0, UNDECIDED: 1, EQUIVALENT: 2})
    order = ["gravity", "workload", "strategy", "machine"]
    pairs = rows(two.parity.assign(gravity=gravity).sort_values(order, kind="stable"))
    what = "They are a matter of the mathematics, so every machine should need as many as {reference}:"
    parts = [part for _, part in groups(two.parity, ["workload", "machine"])]
    return Section(
        title,
        [
            Paragraph(prose(what, reference=Code(str(two.reference)))),
            Table("parity", summary, parts),
            caption(PARITY),
            Fold("Every strategy", [Table("parity-by-strategy", each, list(pairs), MOST, rest="in tables/")]),
        ],
    )


PARITY = f"""\
Equivalent: the mean ratio of steps to target, paired by run (same seed and lr), lies between 1/{1 + EQUIVALENT_STEPS:g} and \
{1 + EQUIVALENT_STEPS:g}, by two one-sided t-tests on the log steps (TOST) at 5 %. Different: not so, and a paired t-test tells the two \
apart at 5 %. Undecided: neither, for want of seeds or because no seed reaches the target on both. p-values are \
Holm-corrected over the strategies of a workload and machine. A seed that reaches the target on one machine only counts as \
reaching it right after the budget on the other, the least that it can be apart, and makes no strategy equivalent; one that \
reaches it on neither says nothing. Steps are counted in whole evaluation intervals: what is less is not seen."""


def _range(ratio: "pd.Series[float]") -> str:
    known = ratio.dropna()
    return f"{text.number(known.min())} to {text.number(known.max())}" if len(known) else text.NONE


def money(two: Comparison) -> Section | None:
    """What a training to the target costs at the prices given."""
    if not two.prices:
        return None
    title, known = "Cost to target", two.known_times
    known = known[known.machine.isin(list(two.prices))] if len(known) else known
    if known.empty:
        return Section(title, [Paragraph("None of the machines with a price has times to target.")])
    prices = ", ".join(f"{name} {text.number(price, 6)}" for name, price in two.prices.items())
    cell = partial(_money, two)
    tables = [_over_machines(two, "money", str(w), part, cell) for (w,), part in groups(known, ["workload"])]
    return Section(title, [*tables, caption(MONEY, prices=prices)])


MONEY = """\
Time to target x price per hour of the whole machine ({prices}), in the currency of the prices. One training is charged the \
whole machine, as if it ran alone there: where n trainings share it without slowing each other, divide by n. Evaluations, \
start and idle hours are not counted. Intervals as for the times."""


def _money(two: Comparison, t: Any) -> tuple[float, str]:
    price = two.prices[t.machine]
    bounds = (t.seconds, t.seconds_low, t.seconds_high)
    cost, low, high = (analyse.money(s, price) if math.isfinite(s) else s for s in bounds)
    interval = "" if math.isnan(low) else f" [{_amount(low)}, {_amount(high)}]"
    return cost, _amount(cost) + interval


def _amount(value: float) -> str:
    return text.NEVER if math.isinf(value) else text.number(value)
