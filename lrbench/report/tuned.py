"""How much tuning it takes: the curves, and what to take for how many trials."""

import math
from collections.abc import Sequence
from typing import Any

from lrbench.analyse import BUDGETS, recommendations, rows, shared_recommendations
from lrbench.report import markdown as md
from lrbench.report import text
from lrbench.report.drawing import Gallery
from lrbench.report.findings import Findings
from lrbench.report.measured import shown
from lrbench.report.tuning_figures import CROPPED, RANKED_AT, TOP

HEADER = ["Workload", "Trials", "Take", "First lr", "Expected validation", "Not separated from it"]
FIGURE = (
    "The validation metric to be expected of the best of so many trials, each at an lr drawn from the strategy's grid, "
    "with replacement: "
    "each workload's "
    f"{TOP} best strategies after {RANKED_AT} trials and, dashed, the plain one. Lines: mean over seeds; bands: "
    f"bootstrap 95 % intervals; "
    "rings: one trial at the lr that is known beforehand (the optimizer's default if it was run, else the middle of "
    "the grid), with which "
    "the table below begins and the lines do not. What is "
    f"worse than all lines after {CROPPED} trials leaves the panel downwards, rings too."
)
HOW_TO_READ = """\
*How to read it.* The first trial is at the *first lr*: the optimizer's default one where it was run, else the middle one of the \
strategy's grid. Every other trial is at an lr drawn at random from the grid; all are at one seed, and the run that validates best is \
kept. A run that diverged, or ended worse than the untrained model, counts as the untrained model. *Expected*: the mean over seeds, exact \
over the draws, with a bootstrap 95 % interval over seeds. *Not separated*: as in the verdict, among the strategies that were compared. \
What tuning costs depends on where one looks: strategies whose grid spans less than half the decades of the workload's widest are only \
compared at one trial, and then at their default lr."""
NOTHING = "No strategy was run at its optimizer's default lr or at two lrs, so there is nothing to tell of tuning."


def tuning(found: Findings, pictures: Gallery) -> str:
    """The curves and the recommendations."""
    advice = recommendations(found.runs)
    if advice.empty:
        return md.section("How much tuning it takes", NOTHING)
    return md.section(
        "How much tuning it takes",
        shown(pictures, FIGURE),
        "**What to take for how many trials**",
        md.table(HEADER, [_advised(found.metric(a.workload), a) for a in rows(advice)], right=[1]),
        HOW_TO_READ,
        _several(found),
    )


def _advised(metric: text.Metric, a: Any) -> list[str]:
    sign = 1 if metric.higher_is_better else -1
    low, high = sorted([sign * a.low, sign * a.high])
    return [
        md.plain(a.workload),
        str(a.trials),
        md.code(a.strategy),
        f"{text.lr(a.lr)} ({a.which})",
        f"{metric.show(sign * a.expected)}{metric.interval(low, high)}",
        md.plain(_alike(a.strategies, a.not_separated)),
    ]


def _alike(strategies: int, alike: Sequence[str]) -> str:
    if strategies == 1:
        return "no other was compared"
    return f"{len(alike)} of {strategies - 1}" + (f": {text.some(alike, 2)}" if alike else "")


def _several(found: Findings) -> str:
    """The recommendations for several workloads at once; empty where none share strategies."""
    workloads, advice = shared_recommendations(found.runs)
    if not workloads:
        return ""
    header = ["Trials on each", "Take", "Share of the way", "Not separated from it"]
    note = (
        f"For {text.some([md.plain(w) for w in workloads], 6)}, and the "
        f"{text.count(int(advice.strategies.max()), 'strategy')} that all of "
        "them have: the largest such table. *Share of the way*: from the untrained model (0 %) to the best that any of "
        "them reaches with "
        f"{max(BUDGETS)} trials or fewer (100 %), mean over workloads and seeds, each workload tuned for itself."
    )
    return "\n\n".join(
        ["**One strategy for several workloads**", md.table(header, map(_shared, rows(advice)), right=[0]), note]
    )


def _shared(a: Any) -> list[str]:
    interval = "" if math.isnan(a.low) else f" [{100 * a.low:.1f}, {100 * a.high:.1f}]"
    return [
        str(a.trials),
        md.code(a.strategy),
        f"{100 * a.expected:.1f} %{interval}",
        md.plain(_alike(a.strategies, a.not_separated)),
    ]
