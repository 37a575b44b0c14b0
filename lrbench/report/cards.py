"""A card for each of the best strategies: what it is, its lr for each layer, and what became of it, with the runs under every number."""

import math
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lrbench.analyse import AXES, of_strategy, rows
from lrbench.report import markdown as md
from lrbench.report import text
from lrbench.report.drawing import COLOURS, Gallery, gallery
from lrbench.report.findings import Findings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BEST = 3
"""How many strategies of a workload have a card."""
LAYERS = 8
"""The most groups of parameters whose lrs are told or drawn one by one."""
PANELS = 6
"""Workloads in the figure."""
FACTS = {"optimizer": "optimizers", "layer_lr": "layer_lrs", "schedule": "schedules"}


def lrs(found: Findings) -> Gallery:
    """The lr of each group of layers over the steps, for the winner of each workload."""
    winner = {str(v.workload): v for v in rows(found.verdicts) if v.strategy}

    def panel(ax: "Axes", workload: str) -> None:
        run = _a_run(found, winner[workload])
        for i, (name, lr_E) in enumerate(_lr_lines(run)):
            ax.plot(
                run.eval_step,
                lr_E,
                color=COLOURS[i % len(COLOURS)],
                linestyle="-" if i < len(COLOURS) else "--",
                label=name,
            )
        ax.set(xlabel="step", ylabel="lr")
        ax.set_title(
            "\n".join([workload, *textwrap.wrap(winner[workload].strategy, 44, break_long_words=False)]), size=9
        )
        ax.set_ylim(bottom=0.0)
        ax.legend(loc="best")

    return gallery(
        "lr-by-layer", "The lr of each group of layers over the steps, best "
        "strategy", list(winner), panel, per_figure=PANELS, most=1,
        columns=3, size=(4.4, 3.0),
    )  # fmt: skip


def _a_run(found: Findings, row: Any) -> Any:
    """The run of a strategy at its best lr that went farthest, of the lowest seed: lrs do not depend on the seed, but where it ended."""
    runs = of_strategy(found.best[found.best.workload == row.workload], row).sort_values(
        ["steps", "seed"], ascending=[False, True]
    )
    return found.curves.loc[runs.key.iloc[0]]


def _lr_lines(run: Any) -> list[tuple[str, Any]]:
    """The lr at each evaluation of every group, groups of one lr throughout as one line; NaN before a group joined."""
    lr_EG = np.stack([np.asarray(at, float) for at in run.group_lr])
    alike: dict[bytes, list[int]] = {}
    for i in range(lr_EG.shape[1]):
        alike.setdefault(lr_EG[:, i].tobytes(), []).append(i)
    names = [str(name) for name in run.groups]
    if len(alike) == 1:
        return [("all layers", lr_EG[:, 0])]
    return [
        (text.some([names[i] for i in same], 2), lr_EG[:, same[0]]) for same in list(alike.values())[: 2 * len(COLOURS)]
    ]


def cards(found: Findings, drawn: Gallery) -> str:
    """The section: the figure and, folded, a card for each of the ``BEST`` strategies of each workload."""
    if found.ranking.empty:
        return ""
    caption = (
        "*The lr of every group of parameters at each evaluation, for each workload's best strategy; groups of one lr "
        "share a line, and a "
        "line begins where its layers join.*"
    )
    best = rows(found.ranking.groupby("workload").head(BEST))
    shown = [md.image(picture.file, picture.alt) for picture in drawn.figures]
    return md.section("Strategy cards", *shown, caption if shown else "", *(_card(found, r) for r in best))


def _card(found: Findings, r: Any) -> str:
    lines = [
        *([axis.replace("_", "-"), _meaning(found, axis, getattr(r, axis))] for axis in AXES),
        [
            "lr",
            text.lr(r.best_lr)
            + (" (edge of the grid)" if r.edge else "")
            + f"; the optimizer's default is {text.lr(r.default_lr)}",
        ],
        ["lr by layer", _by_layer(_a_run(found, r))],
        *_outcome(found, r),
        ["lr response", _response(r)],
        *_cost(found, r),
    ]
    return md.details(f"{md.plain(r.workload)}: {md.code_html(r.strategy)}", md.table(["", ""], lines))


def _meaning(found: Findings, axis: str, label: str) -> str:
    entry = found.study.facts.get(FACTS[axis], {}).get(label, {})
    told = [md.plain(str(entry[name])).rstrip(".") for name in ("meaning", "source") if entry.get(name)]
    return ". ".join([md.code(label), *told])


def _by_layer(run: Any) -> str:
    lines = _lr_lines(run)
    told = [f"{md.plain(name)} {_span(lr_E)}" for name, lr_E in lines[:LAYERS]]
    return "; ".join(told) + (f"; {len(lines) - LAYERS} more" if len(lines) > LAYERS else "")


def _span(lr_E: Any) -> str:
    """The lr of a group at its first and last evaluation, and the highest in between."""
    known = lr_E[np.isfinite(lr_E)]
    if not len(known):
        return "never moved"
    first, last, most = known[0], known[-1], known.max()
    late = " (joins later)" if np.isnan(lr_E[0]) else ""
    if known.min() == most:
        return text.lr(first) + late
    return (
        f"{text.lr(first)} to {text.lr(last)}"
        + (f", at most {text.lr(most)}" if most > max(first, last) else "")
        + late
    )


def _outcome(found: Findings, r: Any) -> list[list[str]]:
    metric = found.metric(r.workload)
    cells = found.cells
    mine = of_strategy(cells[(cells.workload == r.workload) & (cells.lr == r.best_lr)], r)
    [cell] = list(rows(mine))
    steps = text.NONE if math.isnan(cell.steps_to_target) else text.number(cell.steps_to_target)
    shaken = f"{cell.diverged} of {cell.runs} diverged; {text.number(cell.spikes, 2)} loss spikes a run"
    return [
        ["validation", metric.show(cell.val_metric) + metric.interval(cell.val_metric_low, cell.val_metric_high)],
        *(
            [
                ["test", metric.show(v.test_metric)]
                for v in rows(found.verdicts)
                if (v.workload, v.strategy) == (r.workload, r.strategy)
            ]
        ),
        ["steps to target", f"{steps}, {cell.reached} of {cell.runs} runs reach it"],
        [
            "stability",
            f"{shaken}; oscillation {text.number(cell.oscillation, 2)}; spread over seeds "
            f"{metric.bare(cell.val_metric_spread)}",
        ],
        ["runs", " ".join(map(md.code, str(cell.keys).split()))],
    ]


def _response(r: Any) -> str:
    bound = "≥ " if r.usable_open == 1.0 else ""
    stable = ("≥ " if not r.cliff_seen else "") + text.number(r.largest_stable, 2)
    return (
        f"usable from {text.lr(r.usable_low)} to {text.lr(r.usable_high)} ({bound}{text.number(r.width, 2)} decades); "
        f"largest stable lr {stable}; sensitivity {text.number(r.sensitivity, 2)}"
    )


def _cost(found: Findings, r: Any) -> list[list[str]]:
    if found.times.empty:
        return []
    mine = of_strategy(found.times[found.times.workload == r.workload], r)
    told = [
        f"{text.measure(t.step_seconds, text.TIME)} a step, {_until(t)}"
        for t in rows(mine)
        if not pd.isna(t.step_seconds)
    ]
    return [["cost", "; ".join(told) or text.NONE]]


def _until(t: Any) -> str:
    return (
        "no time to target"
        if math.isnan(t.seconds)
        else f"target after {text.measure(t.seconds, text.TIME, t.seconds_low, t.seconds_high)}"
    )
