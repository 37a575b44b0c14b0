"""The strategies of each workload side by side, how soon their seeds reach the target, and a card for each of the best."""

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lrbench.analyse import AXES
from lrbench.analyse.results import LayerLrs, Response, Standing, TimeToTarget, best_of
from lrbench.analyse.study import Place
from lrbench.report import text
from lrbench.report.document import (
    Block,
    Code,
    Column,
    Fold,
    Paragraph,
    Section,
    Table,
    Words,
    joined,
    prose,
)
from lrbench.report.drawing import COLOURS, Gallery, broken, gallery
from lrbench.report.findings import LISTED, Findings
from lrbench.report.study.response import leading

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]
COMPARED = 30
"""The most strategies of a workload that are compared pair by pair: letters may be many times as many."""
BRIEF = 5
"""Rows of each workload in the short report."""


def ranking(found: Findings) -> Section | None:
    """The best strategies of every workload, the groups that were not told apart, and what would tell them apart."""
    if not found.ranking:
        return None
    compared = best_of((row for row in found.ranking if row.place in found.notable), COMPARED)
    chosen: dict[str, list[Place]] = {}
    for row in compared:
        chosen.setdefault(row.workload, []).append(row.place)
    tables = {workload: _table(found, workload, found.standings_on(workload, of)) for workload, of in chosen.items()}
    known = [table for workload, table in tables.items() if workload in found.known_answers]
    others = [table for workload, table in tables.items() if workload not in found.known_answers]
    blocks: list[Block] = [*others, Paragraph(prose(NOTE))]
    if known:
        blocks.append(Fold("Problems with known answers", known))
    blocks.append(Fold("How soon the seeds reach the target", reached(found).blocks(REACHED)))
    return Section("Ranking and groups", blocks, brief=True)


def _table(found: Findings, workload: str, standing: Sequence[Standing]) -> "Table[Standing]":
    metric = found.metric(workload)

    def mean(s: Standing) -> str:
        deviation = f" ± {metric.bare(s.deviation)}" if math.isfinite(s.deviation) else ""
        return f"{metric.bare(s.mean.value)}{deviation}{metric.interval(s.mean.low, s.mean.high)}"

    def behind(s: Standing) -> str:
        if s.rank == 1:
            return "best"
        return metric.gain(-s.behind.value) + metric.interval(0.0 - s.behind.high, 0.0 - s.behind.low)

    columns: list[Column[Standing]] = [
        Column("Rank", lambda s: f"{s.rank} of {s.of}", lambda s: s.rank, right=True),
        Column("Strategy", lambda s: Code(s.strategy)),
        Column("Group", lambda s: s.group),
        Column("lr", lambda s: text.lr(s.lr), lambda s: s.lr, right=True),
        Column("Validation", lambda s: metric.estimate(s.quality), lambda s: s.quality),
        Column("Mean ± sd", mean, lambda s: s.mean, wide=True),
        Column("Seeds", lambda s: str(s.seeds), lambda s: s.seeds, right=True, wide=True),
        Column("Meets the target", lambda s: text.p_value(s.target_p), lambda s: s.target_p, right=True, wide=True),
        Column("Behind the best", behind, lambda s: s.behind),
        Column(
            "More seeds to tell apart",
            lambda s: text.NONE if math.isnan(s.more_seeds) else f"{s.more_seeds:,.0f}",
            lambda s: s.more_seeds,
            right=True,
            wide=True,
        ),
        Column("Steps to target", _steps, lambda s: s.steps, wide=True),
    ]
    return Table(f"ranking-{workload}", columns, standing, title=workload, most=BRIEF, rest="in report.html")


def _steps(s: Standing) -> str:
    """The Kaplan-Meier median and its interval."""
    low, high, median = (
        text.NEVER if math.isinf(of) else text.number(of) for of in (s.steps.low, s.steps.high, s.steps.value)
    )
    return median if math.isnan(s.steps.low) or low == high == text.NEVER else f"{median} [{low}, {high}]"


