"""The sections between the verdicts and the small print: what was measured."""

import math
from typing import Any

import pandas as pd

from lrbench.analyse import (
    CLAIMS,
    DEFINITIONS,
    STRATEGY,
    divergence_rate,
    effect_measures,
    effects,
    groups,
    rows,
    strategy,
)
from lrbench.report import markdown as md
from lrbench.report import text
from lrbench.report.drawing import Gallery
from lrbench.report.figures import LINES, TOP
from lrbench.report.findings import Findings

Galleries = dict[str, Gallery]


def shown(gallery: Gallery, caption: str) -> str:
    """Some figures and, in italics, what to see in them; empty without any."""
    if not gallery.figures:
        return ""
    more = f" Not drawn: {', '.join(map(md.plain, gallery.left_out))}." if gallery.left_out else ""
    return "\n\n".join([*(md.image(p.file, p.alt) for p in gallery.figures), f"*{caption}{more}*"])


def lr_response(found: Findings, pictures: Galleries) -> str:
    """How the outcome depends on the base lr."""
    if found.ranking.empty:
        return md.section("How the outcome depends on the lr", "No run finished, so there is no response to show.")
    plain = int(found.runs.loc[found.runs.plain, "optimizer"].nunique())
    which = f"up to {LINES} of {plain} optimizers, each workload's best" if plain > LINES else "every optimizer"
    optimizers = (
        f"One constant lr for all layers: {which}. Lines: median over seeds; bands: all seeds; rings: the optimizer's "
        f"default lr; "
        "crosses: lrs at which a seed diverged (it counts as the untrained model). Outcomes far below the best leave "
        "the "
        "panel downwards."
    )
    strategies = (
        f"The winning optimizer: its {TOP} best strategies and, dashed, one constant lr for all layers. Marks as above."
    )
    return md.section(
        "How the outcome depends on the lr",
        shown(pictures["lr-response-optimizers"], optimizers)
        or "No optimizer was run with one constant lr for all layers.",
        shown(pictures["lr-response-strategies"], strategies),
        md.details("lr sensitivity of every strategy", _sensitivity(found)),
    )


LONG = 10
"""The most strategies of a workload in a long table, besides the plain ones."""


def notable(found: Findings) -> set[tuple[str, ...]]:
    """Of each workload, the best strategies and the plain ones."""
    best = found.ranking.groupby("workload").head(LONG)[STRATEGY]
    plain = found.runs.loc[found.runs.plain, STRATEGY].drop_duplicates()
    return {tuple(row) for row in rows(pd.concat([best, plain]))}


def _kept(found: Findings, table: pd.DataFrame) -> tuple[list[Any], str]:
    """The notable rows of a table with one row per workload and strategy, and a sentence if there are others."""
    chosen = notable(found)
    kept = [row for row in rows(table) if tuple(getattr(row, axis) for axis in STRATEGY) in chosen]
    hidden = len(table) - len(kept)
    return (
        kept,
        f" {hidden:,} rows are left out: these are each workload's {LONG} best strategies and the plain ones."
        if hidden
        else "",
    )


def _sensitivity(found: Findings) -> str:
    header = [
        "Workload", "Strategy", "Lrs", "Best lr", "Usable lrs", "Width, decades", "Largest stable lr", "Default to cliff, decades",
        "Sensitivity",
    ]  # fmt: skip
    lines, hidden = _kept(found, found.responses)
    note = (
        "*Usable*: reaches the target in half of its runs or keeps 95 % of the best improvement in validation loss, "
        "without a gap around "
        "the best lr. *Largest stable lr*: up to it no run exploded (diverged, ended 5 % above its initial loss, or "
        "had a training loss of "
        "more than ten times its first). *Default to cliff*: from the "
        "optimizer's default lr to the largest stable one, negative if the default lies above it; ≥ where the grid "
        "ends before the range "
        "does. "
        "*Sensitivity*: mean over the grid of the final validation loss - the best one, a diverged run counting with "
        "its initial loss; "
        "it depends on the grid, so compare it between strategies with as many lrs only."
    )
    return md.table(header, map(_sensitive, lines), right=range(2, 9)) + f"\n\n{note}{hidden}"


def _sensitive(r: Any) -> list[str]:
    return [
        md.plain(r.workload),
        md.code(strategy(r)),
        str(r.lrs),
        text.lr(r.best_lr) + (" (edge)" if r.edge else ""),
        text.NONE if math.isnan(r.best_lr) else f"{text.lr(r.usable_low)} to {text.lr(r.usable_high)}",
        _bound(r.width, open_ended=r.usable_open == 1.0),
        _bound(r.largest_stable, open_ended=not r.cliff_seen),
        _bound(r.headroom, open_ended=not r.cliff_seen),
        text.number(r.sensitivity, 2),
    ]


def _bound(value: float, *, open_ended: bool) -> str:
    return ("≥ " if open_ended and not math.isnan(value) else "") + text.number(value, 2)


def learning_curves(pictures: Galleries) -> str:
    """How the loss falls."""
    caption = (
        f"The {TOP} best strategies of each workload, each at its best lr, and, dashed, the plain one. Lines: median "
        f"over seeds; bands: "
        "all seeds. A diverged run ends where it diverged."
    )
    return md.section(
        "How the loss falls", shown(pictures["curves"], caption) or "No run finished, so there are no curves to show."
    )


