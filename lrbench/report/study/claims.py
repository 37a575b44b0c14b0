"""What is claimed of high and low learning rates, held against the runs; and how steadily runs learnt."""

from typing import Any

from lrbench.analyse import CLAIMS, DEFINITIONS, STRATEGY, divergence_rate, effect_measures, effects, groups, rows
from lrbench.report import text
from lrbench.report.document import Code, Column, Fold, Paragraph, Section, Strong, Table, caption, prose
from lrbench.report.findings import Findings

VERDICTS = ["supported", "not supported", "not separated", "not tested"]


def claims(found: Findings) -> Section:
    """The claims about high and low lrs, and what the data say of each."""
    title = "What a large and a small lr do"
    judged = effects(found.runs)
    if judged.empty:
        nothing = "No optimizer finished a run with one constant lr for all layers, so no claim can be tested."
        return Section(title, [Paragraph(nothing)])
    counts = judged.groupby(["claim", "verdict"]).size().to_dict()
    verdicts = {
        names: dict(zip(part.claim, part.verdict, strict=True))
        for names, part in groups(judged, ["workload", "optimizer"])
    }

    def count(verdict: str) -> Column[Any]:
        def of(claim: Any) -> int:
            return int(counts.get((claim.text, verdict), 0))

        return Column(verdict.capitalize(), lambda claim: str(of(claim)), of, right=True)

    def verdict(claim: Any) -> Column[Any]:
        return Column(claim.text.capitalize(), lambda names: verdicts[names][claim.text])

    summary: list[Column[Any]] = [
        Column("Claim and what it means here", lambda claim: (Strong(claim.text), ": ", claim.definition)),
        *map(count, VERDICTS),
    ]
    each: list[Column[Any]] = [
        Column("Workload", lambda names: names[0]),
        Column("Optimizer", lambda names: Code(names[1])),
        *map(verdict, CLAIMS),
    ]
    return Section(
        title,
        [
            Table("claims", summary, CLAIMS),
            caption("{definitions} " + HOW_JUDGED, definitions=DEFINITIONS),
            Fold("Verdict for every workload and optimizer", [Table("claims-by-optimizer", each, list(verdicts))]),
            Fold("The numbers at the small, the best and the large lr", [_measures(found), Paragraph(prose(MEASURES))]),
        ],
    )


HOW_JUDGED = (
    "A claim is supported, or not, when the paired differences over seeds say so at 5 % after Holm's correction over the "
    "whole table; otherwise not separated; not tested where an lr or a second seed is missing."
)
MEASURES = """\
*Descent after 10 %* of the budget: share of the best lr's whole descent of the validation loss. *Exploded*: diverged \
or ended 5 % above the initial loss, or had a training loss of more than ten times its first."""


def _measures(found: Findings) -> "Table[Any]":
    columns: list[Column[Any]] = [
        Column("Workload", lambda m: m.workload),
        Column("Optimizer", lambda m: Code(m.optimizer)),
        Column("lr", lambda m: f"{m.which}: {text.lr(m.lr)}", lambda m: m.lr),
        Column("Descent after 10 %", lambda m: text.share(m.early), lambda m: m.early, right=True),
        Column("Exploded", lambda m: text.share(m.exploded), lambda m: m.exploded, right=True),
        Column("Spikes", lambda m: text.number(m.spikes, 2), lambda m: m.spikes, right=True),
        Column("Oscillation", lambda m: text.number(m.oscillation, 2), lambda m: m.oscillation, right=True),
        Column("Validation", lambda m: found.metric(m.workload).show(m.quality), lambda m: m.quality, right=True),
        Column("Validation - training loss", lambda m: text.number(m.gap, 2), lambda m: m.gap, right=True),
    ]
    return Table("high-and-low-lrs", columns, list(rows(effect_measures(found.runs))))


# ---- stability

STATUSES = ["reached", "missed", "diverged", "crashed"]


def stability(found: Findings) -> Section | None:
    """How runs ended, and how steadily they learnt."""
    if found.runs.empty:
        return None
    runs = {name: part.status for (name,), part in groups(found.runs, ["optimizer"])}

    def ended(status: str) -> Column[Any]:
        def of(name: Any) -> int:
            return int((runs[name] == status).sum())

        return Column(status.capitalize(), lambda name: f"{of(name):,}", of, right=True)

    def rate(name: Any) -> float:
        return divergence_rate(runs[name].tolist())

    endings: list[Column[Any]] = [
        Column("Optimizer, over all lrs", Code),
        *map(ended, STATUSES),
        Column("Divergence rate", lambda name: text.share(rate(name)), rate, right=True),
    ]
    return Section(
        "Stability",
        [
            Table("endings", endings, list(runs)),
            Fold("Stability at each strategy's best lr", [_steadiness(found), Paragraph(prose(STEADINESS))]),
        ],
    )


STEADINESS = """\
*Spikes*: steps whose training loss is over 5 robust deviations above the median of the 25 before. *Oscillation*: \
rises of the smoothed training loss / its net descent. *Seed spread*: standard deviation of the validation metric. \
Spikes and oscillation are medians over seeds."""


def _steadiness(found: Findings) -> "Table[Any]":
    columns: list[Column[Any]] = [
        Column("Workload", lambda c: c.workload),
        Column("Strategy", lambda c: Code(c.strategy)),
        Column("lr", lambda c: text.lr(c.lr), lambda c: c.lr, right=True),
        Column("Diverged", lambda c: f"{c.diverged} of {c.runs}", lambda c: c.diverged, right=True),
        Column("Spikes per run", lambda c: text.number(c.spikes, 2), lambda c: c.spikes, right=True),
        Column("Oscillation", lambda c: text.number(c.oscillation, 2), lambda c: c.oscillation, right=True),
        Column(
            "Seed spread",
            lambda c: found.metric(c.workload).bare(c.val_metric_spread),
            lambda c: c.val_metric_spread,
            right=True,
        ),
        Column("Validation - training loss", lambda c: text.number(c.gap, 2), lambda c: c.gap, right=True),
    ]
    best = found.ranking.rename(columns={"best_lr": "lr"})[[*STRATEGY, "strategy", "lr"]]
    return Table("stability", columns, *found.notable_first(best.merge(found.cells, on=[*STRATEGY, "lr"])))
