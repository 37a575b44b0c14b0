"""How the outcome depends on the lr, how the loss falls, and how optimizers do with schedules and layer-lr policies."""

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lrbench.analyse.results import OfStrategy, Response
from lrbench.report import drawing, text
from lrbench.report.document import Block, Code, Column, Figure, Fold, Paragraph, Section, Table, prose
from lrbench.report.drawing import BASELINE, Gallery, Style, broken, draw, gallery, line_style, numbered
from lrbench.report.findings import Findings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

Row = TypeVar("Row", bound=OfStrategy)
OPTIMIZERS = 8
"""The most optimizers in one panel."""
STRATEGIES = 4
"""The most strategies in one panel, besides the baseline."""
VIEW = 0.6
"""The share of the range of outcomes that a panel shows."""
LEAST_RANGE = 1e-3
"""A panel shows at least this share of the best value, so that rounding does not look like a difference."""


# ---- the lr response


def lr_response(found: Findings) -> Section:
    """How the outcome depends on the base lr."""
    title = "How the outcome depends on the lr"
    if not found.ranking:
        return Section(title, [Paragraph("No run finished, so there is no response to show.")], brief=True)
    baselines = len({optimizer for _, optimizer, *_ in found.baselines})
    which = (
        f"up to {OPTIMIZERS} of {baselines} optimizers, each workload's best"
        if baselines > OPTIMIZERS
        else "every optimizer"
    )
    without: list[Block] = [Paragraph("No optimizer was run with one constant lr for all layers.")]
    return Section(
        title,
        [
            *(optimizer_responses(found).blocks(OPTIMIZER_CAPTION, which=which) or without),
            Fold("The strategies of the winning optimizer", strategy_responses(found).blocks(STRATEGY_CAPTION)),
            Fold("lr sensitivity of every strategy", [sensitivity_table(found), Paragraph(prose(SENSITIVITY))]),
        ],
        brief=True,
    )


OPTIMIZER_CAPTION = (
    "One constant lr for all layers: {which}. Lines: median over seeds; bands: all seeds; rings: the optimizer's default "
    "lr; crosses: lrs at which a seed diverged (it counts as the untrained model). Outcomes far below the best leave the "
    "panel downwards."
)
STRATEGY_CAPTION = f"The winning optimizer: its {STRATEGIES} best strategies and, dashed, one constant lr for all layers. Marks as above."
SENSITIVITY = """\
*Usable*: reaches the target in half of its runs or keeps 95 % of the best improvement in validation loss, without a \
gap around the best lr. *Largest stable lr*: up to it no run exploded (diverged, ended 5 % above its initial loss, or \
had a training loss of more than ten times its first). *Default to cliff*: from the optimizer's default lr to the \
largest stable one, negative if the default lies above it; ≥ where the grid ends before the range does. \
*Sensitivity*: mean over the grid of the final validation loss - the best one, a diverged run counting with its \
initial loss; it depends on the grid, so compare it between strategies with as many lrs only."""


def _bound(value: float, *, is_open: bool) -> str:
    return ("≥ " if is_open and not math.isnan(value) else "") + text.number(value, 2)


MEASURES: list[Column[Response]] = [
    Column(
        "Usable width, decades",
        lambda r: _bound(r.width, is_open=r.usable_open == 1.0),
        lambda r: r.width,
        right=True,
        help="decades of lr around the best one that reach the target or keep 95 % of the best improvement",
        name="width",
    ),
    Column(
        "Largest stable lr",
        lambda r: _bound(r.largest_stable, is_open=not r.cliff_seen),
        lambda r: r.largest_stable,
        right=True,
        help="up to it no run exploded",
        name="largest_stable",
    ),
    Column(
        "Default to cliff, decades",
        lambda r: _bound(r.headroom, is_open=not r.cliff_seen),
        lambda r: r.headroom,
        right=True,
        help="from the optimizer's default lr to the largest stable one",
        name="headroom",
    ),
    Column(
        "Sensitivity",
        lambda r: text.number(r.sensitivity, 2),
        lambda r: r.sensitivity,
        right=True,
        help="mean over the grid of the final validation loss above the best",
        name="sensitivity",
    ),
]
"""The measures of a strategy over its lrs: a column here shows in the table, in its files, and in the page to sort by."""


