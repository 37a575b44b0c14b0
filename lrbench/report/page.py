"""``report.html``: a study to sort, filter and look into, and its whole report, as one file that asks nothing of any other.

It holds one row per workload and strategy, its outcome at every lr, and its curve at the best one.

Everything is plain and compact: tables are lists by column, labels are numbers into ``axes``, floats have five digits,
None is unknown and ``NEVER`` infinite. ``Limits`` bound the size whatever the study; what they cut is counted in
``left_out``, so that the page can say so.
"""

import base64
import hashlib
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import NamedTuple

import numpy as np

from lrbench.analyse import STRATEGY
from lrbench.analyse.results import Cell, Counts, Response, TimeToTarget
from lrbench.analyse.study import Place
from lrbench.report.document import Document, plain
from lrbench.report.findings import Findings
from lrbench.report.render import html as rendering
from lrbench.report.render.html import Pictures
from lrbench.report.study import opening
from lrbench.report.study.response import MEASURES

DIGITS = 5
"""Significant digits of a measure."""
EXACT = 9
"""Those of an lr or of a number of steps."""
NEVER = "∞"
"""Stands for infinity, which JSON has no word for."""


@dataclass(frozen=True)
class Limits:
    """The most that a page holds; strategies are kept in order of rank, the same of every workload."""

    rows: int = 5_000
    """Pairs of workload and strategy."""
    cells: int = 20_000
    """Outcomes of a strategy at an lr."""
    keys: int = 32
    """Run keys of one such outcome."""
    curves: int = 600
    """Strategies with a learning curve."""
    points: int = 60
    """Evaluations of one curve, evenly spread, the first and the last among them."""


LIMITS = Limits()


def embedded(found: Findings, limits: Limits = LIMITS) -> dict[str, object]:
    """Everything that the page shows, as values that JSON has.

    Keys: ``study`` (name, summary, warnings), ``axes`` (labels), ``workloads`` (how to write their metric), ``measures``
    (names and titles of those that have a column), ``rows``, ``cells`` (sorted by row, then lr), ``curves`` (of some rows,
    on ``grids`` of steps), ``limits`` and ``left_out``.
    """
    table = _rows(found)
    kept = _kept(found, table, limits)
    cells = [(i, cell) for i, row in enumerate(kept) for cell in found.cells_of.get(row.place, [])]
    labels = [sorted({row.place[i] for row in kept}) for i in range(len(STRATEGY))]
    curves, grids, thinned = _curves(found, kept, limits)
    return {
        "study": {
            "name": found.study.name,
            "summary": opening.summary(found),
            "warnings": [plain(line) for line in opening.warnings(found)],
        },
        "axes": dict(zip(STRATEGY, labels, strict=True)),
        "workloads": [_workload(found, w) for w in labels[0]],
        "measures": [{"id": of.name, "label": plain(of.title), "help": plain(of.help)} for of in MEASURES],
        "rows": {axis: [labels[i].index(row.place[i]) for row in kept] for i, axis in enumerate(STRATEGY)}
        | {name: [_value(of(row)) for row in kept] for name, of in ROW.items()}
        | {of.name: [_value(of.value and of.value(row.response)) for row in kept] for of in MEASURES}
        | {f"{of.name}_shown": [plain(of.show(row.response)) for row in kept] for of in MEASURES},
        "cells": {"row": [i for i, _ in cells]}
        | {name: [_value(of(cell)) for _, cell in cells] for name, of in CELL.items()}
        | {"keys": [" ".join(cell.keys.split()[: limits.keys]) for _, cell in cells]},
        "curves": curves,
        "grids": grids,
        "limits": vars(limits).copy(),
        "left_out": {
            "rows": len(table) - len(kept),
            "curves": sum(row.ranked is not None for row in kept) - len(curves["row"]),
            "keys": sum(max(0, len(cell.keys.split()) - limits.keys) for _, cell in cells),
            "thinned": thinned,
        },
    }


@dataclass(frozen=True)
class StrategyRow:
    """A strategy on a workload as the page shows it: its lr response, its runs, and where a run finished its place and outcome."""

    response: Response
    counts: Counts
    ranked: int | None
    is_tied: bool
    best: Cell | None
    time: TimeToTarget | None

    @property
    def place(self) -> Place:
        """Its workload and axes."""
        return self.response.place


