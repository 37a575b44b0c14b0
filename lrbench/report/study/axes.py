"""How much of the variance each axis of a strategy explains: the figures, the shares, and the mean of every level."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from lrbench.analyse.factorial import FACTORS, Factorial
from lrbench.analyse.results import LevelMean
from lrbench.report import text
from lrbench.report.document import Code, Column, Fold, Paragraph, Section, Table, Words, prose
from lrbench.report.drawing import COLOURS, Gallery, gallery
from lrbench.report.findings import Findings
from lrbench.stats.variance import Effect

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "Variance explained by each axis"
PANELS = 6
"""Workloads in each of the two figures."""
INTERACTIONS = 4
"""The most interactions in one panel, the largest."""
COLOUR = dict(zip(FACTORS, COLOURS, strict=False))
"""One for each factor, the same in every panel."""
LETTERS = 34
"""The longest label of a level."""


def axes(found: Findings) -> Section | None:
    """What the optimizer, the layer-lr policy, the schedule and the lr contribute to the outcome."""
    blocks = found.factorials
    if not blocks:
        nothing = (
            "No workload has a full factorial of two levels or more on two axes (optimizer, layer-lr policy, schedule, lr), "
            "so what they contribute cannot be told apart."
        )
        return Section(TITLE, [Paragraph(nothing)], brief=True) if len(found.runs) else None
    without = [w for w in found.workloads if w not in {block.workload for block in blocks}]
    left_out = f"Without a factorial of two levels on two axes: {', '.join(without)}."
    return Section(
        TITLE,
        [
            *share_figures(found).blocks(SHARES),
            *([Paragraph(left_out)] if without else []),
            Fold("Shares of the variance", [share_table(blocks), Paragraph(prose(HOW_TO_READ))]),
            Fold("The mean of every level", [*level_figures(found).blocks(LEVELS), level_table(found, blocks)]),
            Fold("The factorials", [size_table(blocks)]),
        ],
        brief=True,
    )


SHARES = (
    "Share of the variance of the final validation metric in the largest full factorial of each workload: the axes, the "
    f"{INTERACTIONS} largest interactions, the seed (what all runs of a seed have in common), and the rest (how seeds "
    "differ in what the axes do). Blue: all runs of the factorial; orange: only those of each strategy at its best lr "
    "there, which is what remains when the lr has been tuned."
)
LEVELS = (
    "Mean validation metric of each level, over all levels of the other axes and all seeds; thin lines: from the lowest to "
    "the highest seed. It tells what happens when nothing else is chosen well."
)
HOW_TO_READ = """\
*How to read it.* An lr is known by its position on its optimizer's own grid, from the lowest; of longer grids the middle \
part is used. A run that diverged, or ended worse than the untrained model, counts as the untrained model. *Share*: sum of \
squares / total (eta squared), which sum to 100 %. *By chance*: what noise of the size of the rest gives to an effect with \
as many degrees of freedom; one that is not well above it is none. How positions are matched moves variance between an \
effect with the lr and the same crossed with the optimizer only. At the best lr, the lr was chosen on the same runs."""


def size_table(blocks: list[Factorial]) -> "Table[Factorial]":
    """How many levels each factorial has."""
    names = {
        "Optimizers": "optimizer",
        "Layer-lr policies": "layer_lr",
        "Schedules": "schedule",
        "Lrs": "lr",
        "Seeds": "seed",
    }

    def levels(title: str, factor: str) -> Column[Factorial]:
        def count(block: Factorial) -> int:
            return len(block.levels[factor])

        return Column(title, lambda block: str(count(block)), count, right=True)

    runs: Column[Factorial] = Column(
        "Runs", lambda b: f"{b.outcome.size:,} of {b.runs:,}", lambda b: b.outcome.size, right=True
    )
    columns = [
        Column[Factorial]("Workload", lambda block: block.workload),
        *(levels(*of) for of in names.items()),
        runs,
    ]
    return Table("factorials", columns, blocks)


Line = tuple[str, Effect, Effect]
"""A workload, an effect over all lrs, and the same at the best ones."""
UNKNOWN = Effect("", 0, math.nan, math.nan, math.nan)


def share_table(blocks: list[Factorial]) -> "Table[Line]":
    """The share of every effect, over all lrs and at the best ones."""
    lines = []
    for block in blocks:
        at_best = {effect.factors: effect for effect in block.effects_at_best}
        lines += [(block.workload, effect, at_best.get(effect.factors, UNKNOWN)) for effect in block.effects]

    def share(title: str, value: Callable[[Line], float]) -> Column[Line]:
        return Column(title, lambda line: _percent(value(line)), value, right=True)

    columns: list[Column[Line]] = [
        Column("Workload", lambda line: line[0]),
        Column("Effect", lambda line: effect_name(line[1].factors)),
        Column("Degrees of freedom", lambda line: str(line[1].df), lambda line: line[1].df, right=True),
        share("Share, all lrs", lambda line: line[1].share),
        share("By chance", lambda line: line[1].by_chance),
        share("Share, best lr", lambda line: line[2].share),
        share("By chance at best lr", lambda line: line[2].by_chance),
    ]
    return Table("variance-shares", columns, lines)


def _percent(value: float) -> str:
    return text.NONE if math.isnan(value) else f"{100 * value:.1f} %"


def effect_name(factors: str) -> str:
    """The name of an effect, for people.

    >>> effect_name("optimizer x layer_lr")
    'optimizer x layer-lr'
    """
    return factors.replace("_", "-")


LevelLine = tuple[str, LevelMean, Words]
"""A workload, the mean of a level, and the level's name."""


