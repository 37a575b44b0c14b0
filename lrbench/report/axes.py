"""What each axis of a strategy contributes: the figures, the shares and the mean of every level."""

import math
from typing import Any

from lrbench.analyse import Factorial, contributions, level_means, rows
from lrbench.report import markdown as md
from lrbench.report import text
from lrbench.report.axes_figures import INTERACTIONS, level_names, named
from lrbench.report.findings import Findings
from lrbench.report.measured import Galleries, shown

TITLE = "What each axis contributes"
NOTHING = (
    "No workload has a full factorial of two levels or more on two axes (optimizer, layer-lr policy, schedule, lr), so "
    "what "
    "they contribute cannot be told apart."
)
EFFECTS = (
    "Share of the variance of the final validation metric in the largest full factorial of each workload: the axes, "
    "the "
    f"{INTERACTIONS} largest interactions, the seed (what all runs of a seed have in common), and the rest (how seeds "
    f"differ in what the "
    "axes do). Blue: all runs of the factorial; orange: only those of each strategy at its best lr there, which is "
    "what remains when "
    "the lr has been tuned."
)
LEVELS = (
    "Mean validation metric of each level, over all levels of the other axes and all seeds; thin lines: from the "
    "lowest to the highest "
    "seed. It tells what happens when nothing else is chosen well."
)
HOW_TO_READ = """\
*How to read it.* An lr is known by its position on its optimizer's own grid, from the lowest; of longer grids the middle part is used. A \
run that diverged, or ended worse than the untrained model, counts as the untrained model. *Share*: sum of squares / total (eta squared), \
which sum to 100 %. *By chance*: what noise of the size of the rest gives to an effect with as many degrees of freedom; one that is not \
well above it is none. How positions are matched moves variance between an effect \
with the lr and the same crossed with the optimizer only. At the best lr, the lr was chosen \
on the same runs."""


def contributing(found: Findings, pictures: Galleries) -> str:
    """What the optimizer, the layer-lr policy, the schedule and the lr contribute to the outcome."""
    blocks = found.factorials
    if not blocks:
        return md.section(TITLE, NOTHING) if len(found.runs) else ""
    without = [md.plain(w) for w in found.workloads if w not in {block.workload for block in blocks}]
    return md.section(
        TITLE,
        shown(pictures["effects"], EFFECTS),
        shown(pictures["main-effects"], LEVELS),
        "**The factorials**",
        md.table(
            ["Workload", "Optimizers", "Layer-lr policies", "Schedules", "Lrs", "Seeds", "Runs"],
            map(_size, blocks),
            right=range(1, 7),
        ),
        f"Without a factorial of two levels on two axes: {', '.join(without)}." if without else "",
        md.details("Shares of the variance", _shares(blocks)),
        md.details("The mean of every level", _means(found, blocks)),
    )


def _size(block: Factorial) -> list[str]:
    counts = [str(len(level)) for level in block.levels.values()]
    return [md.plain(block.workload), *counts, f"{block.outcome.size:,} of {block.runs:,}"]


def _shares(blocks: list[Factorial]) -> str:
    header = [
        "Workload",
        "Effect",
        "Degrees of freedom",
        "Share, all lrs",
        "By chance",
        "Share, best lr",
        "By chance at best lr",
    ]
    lines = [line for block in blocks for line in _effects(block)]
    return md.table(header, lines, right=range(2, 7)) + "\n\n" + HOW_TO_READ


def _effects(block: Factorial) -> list[list[str]]:
    told = contributions(block)
    tuned = {row.factors: row for row in rows(told[told.which == "best lr"])}
    return [
        [md.plain(block.workload), named(row.factors), str(row.df), *_share(row), *_share(tuned.get(row.factors))]
        for row in rows(told[told.which == "all lrs"])
    ]


def _share(row: Any) -> list[str]:
    return [text.NONE] * 2 if row is None else [_percent(row.share), _percent(row.by_chance)]


def _percent(value: float) -> str:
    return text.NONE if math.isnan(value) else f"{100 * value:.1f} %"


def _means(found: Findings, blocks: list[Factorial]) -> str:
    header = ["Workload", "Axis", "Level", "Mean validation", "Lowest and highest seed"]
    return md.table(
        header, [line for block in blocks for line in _levels(found.metric(block.workload), block)], right=[3]
    )


def _levels(metric: text.Metric, block: Factorial) -> list[list[str]]:
    sign = 1 if metric.higher_is_better else -1
    names = [name for factor in block.factors for name in _named_levels(block, factor)]
    return [
        [
            md.plain(block.workload), named(m.factor), name, metric.show(sign * m.mean),
            " to ".join(metric.bare(v) for v in sorted([sign * m.low, sign * m.high])),
        ]
        for m, name in zip(rows(level_means(block)), names, strict=True)
    ]  # fmt: skip


def _named_levels(block: Factorial, factor: str) -> list[str]:
    """The levels as they are typed; of an lr, those at this position."""
    if factor != "lr":
        return [md.code(name) for name in level_names(block, factor)]
    at = zip(*block.lrs.values(), strict=True)
    return [
        f"{name}: {', '.join(sorted({text.lr(lr) for lr in lrs}, key=float))}"
        for name, lrs in zip(level_names(block, factor), at, strict=True)
    ]