class Exact(NamedTuple):
    """A number that keeps more digits: an lr, or a number of steps."""

    value: float


ROW: dict[str, Callable[[StrategyRow], object]] = {
    "rank": lambda row: row.ranked,
    "alike": lambda row: row.is_tied if row.ranked else None,
    "plain": lambda row: row.counts.is_baseline,
    "best_lr": lambda row: Exact(row.response.best_lr),
    "edge": lambda row: row.response.edge,
    "metric": lambda row: row.best and row.best.val_metric.value,
    "metric_low": lambda row: row.best and row.best.val_metric.low,
    "metric_high": lambda row: row.best and row.best.val_metric.high,
    "steps": lambda row: row.best and Exact(row.best.steps),
    "reached": lambda row: row.best and row.best.reached,
    "at_best": lambda row: row.best and row.best.trained,
    "seconds": lambda row: row.time and row.time.seconds.value,
    "seconds_low": lambda row: row.time and row.time.seconds.low,
    "seconds_high": lambda row: row.time and row.time.seconds.high,
    "step_seconds": lambda row: row.time and row.time.step_seconds,
    "usable_low": lambda row: Exact(row.response.usable_low),
    "usable_high": lambda row: Exact(row.response.usable_high),
    "default_lr": lambda row: Exact(row.response.default_lr),
    "lrs": lambda row: row.response.lrs,
    "runs": lambda row: row.counts.runs,
    "trained": lambda row: row.counts.trained,
    "diverged": lambda row: row.counts.diverged,
    "crashed": lambda row: row.counts.crashed,
}
"""What the page knows of a strategy on a workload."""
CELL: dict[str, Callable[[Cell], object]] = {
    "lr": lambda cell: Exact(cell.lr),
    "runs": lambda cell: cell.runs,
    "reached": lambda cell: cell.reached,
    "diverged": lambda cell: cell.diverged,
    "crashed": lambda cell: cell.crashed,
    "metric": lambda cell: cell.val_metric.value,
    "metric_low": lambda cell: cell.val_metric.low,
    "metric_high": lambda cell: cell.val_metric.high,
    "middle": lambda cell: cell.middle,
    "least": lambda cell: cell.least,
    "most": lambda cell: cell.most,
    "loss": lambda cell: cell.loss,
    "loss_least": lambda cell: cell.loss_least,
    "loss_most": lambda cell: cell.loss_most,
    "steps": lambda cell: Exact(cell.steps),
    "steps_least": lambda cell: Exact(cell.steps_least),
    "steps_most": lambda cell: Exact(cell.steps_most),
}
"""Likewise of its outcome at one lr. ``metric`` and its bounds are those of ``summary.csv``."""


def _rows(found: Findings) -> list[StrategyRow]:
    """In order of workload and rank; strategies without a best lr come last, without a rank."""
    ranks: dict[Place, int] = {}
    for workload in found.ranked_workloads:
        ranks |= {row.place: rank for rank, row in enumerate(found.ranked(workload), 1)}
    tied = {(v.workload, name) for v in found.verdicts for name in v.not_separated}
    times = {t.place: t for t in found.times}
    table = [
        StrategyRow(
            response,
            found.counts[response.place],
            ranks.get(response.place),
            (response.workload, response.strategy) in tied,
            found.best_cell(response) if response.place in ranks else None,
            times.get(response.place),
        )
        for response in found.responses
    ]
    return sorted(table, key=lambda row: (row.response.workload, row.ranked or math.inf, row.place))


def _kept(found: Findings, table: Sequence[StrategyRow], limits: Limits) -> list[StrategyRow]:
    """The rows for which there is room, in the order of ``table``: those of the best ranks, the same of every workload."""
    kept: set[Place] = set()
    cells = 0
    for row in sorted(table, key=lambda row: (row.ranked or math.inf, row.place)):
        cells += len(found.cells_of.get(row.place, []))
        if cells > limits.cells or len(kept) == limits.rows:
            break
        kept.add(row.place)
    return [row for row in table if row.place in kept]