NOTE = f"""\
*Group*: two strategies of a table share a letter if, and only if, paired t-tests over the shared seeds, \
Holm-corrected over all pairs of the table, cannot tell them apart. (The verdict compares with the best only, and \
corrects for all strategies.) *Validation*: interquartile mean with its bootstrap 95 % interval. *Behind the best*: \
interquartile mean of the differences by seed. In the page: *mean* with the standard deviation over seeds; *meets the \
target*: p-value of the one-sided t-test that the mean is better than the target; *more seeds to tell apart*: how \
many a paired t-test of the two alone needs besides those it has, to find the observed difference at 5 % in 80 % of \
studies; none where it is below 0.1 %, which counts as none; *steps to target*: Kaplan-Meier median and 95 % \
interval. The tables hold the {LISTED} best strategies of each workload and the baselines, {COMPARED} at most, each \
at its best lr."""


# ---- how soon the target is reached

LIFT = 0.7
"""How much higher each line is drawn than the one before, in points."""
REACHED = (
    "The share of each strategy's seeds that have reached the target by each step (Kaplan-Meier). A seed that never does, "
    "because it ran out of budget or diverged, keeps its line below 100 %. Each line is drawn a little above the one "
    "before, so that equal ones can be seen."
)


def reached(found: Findings) -> Gallery:
    """The share of seeds that have reached the target, over steps: each workload's best strategies and the baseline."""

    def panel(ax: "Axes", workload: str) -> None:
        for i, (row, style) in enumerate(leading(found.ranked(workload), found.winners[workload].baseline)):
            curve = found.survival(row.place)
            share = 100.0 * (1.0 - curve.share_T) + LIFT * i
            label = f"{row.strategy} at\u00a0{text.lr(row.best_lr)}"
            ax.step(curve.step_T, share, where="post", label=label, **style | {"marker": "none"})
        _to_the_last_step(ax, found.budget(workload))
        ax.set(title=workload, xlabel="step", ylabel="seeds that reached the target, %", ylim=(-4.0, 104.0))
        handles, labels = ax.get_legend_handles_labels()
        told = [broken(label, 60) for label in labels]
        ax.legend(handles, told, loc="upper left", bbox_to_anchor=(-0.02, -0.16), handlelength=2.4)

    alt = "Share of seeds that reached the target over training steps, Kaplan-Meier estimate"
    return gallery("steps-to-target", alt, found.ranked_workloads, panel, most=2, columns=2, size=(5.4, 4.3))


def _to_the_last_step(ax: "Axes", budget: float) -> None:
    """Draw every staircase to the end of the panel: the budget, or a little beyond the last step at which anything happens."""
    drawn = [(line, np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)) for line in ax.lines]
    last = max(x[-1] for _, x, _ in drawn)
    end = min(1.02 * budget, 1.1 * last) if last > 0.0 else budget
    for line, x, y in drawn:
        line.set_data(np.append(x, end), np.append(y, y[-1]))
    ax.set_xlim(0.0, end)


# ---- cards

CARDS = 3
"""How many strategies of a workload have a card."""
LAYERS = 8
"""The most groups of parameters whose lrs are told or drawn one by one."""
FACTS = {"optimizer": "optimizers", "layer_lr": "layer_lrs", "schedule": "schedules"}
"""Where a study describes the entries of each axis."""


def cards(found: Findings) -> Section | None:
    """A card for each of the best strategies: what it is, its lr for each layer, and what became of it."""
    if not found.ranking:
        return None
    best = [_card(found, row) for row in best_of(found.ranking, CARDS)]
    return Section("Strategy cards", [*lr_by_layer(found).blocks(LR_BY_LAYER), *best])


LR_BY_LAYER = (
    "The lr of every group of parameters at each evaluation, for each workload's best strategy; groups of one lr share a "
    "line, and a line begins where its layers join."
)


def lr_by_layer(found: Findings) -> Gallery:
    """The lr of each group of layers over the steps, for the winner of each workload."""
    winner = found.winners

    def panel(ax: "Axes", workload: str) -> None:
        run = found.layer_lrs(winner[workload].place)
        for i, (name, lr_E) in enumerate(_lr_lines(run)):
            linestyle = "-" if i < len(COLOURS) else "--"
            ax.plot(run.step_E, lr_E, color=COLOURS[i % len(COLOURS)], linestyle=linestyle, label=name)
        ax.set(xlabel="step", ylabel="lr")
        ax.set_title(
            "\n".join([workload, *textwrap.wrap(winner[workload].strategy, 44, break_long_words=False)]), size=9
        )
        ax.set_ylim(bottom=0.0)
        ax.legend(loc="best")

    alt = "The lr of each group of layers over the steps, best strategy"
    return gallery("lr-by-layer", alt, list(winner), panel, per_figure=6, most=1, columns=3, size=(4.4, 3.0))


