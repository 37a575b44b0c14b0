"""What holds over several workloads."""

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lrbench.analyse import Overall, rows
from lrbench.analyse.overall import LETTERED
from lrbench.analyse.ranks import APPROXIMATE, EXACT, SAMPLED
from lrbench.report import markdown as md
from lrbench.report import text
from lrbench.report.document import Figure
from lrbench.report.drawing import COLOURS, Gallery, broken, draw
from lrbench.report.findings import Findings
from lrbench.report.measured import LONG, Galleries, shown
from lrbench.report.standing import p_value

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KIND = "critical-difference"
WRAP = 52
"""The longest line, in letters, of the name of a strategy."""


def pictures(found: Findings) -> Gallery:
    """The mean ranks of the best strategies and the plain ones, each with a bar of one critical difference."""
    all_of = found.overall
    if not len(all_of.block):
        return Gallery()
    lines = list(rows(_few(all_of.ranked)))

    def panel(ax: "Axes", _: str) -> None:
        for y, row in enumerate(lines):
            colour = "black" if row.plain else COLOURS[0]
            ax.plot([row.rank] * 2, [y] * 2, "o", color=colour, markersize=6)
            ax.plot(
                [row.rank + side * all_of.critical_difference / 2 for side in (-1, 1)],
                [y] * 2,
                color=colour,
                linewidth=1.4,
            )
        ax.set_yticks(range(len(lines)), [broken(row.strategy, WRAP) for row in lines])
        ax.set_ylim(len(lines) - 0.5, -0.5)
        ax.set(xlabel="mean rank (1 is best), ± half a critical difference")

    height = 0.8 + sum(0.12 + 0.16 * len(broken(row.strategy, WRAP).splitlines()) for row in lines)
    alt = f"Mean ranks and the critical difference over {', '.join(all_of.block)}"
    return Gallery((Figure(KIND, alt, partial(draw, ["all"], panel, columns=1, size=(8.5, height))),))


def _few(ranked: pd.DataFrame) -> pd.DataFrame:
    """The best strategies and the plain ones, in order."""
    few: pd.DataFrame = ranked.loc[(np.arange(len(ranked)) < LONG) | ranked.plain.to_numpy(bool)]
    return few


def section(found: Findings, drawn: Galleries) -> str:
    """The ranked strategies and, folded, those that share other workloads; nothing for a study of one workload."""
    if len(found.ranked_workloads) < 2:
        return ""
    heading, all_of = "Over all workloads", found.overall
    if all_of.table.empty:
        return md.section(heading, "No strategy finished on two workloads, so nothing holds over several.")
    others = all_of.table[all_of.table["rank"].isna()]
    return md.section(
        heading,
        *(
            _ranked(found, all_of, drawn)
            if all_of.block
            else ["No two strategies were run on the same two workloads, so none has a rank."]
        ),
        md.details("Strategies on other sets of workloads", _others(others)) if len(others) else "",
        NOTE,
    )


def _ranked(found: Findings, all_of: Overall, drawn: Galleries) -> list[str]:
    ranked = all_of.ranked
    kept = _few(ranked)
    hidden = f" {len(ranked) - len(kept):,} rows are left out." if len(kept) < len(ranked) else ""
    intro = (
        f"{text.count(len(ranked), 'strategy')} were run on all of {', '.join(map(md.plain, all_of.block))}: of "
        f"{text.count(len(found.ranked_workloads), 'workload')} those on which the most can be ranked. "
        f"{_test(all_of)}{hidden}"
    )
    caption = (
        "Two strategies differ (Nemenyi's test, 5 %, over all pairs of the "
        f"{len(ranked)} ranked) where their bars do not overlap. Black: one constant lr for all layers."
    )
    header = ["Mean rank", "Strategy", "Group", "Score, IQM", "Score, mean", "Beats its plain one"]
    lines = [[text.number(row.rank), md.code(row.strategy), row.group, *_scores(row)] for row in rows(kept)]
    return [intro, md.table(header, lines, right=[0]), shown(drawn[KIND], caption)]


METHODS = {
    EXACT: "exact over all orders of the ranks",
    SAMPLED: "over random orders of the ranks",
    APPROXIMATE: "in Iman and Davenport's approximate form",
}


def _test(all_of: Overall) -> str:
    test, count = all_of.test, len(all_of.ranked)
    if math.isnan(test.p):
        return "All are tied everywhere, so there is nothing to test."
    verdict = "differ by more than chance" if test.p < 0.05 else "are not told from chance"
    widest = count - 1
    hopeless = (
        f" No difference of two mean ranks can exceed {widest}, so with so few workloads no pair can be told apart."
        if all_of.critical_difference > widest
        else ""
    )
    p = f"p = {p_value(test.p)}".replace("= <", "<")
    tiny = f", and with so few it could not be below {text.number(test.least, 2)}" if test.least >= 0.05 else ""
    return (
        f"Their ranks {verdict} (Friedman's test, {METHODS[test.method]}: {p}{tiny}); the critical difference of two "
        f"mean ranks is "
        f"{text.number(all_of.critical_difference)}.{hopeless}"
    )


def _others(others: pd.DataFrame) -> str:
    kept = _few(others)
    hidden = f"\n\n{len(others) - len(kept):,} rows are left out." if len(kept) < len(others) else ""
    header = ["Strategy", "Workloads", "Score, IQM", "Score, mean", "Beats its plain one"]
    lines = [[md.code(row.strategy), md.plain(", ".join(row.workloads)), *_scores(row)] for row in rows(kept)]
    return (
        md.table(header, lines)
        + f"\n\nThe scores of these {text.count(len(others), 'strategy')} are over other workloads, so they compare "
        f"where the "
        "workloads are the same only." + hidden
    )


def _scores(row: Any) -> list[str]:
    return [_score(row.iqm, row.low, row.high), _score(row.mean, row.mean_low, row.mean_high), _beats(row)]


def _score(value: float, low: float, high: float) -> str:
    return f"{value:.3f}" + ("" if math.isnan(low) else f" [{low:.3f}, {high:.3f}]")


def _beats(row: Any) -> str:
    if row.baseline == row.strategy:
        return "is the plain one"
    if math.isnan(row.improvement):
        return text.NONE
    interval = (
        ""
        if math.isnan(row.improvement_low)
        else f" [{100 * row.improvement_low:.0f}, {100 * row.improvement_high:.0f}]"
    )
    other = "" if row.baseline.startswith(f"{row.optimizer} / ") else f" ({md.code(row.baseline)})"
    fewer = f" on {', '.join(map(md.plain, row.shared))}" if row.shared != row.workloads else ""
    return f"{text.share(row.improvement)}{interval}{other}{fewer}"


NOTE = f"""\
*Score*: (validation metric - the untrained model's) / (the workload's best strategy's - the untrained model's), so 0 is untrained and 1 \
the best of all strategies on that workload, each at its best lr; pooled over workloads, which weigh alike. IQM: interquartile mean; \
brackets: stratified bootstrap 95 % intervals over seeds, which do not cover other workloads. *Mean rank*: over these workloads, by \
validation score. *Group*: strategies that share a letter have mean ranks less than a critical difference apart; letters are given to the \
{LETTERED} best and the plain ones, {2 * LETTERED} at most. *Beats its plain one*: \
the probability that a run of it ends better than a run of the same optimizer (or of the strategy named) with one constant lr for all \
layers, the mean over workloads; 50 % is no better, no worse; where all pairs of a workload are won, lost or tied, its bracket is \
widened by Wilson's bound for the smaller number of seeds."""