def sensitivity_table(found: Findings) -> "Table[Response]":
    """The lr response of every strategy in numbers."""

    def usable(r: Response) -> str:
        return text.NONE if math.isnan(r.best_lr) else f"{text.lr(r.usable_low)} to {text.lr(r.usable_high)}"

    def best(r: Response) -> str:
        return text.lr(r.best_lr) + (" (grid boundary)" if r.edge else "")

    columns: list[Column[Response]] = [
        Column("Workload", lambda r: r.workload),
        Column("Strategy", lambda r: Code(r.strategy)),
        Column("Lrs", lambda r: str(r.lrs), lambda r: r.lrs, right=True),
        Column("Best lr", best, lambda r: r.best_lr, right=True),
        Column("Usable lrs", usable, right=True),
        *MEASURES,
    ]
    return Table("lr-sensitivity", columns, *found.notable_first(found.responses))


def optimizer_responses(found: Findings) -> Gallery:
    """Validation metric against lr, one line per optimizer with one constant lr for all layers."""
    best_first: dict[str, list[Response]] = {}
    for row in found.ranking:
        if row.place in found.baselines:
            best_first.setdefault(row.workload, []).append(row)

    def panel(ax: "Axes", workload: str) -> None:
        lines = [(row.optimizer, row, line_style(i)) for i, row in enumerate(best_first[workload][:OPTIMIZERS])]
        _response_panel(ax, workload, found, lines)

    alt = "Final validation metric against the base lr, one line per optimizer"
    return gallery("lr-response-optimizers", alt, sorted(best_first), panel, columns=2, size=(5.4, 4.3))


def strategy_responses(found: Findings) -> Gallery:
    """Validation metric against lr for the winning optimizer's best strategies and its baseline."""
    mine = {w: [row for row in found.ranked(w) if row.optimizer == v.optimizer] for w, v in found.winners.items()}

    def panel(ax: "Axes", workload: str) -> None:
        won = found.winners[workload]
        lines = [
            (f"{row.layer_lr} / {row.schedule}", row, style) for row, style in leading(mine[workload], won.baseline)
        ]
        _response_panel(ax, f"{workload}: {won.optimizer}", found, lines)

    several = [workload for workload, strategies in mine.items() if len(strategies) > 1]
    alt = "Final validation metric against the base lr, one line per strategy of the winning optimizer"
    return gallery("lr-response-strategies", alt, several, panel, columns=2, size=(5.4, 4.6))


def leading(ranked: Sequence[Row], baseline: str) -> list[tuple[Row, Style]]:
    """The best strategies in order, then the baseline, each with its style."""
    best = [row for row in ranked if row.strategy != baseline][:STRATEGIES]
    dashed = [(row, BASELINE) for row in ranked if row.strategy == baseline]
    return [(row, line_style(i)) for i, row in enumerate(best)] + dashed


def _response_panel(ax: "Axes", title: str, found: Findings, lines: Sequence[tuple[str, Response, Style]]) -> None:
    metric = found.metric(lines[0][1].workload)
    for i, (label, row, style) in enumerate(lines):
        cells = [cell for cell in found.cells_of[row.place] if cell.trained]
        lrs = np.array([cell.lr for cell in cells])
        middle, least, most = (
            metric.scale * np.array(of) for of in zip(*((c.middle, c.least, c.most) for c in cells), strict=True)
        )
        ax.plot(lrs, middle, label=label, **style)
        ax.fill_between(lrs, least, most, color=style["color"], alpha=0.15, linewidth=0)
        if lrs.min() <= row.default_lr <= lrs.max():
            height = np.interp(np.log(row.default_lr), np.log(lrs), middle)
            ring: Style = {"marker": "o", "markersize": 11, "markerfacecolor": "none", "linestyle": "none"}
            ax.plot([row.default_lr], [height], color=style["color"], **ring)
        diverged = [cell.lr for cell in cells if cell.diverged]
        marks = {"color": style["color"], "markersize": 5, "markeredgewidth": 1.4}
        ax.plot(diverged, [0.02 + 0.03 * i] * len(diverged), "x", transform=ax.get_xaxis_transform(), **marks)
    ax.set_xscale("log")
    ax.minorticks_off()
    _upper_part(ax, higher_is_better=metric.higher_is_better)
    ylabel = metric.label + ("" if metric.higher_is_better else " (better is up)")
    ax.set(title=title, xlabel="base lr", ylabel=ylabel)
    _legend(ax, columns=2 if max(len(label) for label, *_ in lines) < 32 else 1)


