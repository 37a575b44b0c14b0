"""The tuning budget: what the best of k trials is expected to score, and which strategy to take for how many trials."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lrbench.analyse import (
    BUDGETS,
    best_after,
    of_strategy,
    recommendations,
    rows,
    shared_recommendations,
    tuning_curves,
    untuned,
)
from lrbench.report import text
from lrbench.report.document import Block, Code, Column, Fold, Paragraph, Section, Table, prose
from lrbench.report.drawing import Gallery, Style, gallery
from lrbench.report.findings import Findings
from lrbench.report.study.response import STRATEGIES, leading
from lrbench.stats.estimates import mean, seeds_interval

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
    advice = list(rows(recommendations(found.runs)))
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


def advice_table(found: Findings, advice: Sequence[Any]) -> "Table[Any]":
    """Which strategy to take on each workload for each budget."""

    def expected(a: Any) -> str:
        metric = found.metric(a.workload)
        sign = 1 if metric.higher_is_better else -1
        low, high = sorted([sign * a.low, sign * a.high])
        return f"{metric.show(sign * a.expected)}{metric.interval(low, high)}"

    columns: list[Column[Any]] = [
        Column("Workload", lambda a: a.workload),
        Column("Trials", lambda a: str(a.trials), lambda a: a.trials, right=True),
        Column("Take", lambda a: Code(a.strategy)),
        Column("First lr", lambda a: f"{text.lr(a.lr)} ({a.which})", lambda a: a.lr),
        Column("Expected validation", expected, lambda a: a.expected),
        Column("Tied with it", _tied, lambda a: len(a.not_separated)),
    ]
    return Table("tuning-advice", columns, advice)


def _tied(a: Any) -> str:
    if a.strategies == 1:
        return "no other was compared"
    tied = list(a.not_separated)
    return f"{len(tied)} of {a.strategies - 1}" + (f": {text.some(tied, 2)}" if tied else "")


def _several(found: Findings) -> list[Block]:
    """The recommendations for several workloads at once; nothing where none share strategies."""
    workloads, advice = shared_recommendations(found.runs)
    if not workloads:
        return []

    def share(a: Any) -> str:
        interval = "" if math.isnan(a.low) else f" [{100 * a.low:.1f}, {100 * a.high:.1f}]"
        return f"{100 * a.expected:.1f} %{interval}"

    columns: list[Column[Any]] = [
        Column("Trials on each", lambda a: str(a.trials), lambda a: a.trials, right=True),
        Column("Take", lambda a: Code(a.strategy)),
        Column("Share of the way", share, lambda a: a.expected),
        Column("Tied with it", _tied, lambda a: len(a.not_separated)),
    ]
    strategies = text.count(int(advice.strategies.max()), "strategy")
    note = (
        f"For {text.some(workloads, 6)}, and the {strategies} that all of them have: the largest such table. *Share of the "
        "way*: from the untrained model (0 %) to the best that any of them reaches with "
        f"{max(BUDGETS)} trials or fewer (100 %), mean over workloads and seeds, each workload tuned for itself."
    )
    title = "One strategy for several workloads"
    return [Table("tuning-advice-shared", columns, list(rows(advice)), title=title), Paragraph(prose(note))]


# ---- the figure


def curves(found: Findings) -> Gallery:
    """The expected best validation metric against the number of trials, for the best strategies and the baseline."""
    known, first = tuning_curves(found.runs, TRIALS), untuned(found.runs)
    ranked = best_after(known, RANKED_AT)
    baseline = {v.workload: v.baseline for v in rows(found.verdicts)}

    def panel(ax: "Axes", workload: str) -> None:
        metric, here = found.metric(workload), known[known.workload == workload]
        for row, style in leading(ranked[ranked.workload == workload], baseline[workload]):
            _line(ax, metric, row.strategy, of_strategy(here, row), style)
            at_known_lr = of_strategy(first[first.workload == workload], row).outcome
            value = [_on_axis(metric, at_known_lr.mean())] if len(at_known_lr) else []
            ax.plot([1.0] * len(value), value, "o", markersize=10, markerfacecolor="none", color=style["color"])
        _axes(ax, workload, metric)

    alt = "Expected best validation metric against the number of trials, one line per strategy"
    return gallery("tuning", alt, sorted(ranked.workload.unique()), panel, columns=2, size=(5.4, 4.6))


def _on_axis(metric: text.Metric, outcome: Any) -> Any:
    """Outcomes, of which more is better, in the units of the axis."""
    return outcome * metric.scale * (1 if metric.higher_is_better else -1)


def _line(ax: "Axes", metric: text.Metric, label: str, curve: pd.DataFrame, style: Style) -> None:
    value_SK: NDArray[np.float64] = _on_axis(metric, curve[list(TRIALS)].to_numpy(float))
    ax.plot(TRIALS, value_SK.mean(axis=0), label=label, **style | {"markersize": 3})
    low_K, high_K = zip(*(seeds_interval(seeds, statistic=mean) for seeds in value_SK.T), strict=True)
    ax.fill_between(TRIALS, low_K, high_K, color=style["color"], alpha=0.15, linewidth=0)


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
