"""The figures of a comparison of machines: how much faster steps are, and how soon the target is reached."""

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lrbench.analyse import groups
from lrbench.report.document import Figure
from lrbench.report.drawing import Gallery, broken, draw, gallery, line_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STRATEGIES = 8
"""The most strategies in one panel."""
TICKS = ((8.0, (1.0, 2.0, 5.0)), (2.0, (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)))
"""The ticks of each decade of a log axis whose ends differ by so many times or more."""
WRAP = 42
"""The longest line, in letters, of the name of a strategy."""


def speed_up(ratios: pd.DataFrame) -> Gallery:
    """How many times as fast a step is as on the baseline, by workload."""
    if ratios.empty:
        return Gallery()
    workloads, machines = sorted(ratios.workload.unique()), sorted(ratios.machine.unique())

    def panel(ax: "Axes", _: str) -> None:
        for i, name in enumerate(machines):
            mine = ratios[ratios.machine == name].set_index("workload").reindex(workloads)
            _dots(ax, name, i, len(machines), mine.ratio, mine.low, mine.high)
        ax.axvline(1.0, color="black", linestyle="--", linewidth=1.0)
        _ranked_axis(ax, workloads)
        ax.set(xlabel="steps per second, as a multiple of the baseline's")
        _legend(ax)

    alt = f"Speed-up of a training step over the baseline on {', '.join(machines)}: {', '.join(workloads)}"
    height = 0.9 + (0.25 + 0.2 * len(machines)) * len(workloads)
    return Gallery((Figure("speed-up", alt, partial(draw, ["all"], panel, columns=1, size=(8.5, height))),))


def time_to_target(times: pd.DataFrame) -> Gallery:
    """Time to target by strategy and machine, a panel per workload; strategies that never reach it are not drawn."""
    done = times[np.isfinite(times.seconds)] if len(times) else times
    if done.empty:
        return Gallery()
    machines = sorted(done.machine.unique())
    parts = {str(w): part for (w,), part in groups(done, ["workload"])}

    def panel(ax: "Axes", workload: str) -> None:
        part = parts[workload]
        least = part.groupby("strategy").seconds.min().sort_index().sort_values(kind="stable").head(STRATEGIES)
        for i, name in enumerate(machines):
            mine = part[part.machine == name].set_index("strategy").reindex(least.index)
            _dots(ax, name, i, len(machines), mine.seconds, mine.seconds_low, mine.seconds_high)
        _ranked_axis(ax, [broken(str(s), WRAP) for s in least.index])
        ax.set(title=workload, xlabel="seconds of training to the target")
        _legend(ax)

    tall = max(min(part.strategy.nunique(), STRATEGIES) for part in parts.values())
    size = (9.0, 1.1 + (0.16 + 0.13 * len(machines)) * tall)
    return gallery(
        "time-to-target",
        "Time to target by strategy and machine",
        sorted(parts),
        panel,
        columns=1,
        size=size,
        per_figure=3,
    )


def _dots(
    ax: "Axes", name: str, i: int, of: int, value: "pd.Series[Any]", low: "pd.Series[Any]", high: "pd.Series[Any]"
) -> None:
    """A machine's values from top to bottom, those of several machines beneath each other; an open interval is an arrow."""
    y = np.arange(len(value)) + (i - (of - 1) / 2) * 0.6 / of
    below = (value - low).clip(lower=0.0).fillna(0.0)
    above = (high - value).where(np.isfinite(high), 0.0).clip(lower=0.0).fillna(0.0)
    style = line_style(i)
    ax.errorbar(value, y, xerr=[below, above], linestyle="none", label=name, capsize=2, elinewidth=1.2, **style)
    for start, height in zip(value[np.isinf(high)], y[np.isinf(high)], strict=True):
        arrow = {"arrowstyle": "->", "color": style["color"], "linewidth": 1.2}
        ax.annotate("", (1.0, height), (start, height), ("axes fraction", "data"), "data", arrowprops=arrow)


def _legend(ax: "Axes") -> None:
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.3)


def _ranked_axis(ax: "Axes", labels: list[str]) -> None:
    """Names down the left, and a log axis with plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

    ax.set_xscale("log")
    ax.minorticks_off()
    low, high = ax.get_xlim()
    ticks = next((ticks for least, ticks in TICKS if high >= least * low), None)
    ax.xaxis.set_major_locator(LogLocator(subs=ticks) if ticks else MaxNLocator(5))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylim(len(labels) - 0.5, -0.5)
