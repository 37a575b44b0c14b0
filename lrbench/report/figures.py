"""The figures of a report: kinds, each drawn for as many workloads as there is room for."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lrbench.analyse import STRATEGY, of_strategy, rows
from lrbench.report import axes_figures, cards, drawing, profile, text, tuning_figures
from lrbench.report.document import Figure
from lrbench.report.drawing import (
    BASELINE,
    Gallery,
    Style,
    broken,
    draw,
    gallery,
    line_style,
    numbered,
)
from lrbench.report.findings import Findings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

LINES = 8
"""The most optimizers in one panel."""
TOP = 4
"""The most strategies in one panel, besides the plain one."""
VIEW = 0.6
"""The share of the range of outcomes that a panel shows."""
WRAP = 40
"""The longest line, in letters, of a label below a heat map."""
FLAT = 1e-3
"""Differences below this share of the value are drawn as none."""
SMALL = 8
"""Heat maps of up to so many rows share a figure."""


def galleries(found: Findings) -> dict[str, Gallery]:
    """Every figure of the report, by kind; a kind without anything to show is empty."""
    kinds: dict[str, Callable[[Findings], Gallery]] = {
        "lr-by-layer": cards.lrs,
        "lr-response-optimizers": optimizer_responses,
        "lr-response-strategies": strategy_responses,
        "tuning": tuning_figures.curves,
        "curves": curves,
        "optimizer-schedule": lambda f: heatmaps(f, "schedule"),
        "optimizer-layer-lr": lambda f: heatmaps(f, "layer_lr"),
        profile.NAME: profile.pictures,
        "effects": axes_figures.effects,
        "main-effects": axes_figures.levels,
    }
    return {kind: make(found) for kind, make in kinds.items()}


def optimizer_responses(found: Findings) -> Gallery:
    """Validation metric against lr, one line per optimizer with one constant lr for all layers."""
    plain = found.runs[found.runs.plain & found.runs.trained]
    leaders = leading_optimizers(found)

    def panel(ax: "Axes", workload: str) -> None:
        here = plain[plain.workload == workload]
        lines = [(name, here[here.optimizer == name], line_style(i)) for i, name in enumerate(leaders[workload])]
        _response_panel(ax, workload, found.metric(workload), lines)

    alt = "Final validation metric against the base lr, one line per optimizer"
    return gallery("lr-response-optimizers", alt, sorted(leaders), panel, columns=2, size=(5.4, 4.3))


def leading_optimizers(found: Findings) -> dict[str, list[str]]:
    """The optimizers to draw for each workload: the best of those that were run plainly, best first."""
    plain = found.runs.loc[found.runs.plain, STRATEGY].drop_duplicates()
    ranked = found.ranking.merge(plain, on=STRATEGY)
    return {str(w): part.optimizer.head(LINES).tolist() for w, part in ranked.groupby("workload")}


def strategy_responses(found: Findings) -> Gallery:
    """Validation metric against lr for the winning optimizer's best strategies and its plain one."""
    winner = {v.workload: v for v in rows(found.verdicts) if v.strategy}

    def panel(ax: "Axes", workload: str) -> None:
        mine = found.ranking[
            (found.ranking.workload == workload) & (found.ranking.optimizer == winner[workload].optimizer)
        ]
        runs = found.runs[(found.runs.workload == workload) & found.runs.trained]
        leading = top(mine, winner[workload].baseline)
        lines = [(f"{row.layer_lr} / {row.schedule}", of_strategy(runs, row), style) for row, style in leading]
        _response_panel(ax, f"{workload}: {winner[workload].optimizer}", found.metric(workload), lines)

    counts = found.ranking.groupby(["workload", "optimizer"]).size().to_dict()
    several = [w for w, v in winner.items() if counts[w, v.optimizer] > 1]
    alt = "Final validation metric against the base lr, one line per strategy of the winning optimizer"
    return gallery("lr-response-strategies", alt, several, panel, columns=2, size=(5.4, 4.6))


def top(ranked: pd.DataFrame, baseline: str) -> list[tuple[Any, Style]]:
    """The best strategies in order, then the plain one, each with its style."""
    best = [row for row in rows(ranked) if row.strategy != baseline][:TOP]
    plain = [row for row in rows(ranked) if row.strategy == baseline]
    return [(row, line_style(i)) for i, row in enumerate(best)] + [(row, BASELINE) for row in plain]