def _upper_part(ax: "Axes", *, higher_is_better: bool) -> None:
    """Show the better ``VIEW`` of the range of all lines: what is worse leaves the panel downwards."""
    lines = [line for line in ax.lines if line.get_transform() == ax.transData]
    values = np.concatenate([np.asarray(line.get_ydata(), float) for line in lines])
    best, worst = (values.max(), values.min()) if higher_is_better else (values.min(), values.max())
    reach = max(abs(best - worst), LEAST_RANGE * abs(best)) * (1 if higher_is_better else -1) or 1.0
    ax.set_ylim(*sorted([best - VIEW * reach, best + 0.06 * reach]))
    if not higher_is_better:
        ax.invert_yaxis()


def _legend(ax: "Axes", *, columns: int) -> None:
    handles, labels = ax.get_legend_handles_labels()
    names = [broken(label, 30 if columns > 1 else 60) for label in labels]
    place: Style = {"loc": "upper left", "bbox_to_anchor": (-0.02, -0.16)}
    ax.legend(handles, names, ncols=columns, handlelength=2.4, columnspacing=1.2, **place)


# ---- learning curves


def learning_curves(found: Findings) -> Section:
    """Validation loss over steps."""
    without: list[Block] = [Paragraph("No run finished, so there are no curves to show.")]
    return Section("Learning curves", curves(found).blocks(CURVES) or without, brief=True)


CURVES = (
    f"The {STRATEGIES} best strategies of each workload, each at its best lr, and, dashed, the baseline. Lines: median "
    "over seeds; bands: all seeds. A diverged run ends where it diverged."
)


def curves(found: Findings) -> Gallery:
    """Validation loss over steps of the best strategies at their best lr, and of the baseline."""

    def panel(ax: "Axes", workload: str) -> None:
        for row, style in leading(found.ranked(workload), found.winners[workload].baseline):
            curve = found.curve(row.place)
            label = f"{row.strategy} at\u00a0{text.lr(row.best_lr)}"
            ax.plot(curve.step_E, curve.loss_E, label=label, **style | {"marker": "none"})
            band: Style = {"color": style["color"], "alpha": 0.15, "linewidth": 0}
            ax.fill_between(curve.step_E, curve.loss_least_E, curve.loss_most_E, **band)
        _loss_axis(ax)
        ax.set(title=workload, xlabel="step", ylabel="validation loss")
        _legend(ax, columns=1)

    alt = "Validation loss over training steps of the best strategies"
    return gallery("curves", alt, found.ranked_workloads, panel, columns=2, size=(5.4, 4.9))


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


# ---- heat maps

WRAP = 40
"""The longest line, in letters, of a label below a heat map."""
SMALL = 8
"""Heat maps of up to so many rows share a figure."""
MAPS = (
    "Each cell is the best over all else, at its best lr, rows from best to worst; blank where nothing finished or was "
    "run. Optimizers that were run with one of the rows only are not drawn."
)


def heat_maps(found: Findings) -> Section:
    """Optimizers with schedules and with layer-lr policies."""
    maps = [block for axis in ("schedule", "layer_lr") for block in heat_map(found, axis).blocks(MAPS)]
    nothing = "No workload finished runs with two schedules or two layer-lr policies, so there is nothing to compare."
    return Section("Optimizers with schedules and with layer-lr policies", maps or [Paragraph(nothing)])


