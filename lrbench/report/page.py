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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lrbench.analyse import AXES, STRATEGY, groups, rows
from lrbench.report.document import Document, plain
from lrbench.report.findings import Findings
from lrbench.report.render import html as rendering
from lrbench.report.render.html import Pictures
from lrbench.report.study import opening

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


def embedded(found: Findings, limits: Limits = LIMITS) -> dict[str, Any]:
    """Everything that the page shows, as values that JSON has.

    Keys: ``study`` (name, summary, warnings), ``axes`` (labels), ``workloads`` (how to write their metric), ``rows``,
    ``cells`` (sorted by row, then lr), ``curves`` (of some rows, on ``grids`` of steps), ``limits`` and ``left_out``.
    """
    table, cells = _rows(found), _cells(found)
    kept = _kept(table, cells, limits)
    cells = cells.merge(kept[STRATEGY].assign(row=range(len(kept))), on=STRATEGY).sort_values(
        ["row", "lr"], ignore_index=True
    )
    labels = {axis: sorted(kept[axis].unique()) for axis in STRATEGY}
    keys = [str(keys).split() for keys in cells["keys"]]
    curves, grids, thinned = _curves(found, kept, limits)
    return {
        "study": {
            "name": found.study.name,
            "summary": opening.summary(found),
            "warnings": [plain(line) for line in opening.warnings(found)],
        },
        "axes": labels,
        "workloads": [_workload(found, w) for w in labels["workload"]],
        "rows": {axis: _indices(kept[axis], labels[axis]) for axis in STRATEGY} | _columns(kept, ROW),
        "cells": {"row": cells.row.tolist()}
        | _columns(cells, CELL)
        | {"keys": [" ".join(of[: limits.keys]) for of in keys]},
        "curves": curves,
        "grids": grids,
        "limits": vars(limits).copy(),
        "left_out": {
            "rows": len(table) - len(kept),
            "curves": int(kept.best_lr.notna().sum()) - len(curves["row"]),
            "keys": sum(max(0, len(of) - limits.keys) for of in keys),
            "thinned": thinned,
        },
    }


ROW = {
    "rank": EXACT, "alike": EXACT, "plain": EXACT, "best_lr": EXACT, "edge": 0, "metric": DIGITS, "metric_low": DIGITS,
    "metric_high": DIGITS, "steps": EXACT, "reached": EXACT, "at_best": EXACT, "seconds": DIGITS, "seconds_low": DIGITS,
    "seconds_high": DIGITS, "step_seconds": DIGITS, "width": DIGITS, "open": EXACT, "usable_low": EXACT, "usable_high": EXACT,
    "largest_stable": EXACT, "cliff_seen": EXACT, "sensitivity": DIGITS, "default_lr": EXACT, "lrs": EXACT, "runs": EXACT,
    "trained": EXACT, "diverged": EXACT, "crashed": EXACT,
}  # fmt: skip
"""The columns of a row and the digits of their values; 0 for words."""
CELL = {
    "lr": EXACT, "runs": EXACT, "reached": EXACT, "diverged": EXACT, "crashed": EXACT, "metric": DIGITS, "metric_low": DIGITS,
    "metric_high": DIGITS, "middle": DIGITS, "least": DIGITS, "most": DIGITS, "loss": DIGITS, "loss_least": DIGITS, "loss_most": DIGITS,
    "steps": EXACT, "steps_least": EXACT, "steps_most": EXACT,
}  # fmt: skip
"""Likewise of an outcome at one lr. ``metric`` and its bounds are those of ``summary.csv``; the others are median,
least and most."""


def _rows(found: Findings) -> pd.DataFrame:
    """One row per workload and strategy, in order of workload and rank; strategies without a best lr come last, without a rank."""
    place = found.ranking.groupby("workload").cumcount() + 1
    ranked = found.ranking[STRATEGY].assign(rank=place.astype(float), alike=_alike(found))
    at_best = _at_best(found)
    known = found.times[[*STRATEGY, "seconds", "seconds_low", "seconds_high", "step_seconds"]]
    table = found.responses.rename(columns={"usable_open": "open"})
    for other in (ranked, _counts(found.runs), at_best, known):
        table = table.merge(other, on=STRATEGY, how="left")
    return table.sort_values(["workload", "rank", *AXES], ignore_index=True)