def _response_panel(ax: "Axes", title: str, metric: text.Metric, lines: list[tuple[str, pd.DataFrame, Style]]) -> None:
    drawn = [(label, runs, style) for label, runs, style in lines if len(runs)]
    for i, (label, runs, style) in enumerate(drawn):
        _response_line(ax, label, runs, metric, style)
        _crosses(ax, runs, 0.02 + 0.03 * i, style["color"])
    ax.set_xscale("log")
    ax.minorticks_off()
    _upper_part(ax, higher_is_better=metric.higher_is_better)
    ax.set(title=title, xlabel="base lr", ylabel=metric.label + ("" if metric.higher_is_better else " (better is up)"))
    _legend(ax, columns=2 if max(len(label) for label, *_ in drawn) < 32 else 1)


def _upper_part(ax: "Axes", *, higher_is_better: bool) -> None:
    """Show the better ``VIEW`` of the range of all lines: what is worse leaves the panel downwards."""
    values = np.concatenate(
        [np.asarray(line.get_ydata(), float) for line in ax.lines if line.get_transform() == ax.transData]
    )
    best, worst = (values.max(), values.min()) if higher_is_better else (values.min(), values.max())
    reach = max(abs(best - worst), FLAT * abs(best)) * (1 if higher_is_better else -1) or 1.0
    ax.set_ylim(*sorted([best - VIEW * reach, best + 0.06 * reach]))
    if not higher_is_better:
        ax.invert_yaxis()


def _response_line(ax: "Axes", label: str, runs: pd.DataFrame, metric: text.Metric, style: Style) -> None:
    seeds = (runs.assign(y=_clipped(runs, metric) * metric.scale)).groupby("lr").y
    middle = seeds.median()
    ax.plot(middle.index, middle, label=label, **style)
    ax.fill_between(middle.index, seeds.min(), seeds.max(), color=style["color"], alpha=0.15, linewidth=0)
    default = runs.default_lr.iloc[0]
    if middle.index.min() <= default <= middle.index.max():
        height = np.interp(np.log(default), np.log(middle.index), middle)
        ax.plot(
            [default],
            [height],
            marker="o",
            markersize=11,
            markerfacecolor="none",
            color=style["color"],
            linestyle="none",
        )


def _clipped(runs: pd.DataFrame, metric: text.Metric) -> "pd.Series[float]":
    """Values no worse than the untrained model's, where the metric is a loss: an exploded one would flatten all others."""
    return runs.quality.clip(upper=runs.initial_loss) if metric.unit == "loss" else runs.quality


def _crosses(ax: "Axes", runs: pd.DataFrame, height: float, colour: str) -> None:
    lrs = sorted(runs.loc[runs.status == "diverged", "lr"].unique())
    ax.plot(
        lrs,
        [height] * len(lrs),
        "x",
        color=colour,
        transform=ax.get_xaxis_transform(),
        markersize=5,
        markeredgewidth=1.4,
    )


def _legend(ax: "Axes", *, columns: int) -> None:
    handles, labels = ax.get_legend_handles_labels()
    told = [broken(label, 30 if columns > 1 else 60) for label in labels]
    ax.legend(
        handles,
        told,
        loc="upper left",
        bbox_to_anchor=(-0.02, -0.16),
        ncols=columns,
        handlelength=2.4,
        columnspacing=1.2,
    )


def curves(found: Findings) -> Gallery:
    """Validation loss over steps of the best strategies at their best lr, and of the plain one."""
    baseline = {v.workload: v.baseline for v in rows(found.verdicts)}

    def panel(ax: "Axes", workload: str) -> None:
        runs = found.best[found.best.workload == workload]
        for row, style in top(found.ranking[found.ranking.workload == workload], baseline[workload]):
            _curve(ax, f"{row.strategy} at\u00a0{text.lr(row.best_lr)}", _stacked(found, of_strategy(runs, row)), style)
        _loss_axis(ax)
        ax.set(title=workload, xlabel="step", ylabel="validation loss")
        _legend(ax, columns=1)

    alt = "Validation loss over training steps of the best strategies"
    return gallery("curves", alt, found.ranked_workloads, panel, columns=2, size=(5.4, 4.9))


def _stacked(found: Findings, runs: pd.DataFrame) -> Any:
    """The validation losses of some runs, grouped by step; a diverged run ends early."""
    stored = found.curves.loc[sorted(runs.key)]
    return pd.concat(
        [pd.Series(loss, step) for step, loss in zip(stored.eval_step, stored.val_loss, strict=True)]
    ).groupby(level=0)


