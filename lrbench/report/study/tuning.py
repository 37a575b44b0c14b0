"""The tuning budget: what the best of k trials is expected to score, and which strategy to take for how many trials."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lrbench.analyse.results import Advice, TuningCurve
from lrbench.analyse.tuning import BUDGETS
from lrbench.report import text
from lrbench.report.document import Block, Code, Column, Fold, Paragraph, Section, Table, prose
from lrbench.report.drawing import Gallery, gallery
from lrbench.report.findings import Findings
from lrbench.report.study.response import STRATEGIES, leading

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RANKED_AT = 5
"""The number of trials after which strategies are ranked for the figure."""
TRIALS = tuple(int(k) for k in np.unique(np.geomspace(1, 64, 25).round()))
"""The numbers of trials that are drawn; ``RANKED_AT`` is one of them."""
CROPPED = 3
"""A panel ends where its lowest line is after so many trials: the first ones would flatten all that comes later."""
TICKS = (1, 2, 5, 10, 20, 50)
TITLE = "Tuning budget"


def tuning(found: Findings) -> Section:
    """The curves and the recommendations."""
    advice = found.advice
    if not advice:
        nothing = (
            "No strategy was run at its optimizer's default lr or at two lrs, so there is nothing to tell of tuning."
        )
        return Section(TITLE, [Paragraph(nothing)], brief=True)
    tables = [advice_table(found, advice), Paragraph(prose(HOW_TO_READ)), *_several(found)]
    return Section(TITLE, [*curves(found).blocks(CURVES), Fold("What to take for how many trials", tables)], brief=True)


CURVES = (
    "The validation metric to be expected of the best of so many trials, each at an lr drawn from the strategy's grid, "
    f"with replacement: each workload's {STRATEGIES} best strategies after {RANKED_AT} trials and, dashed, the baseline. "
    "Lines: mean over seeds; bands: bootstrap 95 % intervals; rings: one trial at the lr that is known beforehand (the "
    "optimizer's default if it was run, else the middle of the grid). What is worse than all lines after "
    f"{CROPPED} trials leaves the panel downwards, rings too."
)
HOW_TO_READ = """\
*How to read it.* The first trial is at the *first lr*: the optimizer's default one where it was run, else the middle \
one of the strategy's grid. Every other trial is at an lr drawn at random from the grid; all are at one seed, and the \
run that validates best is kept. A run that diverged, or ended worse than the untrained model, counts as the \
untrained model. *Expected*: the mean over seeds, exact over the draws, with a bootstrap 95 % interval over seeds. \
*Tied with it*: as in the verdict, among the strategies that were compared. What tuning costs depends on where one \
looks: strategies whose grid spans less than half the decades of the workload's widest are only compared at one \
trial, and then at their default lr."""


def advice_table(found: Findings, advice: Sequence[Advice]) -> "Table[Advice]":
    """Which strategy to take on each workload for each budget."""

    def expected(a: Advice) -> str:
        metric = found.metric(a.workload)
        return metric.estimate(metric.signed(a.expected))

    columns: list[Column[Advice]] = [
        Column("Workload", lambda a: a.workload),
        Column("Trials", lambda a: str(a.trials), lambda a: a.trials, right=True),
        Column("Take", lambda a: Code(a.strategy)),
        Column("First lr", lambda a: f"{text.lr(a.lr)} ({a.which})", lambda a: a.lr),
        Column("Expected validation", expected, lambda a: found.metric(a.workload).signed(a.expected)),
        Column("Tied with it", _tied, lambda a: len(a.not_separated)),
    ]
    return Table("tuning-advice", columns, advice)


def _tied(a: Advice) -> str:
    if a.strategies == 1:
        return "no other was compared"
    tied = a.not_separated
    return f"{len(tied)} of {a.strategies - 1}" + (f": {text.some(tied, 2)}" if tied else "")


