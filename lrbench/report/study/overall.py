"""What holds over several workloads: mean ranks, pooled scores, performance profiles."""

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from lrbench.analyse.overall import LETTERED, Overall
from lrbench.analyse.results import Overall as Row
from lrbench.analyse.score import Standings
from lrbench.report import text
from lrbench.report.document import Block, Code, Column, Figure, Fold, Paragraph, Section, Table, Words, caption, prose
from lrbench.report.drawing import BASELINE, COLOURS, Style, broken, draw, line_style
from lrbench.report.findings import LISTED, Findings
from lrbench.stats.estimates import Estimate
from lrbench.stats.ranks import APPROXIMATE, EXACT, SAMPLED
from lrbench.stats.score import profile, taus

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing


# ---- ranks and scores


def overall(found: Findings) -> Section | None:
    """The ranked strategies and, folded, those that share other workloads; nothing for a study of one workload."""
    if len(found.ranked_workloads) < 2:
        return None
    title, all_of = "Over all workloads", found.overall
    if not found.over_workloads:
        return Section(title, [Paragraph("No strategy finished on two workloads, so nothing holds over several.")])
    nothing = "No two strategies were run on the same two workloads, so none has a rank."
    blocks: list[Block] = [*_ranked(found, all_of)] if all_of.block else [Paragraph(nothing)]
    others = _best_and_baselines([row for row in found.over_workloads if math.isnan(row.rank)])
    if others[0]:
        note = f"The scores of these {text.count(len(others[0]), 'strategy')} are over other workloads, so they compare only"
        columns = [_strategy, Column[Row]("Workloads", lambda row: ", ".join(row.workloads)), *_scores()]
        table: Table[Row] = Table("scores-elsewhere", columns, *others)
        blocks.append(
            Fold(
                "Strategies on other sets of workloads", [table, Paragraph(f"{note} where the workloads are the same.")]
            )
        )
    return Section(title, [*blocks, Paragraph(prose(NOTE))])


_strategy: Column[Row] = Column("Strategy", lambda row: Code(row.strategy))


def _scores() -> list[Column[Row]]:
    return [
        Column("Score, IQM", lambda row: _score(row.iqm), lambda row: row.iqm),
        Column("Score, mean", lambda row: _score(row.mean), lambda row: row.mean),
        Column("Beats its baseline", _beats, lambda row: row.improvement),
    ]


def _best_and_baselines(ranked: Sequence[Row]) -> tuple[list[Row], int]:
    """The rows with the ``LISTED`` best and the baselines first, and how many these are."""
    first = [row for i, row in enumerate(ranked) if i < LISTED or row.is_baseline]
    return first + [row for i, row in enumerate(ranked) if not (i < LISTED or row.is_baseline)], len(first)


def _ranked(found: Findings, all_of: Overall) -> list[Block]:
    ranked = [row for row in found.over_workloads if not math.isnan(row.rank)]
    first, most = _best_and_baselines(ranked)
    columns: list[Column[Row]] = [
        Column("Mean rank", lambda row: text.number(row.rank), lambda row: row.rank, right=True),
        _strategy,
        Column("Group", lambda row: row.group),
        *_scores(),
    ]
    intro = (
        f"{text.count(len(ranked), 'strategy')} were run on all of {', '.join(all_of.block)}: of "
        f"{text.count(len(found.ranked_workloads), 'workload')} those on which the most can be ranked. {_test(all_of)}"
    )
    bars = (
        f"Two strategies differ (Nemenyi's test, 5 %, over all pairs of the {len(ranked)} ranked) where their bars do not "
        "overlap. Black: one constant lr for all layers."
    )
    alt = f"Mean ranks and the critical difference over {', '.join(all_of.block)}"
    figure = Figure("critical-difference", alt, partial(rank_figure, first[:most], all_of.critical_difference))
    return [Paragraph(intro), Table("mean-ranks", columns, first, most), figure, caption(bars)]


def rank_figure(ranked: Sequence[Row], critical_difference: float) -> "Drawing":
    """The mean ranks of the best strategies and the baselines, each with a bar of one critical difference."""
    lines = sorted(ranked, key=lambda row: row.rank)
    names = [broken(row.strategy, 52) for row in lines]

    def panel(ax: "Axes", _: str) -> None:
        for y, row in enumerate(lines):
            colour = "black" if row.is_baseline else COLOURS[0]
            ax.plot([row.rank] * 2, [y] * 2, "o", color=colour, markersize=6)
            ax.plot(
                [row.rank + side * critical_difference / 2 for side in (-1, 1)], [y] * 2, color=colour, linewidth=1.4
            )
        ax.set_yticks(range(len(lines)), names)
        ax.set_ylim(len(lines) - 0.5, -0.5)
        ax.set(xlabel="mean rank (1 is best), ± half a critical difference")

    height = 0.8 + sum(0.12 + 0.16 * len(name.splitlines()) for name in names)
    return draw(["all"], panel, columns=1, size=(8.5, height))