def heat_map(found: Findings, axis: str) -> Gallery:
    """The best validation metric of each schedule or layer-lr policy under each optimizer that was run with several."""
    grids = {w: grid for w in found.ranked_workloads if not (grid := _grid(found, w, axis)).empty}
    small, per = [w for w, grid in grids.items() if len(grid) <= SMALL], drawing.PER_FIGURE
    groups = [small[i : i + per] for i in range(0, len(small), per)] + [[w] for w in grids if w not in small]
    name = axis.replace("_", "-")
    alt = f"Best validation metric of each {name.replace('layer-lr', 'layer-lr policy')} under each optimizer"
    figures = [
        Figure(
            numbered(f"optimizer-{name}", i, len(groups)),
            f"{alt}: {', '.join(group)}",
            partial(_heat_maps, found, {w: grids[w] for w in group}),
        )
        for i, group in enumerate(groups[: drawing.MOST_FIGURES], 1)
    ]
    return Gallery(tuple(figures), tuple(w for group in groups[drawing.MOST_FIGURES :] for w in group))


def _grid(found: Findings, workload: str, axis: str) -> pd.DataFrame:
    """Rows: the choices of the axis, best first; columns: the optimizers that were run with several of them."""
    metric = found.metric(workload)
    scores: dict[str, dict[str, float]] = {}
    for row in found.ranked(workload):  # best first, so that the first of a cell is its best
        scores.setdefault(row.optimizer, {}).setdefault(row.schedule if axis == "schedule" else row.layer_lr, row.score)
    several = {optimizer: of for optimizer, of in sorted(scores.items()) if len(of) > 1}
    table = pd.DataFrame(several).sort_index()
    order = table.max(axis=1).sort_values(ascending=False, kind="stable").index
    return table.loc[order] * (1 if metric.higher_is_better else -1) * metric.scale + 0.0  # no minus zero


def _heat_maps(found: Findings, grids: dict[str, pd.DataFrame]) -> "Drawing":
    tall = max(len(grid) for grid in grids.values())
    wide = max(grid.shape[1] for grid in grids.values())
    letters = max(min(len(str(label)), WRAP) for grid in grids.values() for label in grid.index)
    size = (1.2 + 0.075 * letters + 0.8 * wide, 1.5 + 0.3 * tall)
    columns = max(1, min(2, int(11 / size[0])))
    return draw(list(grids), lambda ax, w: _heat_map(ax, found, w, grids[w]), columns=columns, size=size)


def _heat_map(ax: "Axes", found: Findings, workload: str, grid: pd.DataFrame) -> None:
    import seaborn

    metric = found.metric(workload)
    low, high = _colour_range(grid.to_numpy(float))
    colours = {"vmin": low, "vmax": high, "cmap": "viridis" if metric.higher_is_better else "viridis_r", "cbar": False}
    fmt = ".1f" if metric.percent else ".3g"
    seaborn.heatmap(grid, ax=ax, annot=True, fmt=fmt, annot_kws={"size": 8}, linewidths=0.5, **colours)
    ax.grid(visible=False)
    ax.set(title=f"{workload}: {metric.label}", xlabel="", ylabel="")
    ax.tick_params(length=0)
    ax.set_yticklabels([broken(str(label), WRAP) for label in grid.index], rotation=0, size=8)
    names = [broken(str(label), 20) for label in grid.columns]
    ax.set_xticklabels(names, rotation=30, ha="right", rotation_mode="anchor", size=8)


def _colour_range(values: NDArray[np.float64]) -> tuple[float, float]:
    """From the 2nd to the 98th percentile, and no less than 2 % of the value, so that nothing small looks large."""
    low, high = np.nanquantile(values, [0.02, 0.98])
    room = max(0.0, 0.02 * abs(high) - (high - low)) / 2
    return float(low - room), float(high + room)