def _lr_lines(run: LayerLrs) -> list[tuple[str, Floats]]:
    """The lr at each evaluation of every group, groups of one lr throughout as one line; NaN before a group joined."""
    alike: dict[bytes, list[int]] = {}
    for i in range(len(run.groups)):
        alike.setdefault(run.lr_EG[:, i].tobytes(), []).append(i)
    if len(alike) == 1:
        return [("all layers", run.lr_EG[:, 0])]
    lines = list(alike.values())[: 2 * len(COLOURS)]
    return [(text.some([run.groups[i] for i in same], 2), run.lr_EG[:, same[0]]) for same in lines]


def _card(found: Findings, row: Response) -> Fold:
    metric = found.metric(row.workload)
    cell = found.best_cell(row)
    default = f"; the optimizer's default is {text.lr(row.default_lr)}"
    steps = text.NONE if math.isnan(cell.steps_to_target) else text.number(cell.steps_to_target)
    spread = f"spread over seeds {metric.bare(cell.val_metric_spread)}"
    shaken = f"{cell.diverged} of {cell.runs} diverged; {text.number(cell.spikes, 2)} loss spikes a run"
    tests = [v for v in found.verdicts if v.place == row.place]
    facts: list[tuple[str, Words]] = [
        *((axis.replace("_", "-"), _meaning(found, axis, getattr(row, axis))) for axis in AXES),
        ("lr", text.lr(row.best_lr) + (" (grid boundary)" if row.edge else "") + default),
        ("lr by layer", _by_layer(found.layer_lrs(row.place))),
        ("validation", metric.estimate(cell.val_metric)),
        *(("test", metric.show(v.test_metric.value)) for v in tests),
        ("steps to target", f"{steps}, {cell.reached} of {cell.runs} runs reach it"),
        ("stability", f"{shaken}; oscillation {text.number(cell.oscillation, 2)}; {spread}"),
        ("runs", joined(map(Code, cell.keys.split()), " ")),
        ("lr response", _response(row)),
        *([("cost", _cost(found, row))] if found.times else []),
    ]
    columns: list[Column[tuple[str, Words]]] = [Column("", lambda fact: fact[0]), Column("", lambda fact: fact[1])]
    return Fold((row.workload, ": ", Code(row.strategy)), [Table("", columns, facts)])


def _meaning(found: Findings, axis: str, label: str) -> Words:
    entry = found.study.facts.get(FACTS[axis], {}).get(label, {})
    sentences = [str(entry[name]).rstrip(".") for name in ("meaning", "source") if entry.get(name)]
    return joined([Code(label), *sentences], ". ")


def _by_layer(run: LayerLrs) -> str:
    lines = _lr_lines(run)
    shown = [f"{name} {_span(lr_E)}" for name, lr_E in lines[:LAYERS]]
    return "; ".join(shown) + (f"; {len(lines) - LAYERS} more" if len(lines) > LAYERS else "")


def _span(lr_E: Floats) -> str:
    """The lr of a group at its first and last evaluation, and the highest in between."""
    known = lr_E[np.isfinite(lr_E)]
    if not len(known):
        return "never moved"
    first, last, most = known[0], known[-1], known.max()
    late = " (joins later)" if np.isnan(lr_E[0]) else ""
    if known.min() == most:
        return text.lr(first) + late
    peak = f", at most {text.lr(most)}" if most > max(first, last) else ""
    return f"{text.lr(first)} to {text.lr(last)}{peak}{late}"


def _response(row: Response) -> str:
    bound = "≥ " if row.usable_open == 1.0 else ""
    stable = ("≥ " if not row.cliff_seen else "") + text.number(row.largest_stable, 2)
    return (
        f"usable from {text.lr(row.usable_low)} to {text.lr(row.usable_high)} ({bound}{text.number(row.width, 2)} decades); "
        f"largest stable lr {stable}; sensitivity {text.number(row.sensitivity, 2)}"
    )


def _cost(found: Findings, row: Response) -> str:
    known = (t for t in found.times if t.place == row.place and not math.isnan(t.step_seconds))
    steps = [f"{text.measure(t.step_seconds, text.TIME)} a step, {_until(t)}" for t in known]
    return "; ".join(steps) or text.NONE


def _until(t: TimeToTarget) -> str:
    if math.isnan(t.seconds.value):
        return "no time to target"
    return f"target after {text.estimate(t.seconds, text.TIME)}"