METHODS = {
    EXACT: "exact over all orders of the ranks",
    SAMPLED: "over random orders of the ranks",
    APPROXIMATE: "in Iman and Davenport's approximate form",
}


def _test(all_of: Overall) -> str:
    test, widest = all_of.test, len(all_of.ranked) - 1
    if math.isnan(test.p):
        return "All are tied everywhere, so there is nothing to test."
    verdict = "differ by more than chance" if test.p < 0.05 else "are not told from chance"
    p = f"p = {text.p_value(test.p)}".replace("= <", "<")
    tiny = f", and with so few it could not be below {text.number(test.least, 2)}" if test.least >= 0.05 else ""
    difference = text.number(all_of.critical_difference)
    hopeless = (
        f" No difference of two mean ranks can exceed {widest}, so with so few workloads no pair can be told apart."
    )
    return (
        f"Their ranks {verdict} (Friedman's test, {METHODS[test.method]}: {p}{tiny}); the critical difference of two mean "
        f"ranks is {difference}.{hopeless if all_of.critical_difference > widest else ''}"
    )


def _score(of: Estimate) -> str:
    return f"{of.value:.3f}" + ("" if math.isnan(of.low) else f" [{of.low:.3f}, {of.high:.3f}]")


def _beats(row: Row) -> Words:
    if row.baseline == row.strategy:
        return "is the baseline"
    if math.isnan(row.improvement.value):
        return text.NONE
    low, high = row.improvement.low, row.improvement.high
    interval = "" if math.isnan(low) else f" [{100 * low:.0f}, {100 * high:.0f}]"
    other: Words = "" if row.baseline.startswith(f"{row.optimizer} / ") else (" (", Code(row.baseline), ")")
    fewer = f" on {', '.join(row.shared)}" if row.shared != row.workloads else ""
    return (f"{text.share(row.improvement.value)}{interval}", other, fewer)


NOTE = f"""\
*Score*: (validation metric - the untrained model's) / (the workload's best strategy's - the untrained model's), so 0 \
is untrained and 1 the best of all strategies on that workload, each at its best lr; pooled over workloads, which \
weigh alike. IQM: interquartile mean; brackets: stratified bootstrap 95 % intervals over seeds, which do not cover \
other workloads. *Mean rank*: over these workloads, by validation score. *Group*: strategies that share a letter have \
mean ranks less than a critical difference apart; letters are given to the {LETTERED} best and the baselines, {
    2 * LETTERED
} at most. *Beats its baseline*: the probability that a run of it ends better than a run of the same \
optimizer (or of the strategy named) with one constant lr for all layers, the mean over workloads; 50 % is no better, \
no worse; where all pairs of a workload are won, lost or tied, its bracket is widened by Wilson's bound for the \
smaller number of seeds."""


# ---- performance profiles

BEST, BASELINES = 5, 3
"""The best strategies in the figure, and the best baselines, dashed."""
FIRST = 10
"""The strategies in the table at first, besides the baselines."""
LOWER = 0.005
"""How much lower each line is drawn than the one before, so that equal ones can be told apart."""
UNITS = {"seconds": "time", "steps": "steps"}
Lines = list[tuple[int, Style]]
"""Strategies by their place in the standings, each with how its line is drawn."""


def performance_profile(found: Findings) -> Section | None:
    """How strategies do over all workloads together; nothing where no two workloads share two strategies."""
    standings = found.standings
    if standings is None:
        return None
    baselines = {" / ".join(axes) for _, *axes in found.baselines}
    order = standings.order
    first = [s for s in order if s in order[:FIRST] or standings.strategies[s] in baselines][: 2 * FIRST]
    rest = [s for s in order if s not in first]
    what = (
        f"The {BEST} best strategies and, dashed, the {BASELINES} best with one constant lr for all layers; further left and "
        f"up is better. Each line is drawn {LOWER:g} below the one before, so that equal ones can be seen."
    )
    alt = "Performance profiles: share of workloads against time to target over that of the fastest"
    draw_it = partial(profile_figure, standings, _lines(found, standings), UNITS[standings.measure])
    return Section(
        "Performance profile and score",
        [
            Paragraph(_what(found, standings)),
            Figure("performance-profile", alt, draw_it),
            caption(what),
            score_table(standings, first + rest, len(first)),
            caption(PROFILE),
        ],
    )