def _several(found: Findings) -> list[Block]:
    """The recommendations for several workloads at once; nothing where none share strategies."""
    workloads, advice = found.shared_advice
    if not workloads:
        return []

    def share(a: Advice) -> str:
        low, high = a.expected.low, a.expected.high
        interval = "" if math.isnan(low) else f" [{100 * low:.1f}, {100 * high:.1f}]"
        return f"{100 * a.expected.value:.1f} %{interval}"

    columns: list[Column[Advice]] = [
        Column("Trials on each", lambda a: str(a.trials), lambda a: a.trials, right=True),
        Column("Take", lambda a: Code(a.strategy)),
        Column("Share of the way", share, lambda a: a.expected),
        Column("Tied with it", _tied, lambda a: len(a.not_separated)),
    ]
    strategies = text.count(max(a.strategies for a in advice), "strategy")
    note = (
        f"For {text.some(workloads, 6)}, and the {strategies} that all of them have: the largest such table. *Share of the "
        "way*: from the untrained model (0 %) to the best that any of them reaches with "
        f"{max(BUDGETS)} trials or fewer (100 %), mean over workloads and seeds, each workload tuned for itself."
    )
    title = "One strategy for several workloads"
    return [Table("tuning-advice-shared", columns, advice, title=title), Paragraph(prose(note))]


# ---- the figure


def curves(found: Findings) -> Gallery:
    """The expected best validation metric against the number of trials, for the best strategies and the baseline."""
    tuned: dict[str, list[TuningCurve]] = {}
    for curve in found.tuning(TRIALS, RANKED_AT):
        tuned.setdefault(curve.workload, []).append(curve)
    baseline = {v.workload: v.baseline for v in found.verdicts}

    def panel(ax: "Axes", workload: str) -> None:
        metric = found.metric(workload)
        unit = metric.scale * (1 if metric.higher_is_better else -1)
        for curve, style in leading(tuned[workload], baseline[workload]):
            middle, low, high = (
                unit * np.array(of) for of in zip(*((e.value, e.low, e.high) for e in curve.expected_K), strict=True)
            )
            ax.plot(TRIALS, middle, label=curve.strategy, **style | {"markersize": 3})
            ax.fill_between(TRIALS, low, high, color=style["color"], alpha=0.15, linewidth=0)
            first = [] if math.isnan(curve.first) else [unit * curve.first]
            ax.plot([1.0] * len(first), first, "o", markersize=10, markerfacecolor="none", color=style["color"])
        _axes(ax, workload, metric)

    alt = "Expected best validation metric against the number of trials, one line per strategy"
    return gallery("tuning", alt, sorted(tuned), panel, columns=2, size=(5.4, 4.6))


def _axes(ax: "Axes", workload: str, metric: text.Metric) -> None:
    ax.set_xscale("log")
    ax.set_xticks(TICKS, [str(k) for k in TICKS])
    ax.minorticks_off()
    _crop(ax, metric)
    if not metric.higher_is_better:
        ax.invert_yaxis()
    ylabel = metric.label + ("" if metric.higher_is_better else " (better is up)")
    ax.set(title=workload, xlabel="trials", ylabel=ylabel)
    ax.legend(loc="upper left", bbox_to_anchor=(-0.02, -0.16), handlelength=2.4)


def _crop(ax: "Axes", metric: text.Metric) -> None:
    """Show what is at least as good as the lowest line after ``CROPPED`` trials."""
    drawn = [np.asarray(line.get_ydata(), float) for line in ax.lines]
    lines = [line for line in drawn if len(line) == len(TRIALS)]
    sign = 1 if metric.higher_is_better else -1
    lowest, highest = (f([sign * line[TRIALS.index(CROPPED) :] for line in lines]) for f in (np.min, np.max))
    room = 0.08 * (highest - lowest) or 1e-3 * abs(highest) or 1.0
    ax.set_ylim(*sorted([sign * (lowest - room), sign * (highest + room)]))