def level_table(found: Findings, blocks: list[Factorial]) -> "Table[LevelLine]":
    """The mean outcome of every level of every axis."""
    lines = []
    for block in blocks:
        names = [name for factor in block.factors for name in _level_words(block, factor)]
        lines += [(block.workload, row, name) for row, name in zip(block.level_means, names, strict=True)]

    def signed(line: LevelLine) -> int:
        return 1 if found.metric(line[0]).higher_is_better else -1

    def ends(line: LevelLine) -> str:
        return " to ".join(
            found.metric(line[0]).bare(v) for v in sorted([signed(line) * line[1].low, signed(line) * line[1].high])
        )

    columns: list[Column[LevelLine]] = [
        Column("Workload", lambda line: line[0]),
        Column("Axis", lambda line: effect_name(line[1].factor)),
        Column("Level", lambda line: line[2]),
        Column(
            "Mean validation",
            lambda line: found.metric(line[0]).show(signed(line) * line[1].mean),
            lambda line: signed(line) * line[1].mean,
            right=True,
        ),
        Column("Lowest and highest seed", ends),
    ]
    return Table("level-means", columns, lines)


def _level_words(block: Factorial, factor: str) -> list[Words]:
    """The levels as they are typed; of an lr, those at this position."""
    names = level_names(block, factor)
    if factor != "lr":
        return [Code(name) for name in names]
    lrs = (sorted({text.lr(lr) for lr in at}, key=float) for at in zip(*block.lrs.values(), strict=True))
    return [f"{name}: {', '.join(at)}" for name, at in zip(names, lrs, strict=True)]


def level_names(block: Factorial, factor: str) -> list[str]:
    """The levels of a factor, for people."""
    last = len(block.levels[factor])
    return [f"lr {level} of {last}" if factor == "lr" else str(level) for level in block.levels[factor]]


# ---- figures


def share_figures(found: Findings) -> Gallery:
    """The shares of the variance: each axis, the largest interactions, the seeds."""
    blocks = {block.workload: block for block in found.factorials}

    def panel(ax: "Axes", workload: str) -> None:
        block = blocks[workload]
        chosen = _largest(block)
        places = np.arange(len(chosen))
        parts = {"over all lrs": block.effects, "each strategy at its best lr": block.effects_at_best}
        for i, (label, effects) in enumerate((label, of) for label, of in parts.items() if of):
            share = {effect.factors: 100 * effect.share for effect in effects}
            shares = np.array([share.get(name, math.nan) for name in chosen])
            height = 0.36
            bars = ax.barh(places + 0.38 * i, np.nan_to_num(shares), height, color=COLOURS[i], label=label)
            ax.bar_label(bars, ["" if np.isnan(s) else f"{s:.1f}" for s in shares], padding=2, fontsize=7)
        ax.set_yticks(places + 0.19, [effect_name(name) for name in chosen])
        ax.invert_yaxis()
        ax.grid(visible=False, axis="y")
        ax.set_xlim(0, 112)
        ax.set(title=workload, xlabel="share of the variance, %")
        ax.legend(loc="upper center", bbox_to_anchor=(0.4, -0.14), ncols=2)

    alt = "Share of the variance of the final validation metric that each axis and the largest interactions explain"
    varied = [workload for workload, block in blocks.items() if block.varies]
    return gallery("effects", alt, varied, panel, per_figure=PANELS, most=1, columns=2, size=(5.4, 4.0))


def _largest(block: Factorial) -> list[str]:
    """The main effects, the largest interactions over all lrs or at the best ones, the seed and the rest."""
    greatest: dict[str, float] = {}
    for effect in (*block.effects, *block.effects_at_best):
        share = -1.0 if math.isnan(effect.share) else effect.share
        greatest[effect.factors] = max(greatest.get(effect.factors, -1.0), share)
    crossed = sorted((name for name in greatest if " x " in name), key=lambda name: -greatest[name])[:INTERACTIONS]
    return [name for name in greatest if name in crossed or " x " not in name]


def level_figures(found: Findings) -> Gallery:
    """The mean outcome of every level of every axis, over all else."""
    blocks = {block.workload: block for block in found.factorials}
    lines = (len(block.level_means) + len(block.factors) for block in list(blocks.values())[:PANELS])

    def panel(ax: "Axes", workload: str) -> None:
        metric, block = found.metric(workload), blocks[workload]
        scale = metric.scale * (1 if metric.higher_is_better else -1)
        place, ticks = 0, dict[int, str]()
        for factor in block.factors:
            part, colour = [level for level in block.level_means if level.factor == factor], COLOUR[factor]
            at = place + np.arange(len(part))
            middle, low, high = (
                scale * np.array(of) for of in zip(*((m.mean, m.low, m.high) for m in part), strict=True)
            )
            linestyle = "-" if factor == "lr" else "none"
            ax.plot(middle, at, color=colour, marker="o", linestyle=linestyle, label=effect_name(factor))
            ax.hlines(at, low, high, color=colour, alpha=0.5)
            ticks |= dict(zip(at.tolist(), level_names(block, factor), strict=True))
            place += len(part) + 1
        labels = [label if len(label) <= LETTERS else f"{label[: LETTERS - 1]}…" for label in ticks.values()]
        ax.set_yticks(list(ticks), labels, size=7)
        ax.set_ylim(place - 0.5, -1.0)
        if not metric.higher_is_better:
            ax.invert_xaxis()
        ax.set(
            title=workload, xlabel=f"mean {metric.label}" + ("" if metric.higher_is_better else " (better is right)")
        )

    alt = "Mean final validation metric of each optimizer, layer-lr policy, schedule and lr, over all else"
    size = (5.4, 1.2 + 0.14 * max(lines, default=0))
    return gallery("main-effects", alt, list(blocks), panel, per_figure=PANELS, most=1, columns=2, size=size)