def _alike(found: Findings) -> list[bool]:
    """For each strategy of the ranking, whether the seeds cannot tell it from the best of its workload."""
    same = {(v.workload, name) for v in rows(found.verdicts) for name in v.not_separated}
    return [(row.workload, row.strategy) in same for row in rows(found.ranking)]


def _counts(runs: pd.DataFrame) -> pd.DataFrame:
    """How many runs a strategy has at all lrs, and what became of them."""
    told = {
        "trained": runs.trained,
        "diverged": runs.status == "diverged",
        "crashed": runs.status == "crashed",
        "plain": runs.plain,
    }
    counted = (
        runs[STRATEGY].assign(runs=1, **{name: of.astype(int) for name, of in told.items()}).groupby(STRATEGY).sum()
    )
    return counted.assign(plain=(counted.plain > 0).astype(int)).reset_index()


def _at_best(found: Findings) -> pd.DataFrame:
    """The outcome of every strategy at its best lr, under the names that a row has."""
    best = found.responses[[*STRATEGY, "best_lr"]].rename(columns={"best_lr": "lr"}).dropna()
    cells = _cells(found).merge(best, on=[*STRATEGY, "lr"])
    wanted = ["metric", "metric_low", "metric_high", "steps", "reached"]
    return cells[[*STRATEGY, *wanted]].assign(at_best=cells.runs - cells.crashed)


def _cells(found: Findings) -> pd.DataFrame:
    """One row per workload, strategy and lr: those of ``summary.csv``, and over seeds the median, the least and the most."""
    at = [*STRATEGY, "lr"]
    cells = found.cells.rename(
        columns={name: name.removeprefix("val_") for name in ("val_metric", "val_metric_low", "val_metric_high")}
    )
    return (
        cells.astype({"lr": float})
        .drop(columns=["steps_to_target", "val_loss"])
        .merge(_spread(found, at), on=at, how="left")
    )


def _spread(found: Findings, at: list[str]) -> pd.DataFrame:
    """Median, least and most over the seeds that trained. A diverged one counts as the untrained model and never reaches the target."""
    runs = found.runs[found.runs.trained]
    loss = runs.workload.map({w: found.metric(w).unit == "loss" for w in found.workloads}).astype(bool)
    shown = runs.quality.where(
        ~loss, runs[["quality", "initial_loss"]].min(axis=1)
    )  # one exploded seed would flatten all others
    values = runs[at].assign(shown=shown, loss=runs.loss, steps=runs.steps_to_target.fillna(math.inf)).groupby(at)
    parts = {"middle": values.median(), "least": values.min(), "most": values.max()}
    names = {f"shown_{part}": part for part in parts} | {f"{name}_middle": name for name in ("loss", "steps")}
    return (
        pd.concat([of.add_suffix(f"_{part}") for part, of in parts.items()], axis=1).rename(columns=names).reset_index()
    )


def _kept(table: pd.DataFrame, cells: pd.DataFrame, limits: Limits) -> pd.DataFrame:
    """The rows for which there is room, in the order of ``table``."""
    sizes = table[STRATEGY].merge(
        cells.groupby(STRATEGY).size().rename("cells").reset_index(), on=STRATEGY, how="left"
    )["cells"]
    order = table.sort_values(["rank", "workload", *AXES]).index
    fits = order[(sizes.loc[order].cumsum() <= limits.cells).to_numpy()][: limits.rows]
    return table.loc[sorted(fits)].reset_index(drop=True)