def _curve(ax: "Axes", label: str, by_step: Any, style: Style) -> None:
    middle = by_step.median()
    ax.plot(middle.index, middle, label=label, **style | {"marker": "none"})
    ax.fill_between(middle.index, by_step.min(), by_step.max(), color=style["color"], alpha=0.15, linewidth=0)


def _loss_axis(ax: "Axes") -> None:
    """A log axis where the loss falls by half or more."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    losses = np.concatenate([np.asarray(line.get_ydata(), float) for line in ax.lines])
    if not np.nanmax(losses) >= 2 * np.nanmin(losses) > 0:
        return
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())


def heatmaps(found: Findings, axis: str) -> Gallery:
    """The best validation metric of each schedule or layer-lr policy under each optimizer that was run with several of them."""
    grids = {w: grid for w in found.ranked_workloads if not (grid := _grid(found, w, axis)).empty}
    small = [w for w, grid in grids.items() if len(grid) <= SMALL]
    groups = [small[i : i + drawing.PER_FIGURE] for i in range(0, len(small), drawing.PER_FIGURE)] + [
        [w] for w in grids if w not in small
    ]
    name = axis.replace("_", "-")
    alt = f"Best validation metric of each {name.replace('layer-lr', 'layer-lr policy')} under each optimizer"
    pictures = [
        Figure(
            numbered(f"optimizer-{name}", i, len(groups)),
            f"{alt}: {', '.join(group)}",
            partial(_heatmaps, found, {w: grids[w] for w in group}),
        )
        for i, group in enumerate(groups[: drawing.MOST_FIGURES], 1)
    ]
    return Gallery(tuple(pictures), tuple(w for group in groups[drawing.MOST_FIGURES :] for w in group))


def _grid(found: Findings, workload: str, axis: str) -> pd.DataFrame:
    """Rows: the choices of the axis, best first; columns: the optimizers that were run with several of them."""
    metric = found.metric(workload)
    ranked = found.ranking[found.ranking.workload == workload]
    scores = ranked.pivot_table(index=axis, columns="optimizer", values="score", aggfunc="first")
    scores = scores.loc[:, scores.notna().sum() > 1].dropna(how="all")
    order = scores.max(axis=1).sort_values(ascending=False, kind="stable").index
    return scores.loc[order] * (1 if metric.higher_is_better else -1) * metric.scale + 0.0  # no minus zero


def _heatmaps(found: Findings, grids: dict[str, pd.DataFrame]) -> "Drawing":
    tall = max(len(grid) for grid in grids.values())
    wide = max(grid.shape[1] for grid in grids.values())
    letters = max(min(len(str(label)), WRAP) for grid in grids.values() for label in grid.index)
    size = (1.2 + 0.075 * letters + 0.8 * wide, 1.5 + 0.3 * tall)
    return draw(
        list(grids),
        lambda ax, w: _heatmap(ax, found, w, grids[w]),
        columns=max(1, min(2, int(11 / size[0]))),
        size=size,
    )


def _heatmap(ax: "Axes", found: Findings, workload: str, grid: pd.DataFrame) -> None:
    import seaborn

    metric = found.metric(workload)
    low, high = _colour_range(grid.to_numpy(float))
    seaborn.heatmap(
        grid, ax=ax, annot=True, fmt=".1f" if metric.percent else ".3g", annot_kws={"size": 8}, linewidths=0.5, vmin=low, vmax=high,
        cmap="viridis" if metric.higher_is_better else "viridis_r", cbar=False,
    )  # fmt: skip
    ax.grid(visible=False)
    ax.set(title=f"{workload}: {metric.label}", xlabel="", ylabel="")
    ax.tick_params(length=0)
    ax.set_yticklabels([broken(str(label), WRAP) for label in grid.index], rotation=0, size=8)
    ax.set_xticklabels(
        [broken(str(label), 20) for label in grid.columns], rotation=30, ha="right", rotation_mode="anchor", size=8
    )


def _colour_range(values: NDArray[np.float64]) -> tuple[float, float]:
    """From the 2nd to the 98th percentile, and no less than 2 % of the value, so that nothing small looks large."""
    low, high = np.nanquantile(values, [0.02, 0.98])
    room = max(0.0, 0.02 * abs(high) - (high - low)) / 2
    return float(low - room), float(high + room)
