"""Performance profiles, drawn; and the section of a report on them."""

import math
from functools import partial
from typing import TYPE_CHECKING

from lrbench.analyse.profiles import profile, taus
from lrbench.analyse.score import Standings
from lrbench.report import markdown as md
from lrbench.report import text
from lrbench.report.document import Figure
from lrbench.report.drawing import BASELINE, Gallery, Style, draw, line_style
from lrbench.report.findings import Findings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

BEST = 5
"""The best strategies in the figure of a report, ..."""
PLAIN = 3
"""... and the best plain ones, dashed."""
SHORT = 10
"""The rows of the table that is not folded, besides the plain strategies."""
LONG = 300
"""The most rows of the one that is."""
SIZE = (6.4, 4.6)
NAME = "performance-profile"
APART = 0.005
"""How much lower each line is drawn than the one before, so that equal ones can be told apart."""

UNITS = {"seconds": "time", "steps": "steps"}

Lines = list[tuple[int, Style]]
"""Strategies by their place in the standings, each with how its line is drawn."""


def figure(found: Standings, lines: Lines, unit: str) -> "Drawing":
    """The performance profiles of some strategies: the share of workloads within a factor tau of the fastest."""

    def panel(ax: "Axes", _: str) -> None:
        tau_T = taus(found.tau_max)
        rho_ST = profile(found.ratio_BS, tau_T)
        for i, (s, style) in enumerate(lines):
            label = f"{found.strategies[s]}: {found.score_S[s]:.3f}"
            ax.plot(tau_T, rho_ST[s] - APART * i, label=label, **style | {"marker": "none", "drawstyle": "steps-post"})
        count = len(found.base_names)
        ax.set(
            xlim=(1.0, found.tau_max),
            ylim=(-0.02 - APART * len(lines), 1.02),
            xlabel=f"{unit} to target / that of the fastest (tau)",
        )
        ax.set(ylabel=f"share of {text.count(count, 'workload')}", title="Performance profile")
        told = (
            f"score (each line drawn {APART:g} below the one before, to show equal ones)" if len(lines) > 1 else "score"
        )
        ax.legend(loc="upper left", bbox_to_anchor=(-0.02, -0.14), title=told, alignment="left")

    return draw([NAME], panel, columns=1, size=(SIZE[0], SIZE[1] + 0.18 * len(lines)))


def pictures(found: Findings) -> Gallery:
    """The profiles of the best strategies of a study and of the plain ones; empty where there are no standings."""
    standings = found.standings
    if standings is None:
        return Gallery()
    alt = "Performance profiles: share of workloads against time to target over that of the fastest"
    unit = UNITS[standings.measure]
    return Gallery((Figure(NAME, alt, partial(figure, standings, _lines(found, standings), unit)),))


def _lines(found: Findings, standings: Standings) -> Lines:
    plain = [s for s in standings.order if standings.strategies[s] in found.plain_strategies]
    best = [s for s in standings.order if s not in plain[:PLAIN]][:BEST]
    dashed = [(s, BASELINE | {"color": shade}) for s, shade in zip(plain, ("black", "0.4", "0.65"), strict=False)]
    return [(s, line_style(i)) for i, s in enumerate(best)] + dashed


def section(found: Findings, drawn: Gallery) -> str:
    """How strategies do over all workloads together; empty where no two workloads share two strategies."""
    standings = found.standings
    if standings is None:
        return ""
    plain = found.plain_strategies
    order = [s for s in standings.order if s in standings.order[:SHORT] or standings.strategies[s] in plain][
        : 2 * SHORT
    ]
    rest = [s for s in standings.order if s not in order]
    caption = (
        f"The {BEST} best strategies and, dashed, the {PLAIN} best with one constant lr for all layers; further left "
        f"and up is better. "
        f"Each line is drawn {APART:g} below the one before, so that equal ones can be seen."
    )
    more = f"\n\n{len(rest) - LONG:,} more are left out." if len(rest) > LONG else ""
    return md.section(
        "Performance profile and score",
        _what(found, standings),
        "\n\n".join([md.image(p.file, p.alt) for p in drawn.figures] + [f"*{caption}*"]),
        _table(standings, order),
        NOTE,
        md.details(f"Scores of the other {text.count(len(rest), 'strategy')}", _table(standings, rest[:LONG]) + more)
        if rest
        else "",
    )


NOTE = """\
*Score: the area under the performance profile for tau from 1 to 4, over 3. It is 1 for a strategy that is the fastest everywhere, 0 for \
one that nowhere comes within 4 times the fastest. Medians over seeds; brackets: bootstrap range over seeds, the middle 95 % of the \
scores with seeds drawn anew. That is no 95 % interval: with few seeds or many strategies it holds the true score far more seldom. A \
seed that never reaches the target counts as later than all others. The rule is AlgoPerf's (Dahl et al. 2023, arXiv:2306.07179) without \
held-out workloads, with seeds in place of studies; each strategy runs at its best lr, and the search for it is not counted.*"""


def _what(found: Findings, standings: Standings) -> str:
    strategies, workloads = (
        text.count(len(n), word) for n, word in ((standings.strategies, "strategy"), (standings.workloads, "workload"))
    )
    told = [
        f"{strategies} that were run on each of {workloads}: {', '.join(map(md.plain, standings.workloads))}.",
        HOW[standings.measure],
    ]
    if left := sorted(set(found.workloads) - set(standings.workloads)):
        told.append(f"Left out, for they share too few strategies: {', '.join(map(md.plain, left))}.")
    return " ".join(told)


HOW = {
    "seconds": "Times are steps to target x the measured cost of a step; a strategy whose step was not measured is "
    "left out.",
    "steps": "No step costs were measured that would do, so steps to target stand for times.",
}


def _table(standings: Standings, order: list[int]) -> str:
    header = ["Strategy", "Score", "Reached", f"Within {standings.tau_max:g} x the fastest", "Fastest"]
    return md.table(header, [_row(standings, s) for s in order], right=range(1, 5))


def _row(standings: Standings, s: int) -> list[str]:
    ratio_B, of = standings.ratio_BS[:, s], len(standings.base_names)
    reached = int((standings.time_WS[:, s] < math.inf).sum())
    return [
        md.code(standings.strategies[s]),
        score_text(standings, s),
        f"{reached} of {of}",
        f"{int((ratio_B < math.inf).sum())} of {of}",
        f"{int((ratio_B == 1.0).sum())} of {of}",
    ]


def score_text(standings: Standings, s: int) -> str:
    """A score with its bootstrap range, where there is one."""
    low, high = standings.bounds.low_S[s], standings.bounds.high_S[s]
    return f"{standings.score_S[s]:.3f}" + ("" if math.isnan(low) else f" [{low:.3f}, {high:.3f}]")
