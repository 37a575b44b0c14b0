"""The figures of what each axis contributes: shares of the variance, and the mean outcome of each level."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lrbench.analyse import Factorial, contributions, level_means
from lrbench.analyse.factorial import FACTORS
from lrbench.report.drawing import COLOURS, Gallery, gallery
from lrbench.report.findings import Findings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS = 6
"""Workloads in each of the two figures."""
INTERACTIONS = 4
"""The most interactions in one panel, the largest."""
NAMES = {"layer_lr": "layer-lr"}
COLOUR = dict(zip(FACTORS, COLOURS, strict=False))
"""One for each factor, the same in every panel."""
LETTERS = 34
"""The longest label of a level."""


def named(factors: str) -> str:
    """The name of an effect, for people.

    >>> named("optimizer x layer_lr")
    'optimizer x layer-lr'
    """
    return " x ".join(NAMES.get(name, name) for name in factors.split(" x "))


def effects(found: Findings) -> Gallery:
    """The shares of the variance: each axis, the largest interactions, the seeds."""
    blocks = {block.workload: block for block in found.factorials}

    def panel(ax: "Axes", workload: str) -> None:
        told = contributions(blocks[workload])
        shares = told.pivot_table(index="factors", columns="which", values="share", sort=False).loc[_largest(told)]
        places = np.arange(len(shares))
        for i, which in enumerate(w for w in ("all lrs", "best lr") if w in shares):
            label = "over all lrs" if which == "all lrs" else "each strategy at its best lr"
            bars = ax.barh(places + 0.38 * i, 100 * shares[which].fillna(0.0), 0.36, color=COLOURS[i], label=label)
            ax.bar_label(bars, ["" if np.isnan(s) else f"{100 * s:.1f}" for s in shares[which]], padding=2, fontsize=7)
        ax.set_yticks(places + 0.19, [named(str(f)) for f in shares.index])
        ax.invert_yaxis()
        ax.grid(visible=False, axis="y")
        ax.set_xlim(0, 112)
        ax.set(title=workload, xlabel="share of the variance, %")
        ax.legend(loc="upper center", bbox_to_anchor=(0.4, -0.14), ncols=2)

    alt = "Share of the variance of the final validation metric that each axis and the largest interactions explain"
    varied = [workload for workload, block in blocks.items() if block.varies]
    return gallery("effects", alt, varied, panel, per_figure=PANELS, most=1, columns=2, size=(5.4, 4.0))


def _largest(told: pd.DataFrame) -> list[str]:
    """The main effects, the largest interactions over all lrs or at the best ones, the seed and the rest."""
    greatest = told.groupby("factors", sort=False).share.max()
    crossed = (
        greatest[greatest.index.str.contains(" x ")].sort_values(ascending=False, kind="stable").index[:INTERACTIONS]
    )
    return [f for f in greatest.index if f in set(crossed) or " x " not in f]


def levels(found: Findings) -> Gallery:
    """The mean outcome of every level of every axis, over all else."""
    blocks = {block.workload: block for block in found.factorials}
    most = max((len(level_means(block)) + len(block.factors) for block in list(blocks.values())[:PANELS]), default=0)

    def panel(ax: "Axes", workload: str) -> None:
        metric, block = found.metric(workload), blocks[workload]
        scale, means = metric.scale * (1 if metric.higher_is_better else -1), level_means(block)
        place, ticks = 0, dict[int, str]()
        for factor in block.factors:
            part, colour = means[means.factor == factor], COLOUR[factor]
            at = place + np.arange(len(part))
            ax.plot(
                scale * part["mean"],
                at,
                color=colour,
                marker="o",
                linestyle="-" if factor == "lr" else "none",
                label=named(factor),
            )
            ax.hlines(at, scale * part.low, scale * part.high, color=colour, alpha=0.5)
            ticks |= dict(zip(at.tolist(), level_names(block, factor), strict=True))
            place += len(part) + 1
        ax.set_yticks(list(ticks), [_short(label) for label in ticks.values()], size=7)
        ax.set_ylim(place - 0.5, -1.0)
        if not metric.higher_is_better:
            ax.invert_xaxis()
        ax.set(
            title=workload, xlabel=f"mean {metric.label}" + ("" if metric.higher_is_better else " (better is right)")
        )

    alt = "Mean final validation metric of each optimizer, layer-lr policy, schedule and lr, over all else"
    return gallery(
        "main-effects", alt, list(blocks), panel, per_figure=PANELS, most=1, columns=2, size=(5.4, 1.2 + 0.14 * most)
    )


def level_names(block: Factorial, factor: str) -> list[str]:
    """The levels of a factor, for people."""
    last = len(block.levels[factor])
    return [f"lr {level} of {last}" if factor == "lr" else str(level) for level in block.levels[factor]]


def _short(label: str) -> str:
    return label if len(label) <= LETTERS else f"{label[: LETTERS - 1]}…"