def _curves(found: Findings, kept: pd.DataFrame, limits: Limits) -> tuple[dict[str, list[Any]], list[list[int]], int]:
    """The median curve and its range over seeds of the first rows by rank, at their best lr.

    Returns: the columns of ``CURVE``; the grids of steps that the curves share; how many of them have fewer points than
    evaluations.
    """
    chosen = kept.dropna(subset="best_lr").sort_values(["rank", *STRATEGY]).head(limits.curves).index
    place = {
        tuple(row): i
        for i, row in zip(chosen, kept.loc[chosen, STRATEGY].itertuples(index=False, name=None), strict=True)
    }
    grids: dict[tuple[int, ...], int] = {}
    lines, thinned = [], 0
    for names, runs in groups(found.best, STRATEGY):
        if names in place:
            stored = found.curves.loc[sorted(runs.key)]
            step_E, n_E, ranges = _curve(stored, limits.points)
            thinned += stored.eval_step.map(len).max() > len(step_E)
            grid = grids.setdefault(tuple(step_E), len(grids))
            lines.append([place[names], grid, n_E[0] if len(set(n_E)) == 1 else n_E, *ranges])
    columns = zip(*sorted(lines, key=lambda line: line[0]), strict=True) if lines else [[] for _ in CURVE]
    return dict(zip(CURVE, map(list, columns), strict=True)), [list(grid) for grid in grids], int(thinned)


CURVE = ["row", "grid", "seeds", "metric", "metric_least", "metric_most", "loss", "loss_least", "loss_most"]
"""The columns of a curve. ``seeds`` is one number, or one for each evaluation where some runs ended early."""


def _curve(runs: pd.DataFrame, points: int) -> tuple[list[int], list[int], list[list[Any]]]:
    """The steps of a curve, the runs that got there, and median, least and most of the metric, then of the loss, at each."""
    step_E = np.unique(np.concatenate([np.asarray(steps, int) for steps in runs.eval_step]))
    step_E = step_E[np.unique(np.linspace(0, len(step_E) - 1, min(points, len(step_E))).round().astype(int))]
    metric, loss = (pd.DataFrame(_aligned(runs.eval_step, runs[name], step_E)) for name in ("val_metric", "val_loss"))
    ranges = [_numbers(values, DIGITS) for of in (metric, loss) for values in (of.median(), of.min(), of.max())]
    return step_E.tolist(), loss.notna().sum().tolist(), ranges


def _aligned(steps: Iterable[Any], curves: Iterable[Any], step_E: NDArray[np.int_]) -> NDArray[np.float64]:
    """Curves as one array with a column for each of some steps; NaN where a run was not evaluated."""
    found = [
        dict(zip(np.asarray(at).tolist(), np.asarray(of, float).tolist(), strict=True))
        for at, of in zip(steps, curves, strict=True)
    ]
    return np.array([[curve.get(step, math.nan) for step in step_E.tolist()] for curve in found], float)


def _workload(found: Findings, workload: str) -> dict[str, Any]:
    metric, runs = found.metric(workload), found.runs[found.runs.workload == workload]
    return {
        "metric": metric.name,
        "percent": metric.percent,
        "higher": metric.higher_is_better,
        "target": _number(float(runs.target.iloc[0]), EXACT),
        "budget": int(runs.budget.iloc[0]),
        "meaning": str(found.fact(workload).get("meaning", "")),
    }


def _columns(table: pd.DataFrame, digits: dict[str, int]) -> dict[str, list[Any]]:
    return {name: _numbers(table[name].astype(float), n) if n else table[name].tolist() for name, n in digits.items()}


def _numbers(values: Iterable[float], digits: int) -> list[Any]:
    return [_number(value, digits) for value in values]


def _number(value: float, digits: int) -> float | int | str | None:
    """A value with so many significant digits, as short as JSON can have it."""
    if math.isnan(value):
        return None
    if math.isinf(value):
        return NEVER if value > 0 else f"-{NEVER}"
    short = float(f"{value:.{digits}g}")
    return int(short) if short.is_integer() and abs(short) < 1e9 else short


def _indices(values: "pd.Series[str]", labels: Sequence[str]) -> list[int]:
    place = {label: i for i, label in enumerate(labels)}
    return [place[value] for value in values]


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
        "name": escape(data["study"]["name"]),
        "summary": escape(data["study"]["summary"]),
        "style": style,
        "script": script,
        "data": in_script(data),
        "contents": rendering.contents(report),
        "sections": rendering.sections(report, pictures),
    }
    return PLACE.sub(lambda place: parts[place[1]], _source("page.html"))


def in_script(data: Any) -> str:
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
