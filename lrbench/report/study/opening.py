"""What a reader in a hurry reads: what was run, what weakens it, and the verdicts."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from lrbench.analyse import AXES, seed_warning
from lrbench.analyse.results import Verdict
from lrbench.report import text
from lrbench.report.document import (
    Block,
    Code,
    Column,
    Figure,
    Paragraph,
    Section,
    Strong,
    Table,
    Warnings,
    Words,
    caption,
    paragraphs,
    prose,
)
from lrbench.report.drawing import COLOURS, ForestRow, draw, forest
from lrbench.report.findings import Findings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLACES = {
    "lowest": "the lowest lr of its grid",
    "highest": "the highest lr of its grid",
    "only": "the only lr it was run at",
}
"""Where in its grid a best lr lies that may not be the best there is."""
FOREST_ROWS = 4
"""The best strategies of a workload in the picture of the verdict, besides the baseline."""
FOREST_WORKLOADS = 6
"""Workloads in that picture."""


def opening(found: Findings) -> list[Block]:
    """What stands below the title: one sentence, where the rest is, and the warnings."""
    return [Paragraph((summary(found), " ", prose(LINK))), Warnings(warnings(found))]


LINK = (
    "This page is the short report. [report.html](report.html) has everything: all strategies to sort, filter and "
    "compare, and every other section, in one file that opens offline. [tables/](tables/) has each table as CSV and LaTeX."
)


def summary(found: Findings) -> str:
    """One sentence of what was run."""
    runs, machine = found.runs, found.study.machine
    if runs.empty:
        return "No run is stored yet."
    strategies = len(runs[AXES].drop_duplicates())
    return (
        f"{text.count(len(runs), 'run')}: {text.count(strategies, 'strategy')} on "
        f"{text.count(runs.workload.nunique(), 'workload')}, at {text.count(runs.lr.nunique(), 'lr')} and "
        f"{text.count(runs.seed.nunique(), 'seed')}, on {machine['model']}."
    )


def warnings(found: Findings) -> list[Words]:
    """A sentence for everything that weakens the results."""
    study, runs = found.study, found.runs
    lines: list[Words] = []
    planned = int(study.facts["matrix"].get("runs", 0))
    if len(runs) < planned:
        missing = f"Only {len(runs):,} of {planned:,} runs are stored: the same `lrbench run` goes on with the rest."
        lines.append(prose(missing))
    if len(runs) and (few := seed_warning(runs.seed.nunique())):
        lines.append(few)
    lines += _at_a_boundary(found)
    if lost := [w for w in found.workloads if w not in found.ranked_workloads]:
        lines.append(f"No run finished on {', '.join(lost)}.")
    if crashed := int((runs.status == "crashed").sum()):
        lines.append(f"{text.count(crashed, 'run')} crashed and count nowhere below; the next start tries them again.")
    if study.machine.get("dirty"):
        lines.append("The code had uncommitted changes when this was run.")
    if moved := study.costs.conditions.get("moved"):
        lines.append(f"The machine is not as it was: {moved}.")
    return lines


def _at_a_boundary(found: Findings) -> list[Words]:
    """The best lrs that lie at a boundary of their grid."""
    lines: list[Words] = [
        f"On {v.workload} the best strategy is at {PLACES[v.edge]} ({text.lr(v.lr)}): a better lr may lie beyond."
        for v in found.verdicts
        if v.edge
    ]
    every = sum(row.edge != "" for row in found.responses)
    if every > len(lines):
        pairs = f"{every} of {len(found.responses)} pairs of workload and strategy"
        lines.append(f"{pairs} have their best lr at a boundary of their grid.")
    return lines


# ---- the verdicts


def verdict(found: Findings) -> list[Section]:
    """The best strategy of each workload: a picture, a table and how to read them; problems with known answers apart."""
    if not found.verdicts:
        return [Section("Verdict", [Paragraph("Nothing was run, so there is no verdict.")], brief=True)]
    headline = [v for v in found.verdicts if v.workload not in found.known_answers]
    known = [v for v in found.verdicts if v.workload in found.known_answers]
    if not headline:
        headline, known = known, []
    picture = forest_figure(found, headline)
    shown: list[Block] = [picture, caption(FOREST_CAPTION)] if picture else []
    reading = paragraphs(HOW_TO_READ)
    sections = [Section("Verdict", [*shown, verdict_table(found, "verdict", headline), *reading], brief=True)]
    if known:
        table = verdict_table(found, "known-answers", known)
        sections.append(Section("Problems with known answers", [Paragraph(KNOWN_ANSWERS), table], brief=True))
    return sections


def verdict_table(found: Findings, name: str, verdicts: Sequence[Verdict]) -> "Table[Verdict]":
    """One row for each workload. CSV has more columns than people read."""
    metric = found.metric

    def validation(v: Verdict) -> str:
        of = metric(v.workload)
        return f"{of.estimate(v.quality, of.name)}" if v.strategy else text.NONE

    columns: list[Column[Verdict]] = [
        Column("Workload", lambda v: v.workload),
        Column("Best strategy", lambda v: _winner(found, v), lambda v: v.strategy),
        Column("Validation", validation, lambda v: v.quality),
        Column("Gain over baseline", lambda v: _gain(found, v), lambda v: v.gain),
        Column("Tied with it", _ties, lambda v: len(v.not_separated)),
    ]
    return Table(name, columns, verdicts)


def _winner(found: Findings, v: Verdict) -> Words:
    if not v.strategy:
        return "no run finished"
    return (Strong(Code(found.short(v))), f" at lr {text.lr(v.lr)}", " (grid boundary)" if v.edge else "")


def _gain(found: Findings, v: Verdict) -> Words:
    if not v.strategy:
        return text.NONE
    if not v.baseline:
        return "baseline not run"
    if v.baseline == v.strategy:
        return "is the baseline"
    metric = found.metric(v.workload)
    other = () if v.baseline.startswith(f"{v.optimizer} / ") else (" of ", Code(v.baseline))
    boundary = " (grid boundary)" if v.baseline_edge else ""
    gain = f"{metric.gain(v.gain.value)}{metric.interval(v.gain.low, v.gain.high)}"
    return (f"{gain} over {metric.show(v.baseline_quality)}{boundary}", *other)


def _ties(v: Verdict) -> str:
    if not v.strategy:
        return text.NONE
    others = v.strategies - 1
    return f"{len(v.not_separated)} of {others}" if others else "no other was run"


def verdict_line(found: Findings, v: Verdict) -> str:
    """One verdict as a line for a terminal."""
    if not v.strategy:
        return f"{v.workload}: no run finished"
    metric, others = found.metric(v.workload), v.strategies - 1
    rest = f"; {len(v.not_separated)} of {others} others statistically tied" if others else ""
    return (
        f"{v.workload}: {v.strategy} at lr {text.lr(v.lr)}{' (grid boundary)' if v.edge else ''}, "
        f"{metric.estimate(v.quality, metric.name)}{rest}"
    )


# ---- the picture


def forest_figure(found: Findings, verdicts: Sequence[Verdict]) -> Figure | None:
    """The best strategies of each workload and the baseline, each with its interval; None where nothing finished."""
    lines = {str(v.workload): lines for v in verdicts[:FOREST_WORKLOADS] if (lines := _forest_rows(found, v))}
    if not lines:
        return None

    def panel(ax: "Axes", workload: str) -> None:
        metric = found.metric(workload)
        forest(ax, lines[workload], better_is_less=not metric.higher_is_better)
        ax.set_title(workload, loc="left", weight="bold")
        ax.set_xlabel(metric.label + ("" if metric.higher_is_better else " (less is better: to the right)"))

    tall = 0.75 + 0.3 * max(map(len, lines.values()))
    alt = f"The best strategies and the baseline with 95 % intervals: {', '.join(lines)}"
    return Figure("verdict", alt, partial(draw, list(lines), panel, columns=1, size=(8.1, tall)))


def _forest_rows(found: Findings, v: Verdict) -> list[ForestRow]:
    here = found.ranked(v.workload)
    chosen = [row for i, row in enumerate(here) if i < FOREST_ROWS or row.strategy == v.baseline]
    tied, metric = {v.strategy, *v.not_separated}, found.metric(v.workload)
    lines = []
    for row in chosen:
        is_baseline = row.strategy == v.baseline
        colour = "black" if is_baseline else COLOURS[0] if row.strategy in tied else COLOURS[1]
        label = found.short(row) + (" (baseline)" if is_baseline else "")
        of = found.best_cell(row).val_metric
        value, low, high = (metric.scale * x for x in (of.value, of.low, of.high))
        lines.append(ForestRow(label, value, low, high, colour))
    return lines


FOREST_CAPTION = """\
Final validation result of the best strategies at their best lr, with 95 % intervals over seeds; better is to the \
right. Blue: the best and what is statistically tied with it; orange: what is not; black: the baseline, the same \
optimizer with one constant lr for all layers."""
HOW_TO_READ = """\
*How to read it.* A strategy is optimizer / layer-lr policy / schedule; settings that all its variants here share are \
left out of its name. Each stands at its best lr, chosen on validation; a diverged run counts as the untrained model. \
Numbers are interquartile means over seeds, brackets bootstrap 95 % intervals. *Grid boundary*: the best lr is the \
lowest or highest of its grid.

*Statistically tied* with the best: a paired t-test over the shared seeds, corrected for the number of others \
(Bonferroni), is above 5 %, or the mean difference is below 0.1 % (of the metric, or of the untrained one). No \
difference was shown, which is not the same as none. The strategy that is best in truth is the best found, or tied \
with it, in 95 % of studies or more.

*Gain* is the interquartile mean of the differences by seed, not the difference of the means. The winner is the best \
of many on validation, so its gain is flattered; with 5 seeds a 95 % interval covers about 90 %. Intervals cover the \
seeds, not other data, models or budgets. The keys of the runs under each number stand in [summary.csv](summary.csv); \
`lrbench show KEY` tells a run's whole story."""
KNOWN_ANSWERS = """\
Here every step can be computed by hand, or the optimum is known. They show that the instrument measures right, and \
say little of how strategies do on networks."""
