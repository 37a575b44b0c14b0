"""The figure of tuning: the expected best outcome against the number of trials."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lrbench.analyse import best_after, of_strategy, rows, tuning_curves, untuned
from lrbench.analyse.intervals import mean, seeds_interval
from lrbench.report import text
from lrbench.report.drawing import BASELINE, Gallery, Style, gallery, line_style
from lrbench.report.findings import Findings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TOP = 4
"""The most strategies in one panel, besides the plain one."""
RANKED_AT = 5
"""The number of trials after which strategies are ranked for the figure."""
TRIALS = tuple(int(k) for k in np.unique(np.geomspace(1, 64, 25).round()))
"""The numbers of trials that are drawn; ``RANKED_AT`` is one of them."""
CROPPED = 3
"""A panel ends where its lowest line is after so many trials: the first ones would flatten all that comes later."""
TICKS = (1, 2, 5, 10, 20, 50)


def curves(found: Findings) -> Gallery:
    """The expected best validation metric against the number of trials, for the best strategies and the plain one."""
    known, first = tuning_curves(found.runs, TRIALS), untuned(found.runs)
    ranked = best_after(known, RANKED_AT)
    plain = {v.workload: v.baseline for v in rows(found.verdicts)}

    def panel(ax: "Axes", workload: str) -> None:
        metric, here = found.metric(workload), known[known.workload == workload]
        for row, style in _chosen(ranked[ranked.workload == workload], plain[workload]):
            _line(ax, metric, row.strategy, of_strategy(here, row), style)
            _ring(ax, metric, of_strategy(first[first.workload == workload], row), style)
        _axes(ax, workload, metric)

    alt = "Expected best validation metric against the number of trials, one line per strategy"
    return gallery("tuning", alt, sorted(ranked.workload.unique()), panel, columns=2, size=(5.4, 4.6))


def _chosen(ranked: pd.DataFrame, plain: str) -> list[tuple[Any, Style]]:
    """The best strategies in order, then the plain one, each with its style."""
    best = [row for row in rows(ranked) if row.strategy != plain][:TOP]
    return [(row, line_style(i)) for i, row in enumerate(best)] + [
        (row, BASELINE) for row in rows(ranked) if row.strategy == plain
    ]


def _drawn(metric: text.Metric, outcome: Any) -> Any:
    """Outcomes, of which more is better, in the units of the axis."""
    return outcome * metric.scale * (1 if metric.higher_is_better else -1)


def _line(ax: "Axes", metric: text.Metric, label: str, curve: pd.DataFrame, style: Style) -> None:
    value_SK: NDArray[np.float64] = _drawn(metric, curve[list(TRIALS)].to_numpy(float))
    ax.plot(TRIALS, value_SK.mean(axis=0), label=label, **style | {"markersize": 3})
    low_K, high_K = zip(*(seeds_interval(seeds, statistic=mean) for seeds in value_SK.T), strict=True)
    ax.fill_between(TRIALS, low_K, high_K, color=style["color"], alpha=0.15, linewidth=0)


def _ring(ax: "Axes", metric: text.Metric, first: pd.DataFrame, style: Style) -> None:
    """What the first trial scores at the lr that is known beforehand; nothing where that is unknown."""
    value = [_drawn(metric, first.outcome.mean())] if len(first) else []
    ax.plot([1.0] * len(value), value, "o", markersize=10, markerfacecolor="none", color=style["color"])


def _axes(ax: "Axes", workload: str, metric: text.Metric) -> None:
    ax.set_xscale("log")
    ax.set_xticks(TICKS, [str(k) for k in TICKS])
    ax.minorticks_off()
    _crop(ax, metric)
    if not metric.higher_is_better:
        ax.invert_yaxis()
    ax.set(
        title=workload, xlabel="trials", ylabel=metric.label + ("" if metric.higher_is_better else " (better is up)")
    )
    ax.legend(loc="upper left", bbox_to_anchor=(-0.02, -0.16), handlelength=2.4)


def _crop(ax: "Axes", metric: text.Metric) -> None:
    """Show what is at least as good as the lowest line after ``CROPPED`` trials."""
    drawn = [np.asarray(line.get_ydata(), float) for line in ax.lines]
    lines = [line for line in drawn if len(line) == len(TRIALS)]
    sign = 1 if metric.higher_is_better else -1
    lowest, highest = (f([sign * line[TRIALS.index(CROPPED) :] for line in lines]) for f in (np.min, np.max))
    room = 0.08 * (highest - lowest) or 1e-3 * abs(highest) or 1.0
    ax.set_ylim(*sorted([sign * (lowest - room), sign * (highest + room)]))