Columns = dict[str, list[object]]


def _curves(found: Findings, kept: Sequence[StrategyRow], limits: Limits) -> tuple[Columns, list[list[int]], int]:
    """The median curve and its range over seeds of the first rows by rank, at their best lr.

    Returns: the columns of ``CURVE``; the grids of steps that the curves share; how many of them have fewer points than
    evaluations.
    """
    ranked = sorted((row.ranked, row.place, i) for i, row in enumerate(kept) if row.ranked is not None)
    grids: dict[tuple[int, ...], int] = {}
    lines: list[list[object]] = []
    thinned = 0
    for i, place in sorted((i, place) for _, place, i in ranked[: limits.curves]):
        curve = found.curve(place)
        points = min(limits.points, len(curve.step_E))
        shown = np.unique(np.linspace(0, len(curve.step_E) - 1, points).round().astype(int))
        thinned += len(shown) < len(curve.step_E)
        grid = grids.setdefault(tuple(curve.step_E[shown].tolist()), len(grids))
        seeds = curve.seeds_E[shown].tolist()
        parts = [curve.metric_E, curve.metric_least_E, curve.metric_most_E]
        parts += [curve.loss_E, curve.loss_least_E, curve.loss_most_E]
        ranges = [[_number(value, DIGITS) for value in part[shown].tolist()] for part in parts]
        lines.append([i, grid, seeds[0] if len(set(seeds)) == 1 else seeds, *ranges])
    columns = zip(*lines, strict=True) if lines else [[] for _ in CURVE]
    return dict(zip(CURVE, map(list, columns), strict=True)), [list(grid) for grid in grids], thinned


CURVE = ["row", "grid", "seeds", "metric", "metric_least", "metric_most", "loss", "loss_least", "loss_most"]
"""The columns of a curve. ``seeds`` is one number, or one for each evaluation where some runs ended early."""


def _workload(found: Findings, workload: str) -> dict[str, object]:
    metric = found.metric(workload)
    return {
        "metric": metric.name,
        "percent": metric.percent,
        "higher": metric.higher_is_better,
        "target": _number(found.target(workload), EXACT),
        "budget": int(found.budget(workload)),
        "meaning": str(found.fact(workload).get("meaning", "")),
    }


def _value(value: object) -> object:
    """A value as JSON has it: numbers short, None for what is not known."""
    match value:
        case Exact(exact):
            return _number(exact, EXACT)
        case bool():
            return int(value)
        case float():
            return _number(value, DIGITS)
    return value


def _number(value: float, digits: int) -> float | int | str | None:
    """A number with so many significant digits, as short as JSON can have it."""
    if math.isnan(value):
        return None
    if math.isinf(value):
        return NEVER if value > 0 else f"-{NEVER}"
    short = float(f"{value:.{digits}g}")
    return int(short) if short.is_integer() and abs(short) < 1e9 else short


# ---- the page

PLACE = re.compile(r"\{\{(\w+)\}\}")
"""Where something goes in ``page/page.html``."""


def page(found: Findings, report: Document, pictures: Pictures, limits: Limits = LIMITS) -> str:
    """The whole page: what can be sorted and filtered, then every section of the report. The same study gives the same bytes.

    Its content security policy lets the page's own script and style alone run, by their hashes, and lets nothing be
    fetched.
    """
    data, style, script = embedded(found, limits), _source("page.css"), _source("page.js")
    parts = {
        "policy": f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'",
        "name": escape(found.study.name),
        "summary": escape(opening.summary(found)),
        "style": style,
        "script": script,
        "data": in_script(data),
        "contents": rendering.contents(report),
        "sections": rendering.sections(report, pictures),
    }
    return PLACE.sub(lambda place: parts[place[1]], _source("page.html"))


def in_script(data: object) -> str:
    r"""Data as JSON that may stand within a ``script`` element: no label can end it.

    >>> print(in_script("</script>"))
    "\u003c/script\u003e"
    """
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _source(name: str) -> str:
    return (files("lrbench.report") / "page" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """The hash of an inline script or style as a content security policy names it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