def side_by_side(pictures: Galleries) -> str:
    """Heat maps of the axes of a strategy."""
    caption = (
        "Each cell is the best over all else, at its best lr, rows from best to worst; blank where nothing finished or "
        "was run. "
        "Optimizers that were run with one of the rows only are not drawn."
    )
    maps = [shown(pictures[kind], caption) for kind in ("optimizer-schedule", "optimizer-layer-lr")]
    nothing = "No workload finished runs with two schedules or two layer-lr policies, so there is nothing to compare."
    return md.section("Optimizers with schedules and with layer-lr policies", *(maps if any(maps) else [nothing]))


STATUSES = ["reached", "missed", "diverged", "crashed"]


def stability(found: Findings) -> str:
    """How runs ended, and how steadily they learnt."""
    if found.runs.empty:
        return ""
    return md.section(
        "Stability", _endings(found.runs), md.details("Stability at each strategy's best lr", _steadiness(found))
    )


def _endings(runs: pd.DataFrame) -> str:
    header = ["Optimizer, over all lrs", *(s.capitalize() for s in STATUSES), "Divergence rate"]
    return md.table(header, [_ending(name, part) for (name,), part in groups(runs, ["optimizer"])], right=range(1, 6))


def _ending(optimizer: str, runs: pd.DataFrame) -> list[str]:
    counts = [f"{int((runs.status == status).sum()):,}" for status in STATUSES]
    return [md.code(optimizer), *counts, text.share(divergence_rate(runs.status.tolist()))]


def _steadiness(found: Findings) -> str:
    header = [
        "Workload",
        "Strategy",
        "lr",
        "Diverged",
        "Spikes per run",
        "Oscillation",
        "Seed spread",
        "Validation - training loss",
    ]
    best = found.ranking.rename(columns={"best_lr": "lr"})[[*STRATEGY, "strategy", "lr"]]
    lines, hidden = _kept(found, best.merge(found.cells, on=[*STRATEGY, "lr"]))
    note = (
        "*Spikes*: steps whose training loss is over 5 robust deviations above the median of the 25 before. "
        "*Oscillation*: rises of the "
        "smoothed training loss / its net descent. *Seed spread*: standard deviation of the validation metric. Spikes "
        "and oscillation "
        "are medians over seeds."
    )
    return md.table(header, [_steady(found, cell) for cell in lines], right=range(2, 8)) + f"\n\n{note}{hidden}"


def _steady(found: Findings, cell: Any) -> list[str]:
    return [
        md.plain(cell.workload),
        md.code(cell.strategy),
        text.lr(cell.lr),
        f"{cell.diverged} of {cell.runs}",
        text.number(cell.spikes, 2),
        text.number(cell.oscillation, 2),
        found.metric(cell.workload).bare(cell.val_metric_spread),
        text.number(cell.gap, 2),
    ]


def large_and_small(found: Findings) -> str:
    """The claims about large and small lrs, and what the data say of each."""
    judged = effects(found.runs)
    heading = "What a large and a small lr do"
    if judged.empty:
        return md.section(
            heading, "No optimizer finished a run with one constant lr for all layers, so no claim can be tested."
        )
    return md.section(
        heading,
        _claims(judged),
        f"*{DEFINITIONS} A claim is supported, or not, when the paired differences over seeds say so at 5 % after "
        f"Holm's correction "
        "over the whole table; otherwise not separated; not tested where an lr or a second seed is missing.*",
        md.details("Verdict for every workload and optimizer", _judged(judged)),
        md.details("The numbers at the small, the best and the large lr", _measures(found)),
    )


VERDICTS = ["supported", "not supported", "not separated", "not tested"]


def _claims(judged: pd.DataFrame) -> str:
    counts = judged.groupby(["claim", "verdict"]).size().to_dict()
    lines = [
        [f"**{c.text}**: {md.plain(c.definition)}", *(str(counts.get((c.text, v), 0)) for v in VERDICTS)]
        for c in CLAIMS
    ]
    return md.table(["Claim and what it means here", *(v.capitalize() for v in VERDICTS)], lines, right=range(1, 5))


def _judged(judged: pd.DataFrame) -> str:
    header = ["Workload", "Optimizer", *(claim.text.capitalize() for claim in CLAIMS)]
    lines = [
        [md.plain(workload), md.code(optimizer), *(verdict[claim.text] for claim in CLAIMS)]
        for (workload, optimizer), part in groups(judged, ["workload", "optimizer"])
        for verdict in [dict(zip(part.claim, part.verdict, strict=True))]
    ]
    return md.table(header, lines)


def _measures(found: Findings) -> str:
    header = [
        "Workload", "Optimizer", "lr", "Descent after 10 %", "Exploded", "Spikes", "Oscillation", "Validation",
        "Validation - training loss",
    ]  # fmt: skip
    lines = [_measured(found.metric(m.workload), m) for m in rows(effect_measures(found.runs))]
    note = (
        "*Descent after 10 %* of the budget: share of the best lr's whole descent of the validation loss. *Exploded*: "
        "diverged or ended "
        "5 % above the initial loss, or had a training loss of more than ten times its first."
    )
    return md.table(header, lines, right=range(3, 9)) + "\n\n" + note


def _measured(metric: text.Metric, m: Any) -> list[str]:
    return [
        md.plain(m.workload),
        md.code(m.optimizer),
        f"{m.which}: {text.lr(m.lr)}",
        text.share(m.early),
        text.share(m.exploded),
        text.number(m.spikes, 2),
        text.number(m.oscillation, 2),
        metric.show(m.quality),
        text.number(m.gap, 2),
    ]
