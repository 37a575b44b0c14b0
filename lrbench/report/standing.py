"""The strategies of each workload side by side, and how soon their seeds reach the target."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lrbench.analyse import groups, of_strategy, places, rows, survival
from lrbench.analyse.frames import STRATEGY
from lrbench.report import markdown as md
from lrbench.report import text
from lrbench.report.drawing import Gallery, Style, broken, gallery
from lrbench.report.figures import top
from lrbench.report.findings import Findings
from lrbench.report.measured import LONG, Galleries, notable, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KIND = "steps-to-target"
MOST = 2
"""The most figures."""
LIFT = 0.7
"""How much higher each line is drawn than the one before, in points."""
COMPARED = 30
"""The most rows of a table: letters may be many times as many."""
SURE = 1e-3
"""A p-value below this is told as that."""


def pictures(found: Findings) -> Gallery:
    """The share of seeds that have reached the target, over steps: each workload's best strategies at their best lr, and the plain one."""
    verdicts = {v.workload: v for v in rows(found.verdicts)}

    def panel(ax: "Axes", workload: str) -> None:
        runs = found.best[found.best.workload == workload]
        leading = top(found.ranking[found.ranking.workload == workload], verdicts[workload].baseline)
        for i, (row, style) in enumerate(leading):
            _curve(ax, f"{row.strategy} at\u00a0{text.lr(row.best_lr)}", of_strategy(runs, row), style, lift=i)
        _to_the_last_step(ax, float(runs.budget.max()))
        ax.set(title=workload, xlabel="step", ylabel="seeds that reached the target, %", ylim=(-4.0, 104.0))
        handles, labels = ax.get_legend_handles_labels()
        ax.legend(
            handles,
            [broken(label, 60) for label in labels],
            loc="upper left",
            bbox_to_anchor=(-0.02, -0.16),
            handlelength=2.4,
        )

    alt = "Share of seeds that reached the target over training steps, Kaplan-Meier estimate"
    return gallery(KIND, alt, found.ranked_workloads, panel, most=MOST, columns=2, size=(5.4, 4.3))


def _curve(ax: "Axes", label: str, runs: pd.DataFrame, style: Style, lift: int) -> None:
    """One staircase, ``lift`` places above the first, so that all are seen where they agree."""
    curve = survival(runs)
    ax.step(
        curve.step_T,
        100.0 * (1.0 - curve.share_T) + LIFT * lift,
        where="post",
        label=label,
        **style | {"marker": "none"},
    )


def _to_the_last_step(ax: "Axes", budget: float) -> None:
    """Draw every staircase on to the end of the panel: the budget, or a little beyond the last step at which anything happens."""
    drawn = [(line, np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)) for line in ax.lines]
    last = max(x[-1] for _, x, _ in drawn)
    end = min(1.02 * budget, 1.1 * last) if last > 0.0 else budget
    for line, x, y in drawn:
        line.set_data(np.append(x, end), np.append(y, y[-1]))
    ax.set_xlim(0.0, end)


def section(found: Findings, drawn: Galleries) -> str:
    """The figure and, folded, a table for each workload."""
    if found.ranking.empty:
        return ""
    caption = (
        "The share of each strategy's seeds that have reached the target by each step (Kaplan-Meier); a seed that "
        "never does, because it "
        f"ran out of budget or diverged, keeps its line below 100 %. Each line is drawn {LIFT:g} points above the one "
        f"before, so that "
        "equal ones can be seen."
    )
    compared = groups(places(found.best, found.ranking, _compared(found)), ["workload"])
    tables = [
        md.details(f"Ranking with groups: {md.plain(workload)}", _table(found, part)) for (workload,), part in compared
    ]
    return md.section("Ranking and groups", shown(drawn[KIND], caption), NOTE, *tables)


def _compared(found: Findings) -> set[tuple[str, ...]]:
    """Of each workload, the notable strategies, the first ``COMPARED`` of them by rank."""
    chosen = notable(found)
    ranked = found.ranking[[tuple(getattr(row, axis) for axis in STRATEGY) in chosen for row in rows(found.ranking)]]
    return {tuple(row) for row in rows(ranked.groupby("workload").head(COMPARED)[STRATEGY])}


NOTE = f"""\
*Group*: two strategies of a table share a letter if, and only if, paired t-tests over the shared seeds, Holm-corrected over all pairs of \
the table, cannot tell them apart. (The verdict compares with the best only, and corrects for all strategies.) *Validation*: \
interquartile mean; *mean*: with the standard deviation over seeds; brackets are bootstrap 95 % intervals. *Meets the target*: p-value of \
the one-sided t-test that the mean is better than the target. *Behind the best*: interquartile mean of the differences by seed. *More \
seeds to tell apart*: how many a paired t-test of the two alone needs besides those it has, to find the observed difference at 5 % in 80 % \
of studies; none where it is below 0.1 %, which counts as none, however many seeds there are. *Steps to target*: Kaplan-Meier median \
and 95 % interval. The tables hold the {LONG} best strategies of each workload and the plain ones, {COMPARED} at most, \
each at its best lr."""
HEADER = [
    "Rank", "Strategy", "Group", "lr", "Validation", "Mean ± sd", "Seeds", "Meets the target", "Behind the best",
    "More seeds to tell apart", "Steps to target",
]  # fmt: skip


def _table(found: Findings, standing: pd.DataFrame) -> str:
    lines = [_line(found.metric(s.workload), s) for s in rows(standing)]
    return md.table(HEADER, lines, right=[0, 3, 6, 7, 9])


def _line(metric: text.Metric, s: Any) -> list[str]:
    deviation = f" ± {metric.bare(s.deviation)}" if math.isfinite(s.deviation) else ""
    return [
        f"{s.rank} of {s.of}",
        md.code(s.strategy),
        s.group,
        text.lr(s.lr),
        metric.show(s.quality) + metric.interval(s.low, s.high),
        f"{metric.bare(s.mean)}{deviation}{metric.interval(s.mean_low, s.mean_high)}",
        str(s.seeds),
        p_value(s.target_p),
        _behind(metric, s),
        text.NONE if math.isnan(s.more_seeds) else f"{s.more_seeds:,.0f}",
        _steps(s),
    ]


def _behind(metric: text.Metric, s: Any) -> str:
    return (
        "best" if s.rank == 1 else f"{metric.gain(-s.behind)}{metric.interval(0.0 - s.behind_high, 0.0 - s.behind_low)}"
    )


def _steps(s: Any) -> str:
    low, high = (text.NEVER if math.isinf(bound) else text.number(bound) for bound in (s.steps_low, s.steps_high))
    median = text.NEVER if math.isinf(s.steps) else text.number(s.steps)
    return median if math.isnan(s.steps_low) or low == high == text.NEVER else f"{median} [{low}, {high}]"


def p_value(p: float) -> str:
    """A p-value.

    >>> p_value(0.0312), p_value(1e-9), p_value(1.0)
    ('0.031', '< 0.001', '1')
    """
    return f"< {SURE:g}" if p < SURE else text.number(p, 2)