PROFILE = """\
Score: the area under the performance profile for tau from 1 to 4, over 3. It is 1 for a strategy that is the fastest \
everywhere, 0 for one that nowhere comes within 4 times the fastest. Medians over seeds; brackets: bootstrap range \
over seeds, the middle 95 % of the scores with seeds drawn anew. That is no 95 % interval: with few seeds or many \
strategies it holds the true score far more seldom. A seed that never reaches the target counts as later than all \
others. The rule is AlgoPerf's (Dahl et al. 2023, arXiv:2306.07179) without held-out workloads, with seeds in place \
of studies; each strategy runs at its best lr, and the search for it is not counted."""
HOW = {
    "seconds": "Times are steps to target x the measured cost of a step; a strategy whose step was not measured is left out.",
    "steps": "No step costs were measured that would do, so steps to target stand for times.",
}


def _what(found: Findings, standings: Standings) -> str:
    strategies = text.count(len(standings.strategies), "strategy")
    workloads = text.count(len(standings.workloads), "workload")
    sentences = [
        f"{strategies} that were run on each of {workloads}: {', '.join(standings.workloads)}.",
        HOW[standings.measure],
    ]
    if left := sorted(set(found.workloads) - set(standings.workloads)):
        sentences.append(f"Left out, for they share too few strategies: {', '.join(left)}.")
    return " ".join(sentences)


def score_table(standings: Standings, order: Sequence[int], most: int | None = None) -> "Table[int]":
    """The scores of some strategies, in this order."""
    of, ratio = len(standings.base_names), standings.ratio_BS

    def reached(s: int) -> int:
        return int((standings.time_WS[:, s] < math.inf).sum())

    def within(s: int) -> int:
        return int((ratio[:, s] < math.inf).sum())

    def fastest(s: int) -> int:
        return int((ratio[:, s] == 1.0).sum())

    columns: list[Column[int]] = [
        Column("Strategy", lambda s: Code(standings.strategies[s])),
        Column("Score", lambda s: _score(score_of(standings, s)), lambda s: score_of(standings, s), right=True),
        Column("Reached", lambda s: f"{reached(s)} of {of}", reached, right=True),
        Column(f"Within {standings.tau_max:g} x the fastest", lambda s: f"{within(s)} of {of}", within, right=True),
        Column("Fastest", lambda s: f"{fastest(s)} of {of}", fastest, right=True),
    ]
    return Table("scores", columns, order, most)


def score_of(standings: Standings, s: int) -> Estimate:
    """A score with its bootstrap range."""
    return Estimate(float(standings.score_S[s]), float(standings.bounds.low_S[s]), float(standings.bounds.high_S[s]))


def _lines(found: Findings, standings: Standings) -> Lines:
    named = {" / ".join(axes) for _, *axes in found.baselines}
    baselines = [s for s in standings.order if standings.strategies[s] in named]
    best = [s for s in standings.order if s not in baselines[:BASELINES]][:BEST]
    shades = zip(baselines, ("black", "0.4", "0.65"), strict=False)
    return [(s, line_style(i)) for i, s in enumerate(best)] + [(s, BASELINE | {"color": of}) for s, of in shades]


def profile_figure(standings: Standings, lines: Lines, unit: str) -> "Drawing":
    """The performance profiles of some strategies: the share of workloads within a factor tau of the fastest."""

    def panel(ax: "Axes", _: str) -> None:
        tau_T = taus(standings.tau_max)
        rho_ST = profile(standings.ratio_BS, tau_T)
        for i, (s, style) in enumerate(lines):
            label = f"{standings.strategies[s]}: {standings.score_S[s]:.3f}"
            ax.plot(tau_T, rho_ST[s] - LOWER * i, label=label, **style | {"marker": "none", "drawstyle": "steps-post"})
        workloads = text.count(len(standings.base_names), "workload")
        ax.set(xlim=(1.0, standings.tau_max), ylim=(-0.02 - LOWER * len(lines), 1.02))
        ax.set(xlabel=f"{unit} to target / that of the fastest (tau)", ylabel=f"share of {workloads}")
        ax.set(title="Performance profile")
        told = (
            f"score (each line drawn {LOWER:g} below the one before, to show equal ones)" if len(lines) > 1 else "score"
        )
        ax.legend(loc="upper left", bbox_to_anchor=(-0.02, -0.14), title=told, alignment="left")

    return draw(["performance-profile"], panel, columns=1, size=(6.4, 4.6 + 0.18 * len(lines)))
