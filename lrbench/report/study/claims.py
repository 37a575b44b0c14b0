"""What is claimed of high and low learning rates, held against the runs; and how steadily runs learnt."""

from lrbench.analyse.effects import CLAIMS, DEFINITIONS, Claim
from lrbench.analyse.results import Cell, ClaimMeasures, Ending
from lrbench.report import text
from lrbench.report.document import Code, Column, Fold, Paragraph, Section, Strong, Table, caption, prose
from lrbench.report.findings import Findings
from lrbench.stats.curves import divergence_rate

VERDICTS = ["supported", "not supported", "statistically tied", "not tested"]


def claims(found: Findings) -> Section:
    """The claims about high and low lrs, and what the data say of each."""
    title = "Claims about high and low learning rates, tested"
    judged = found.claims
    if not judged:
        nothing = "No optimizer finished a run with one constant lr for all layers, so no claim can be tested."
        return Section(title, [Paragraph(nothing)])
    verdicts: dict[tuple[str, str], dict[str, str]] = {}
    for row in judged:
        verdicts.setdefault((row.workload, row.optimizer), {})[row.claim] = row.verdict

    def count(verdict: str) -> Column[Claim]:
        def of(claim: Claim) -> int:
            return sum((row.claim, row.verdict) == (claim.text, verdict) for row in judged)

        return Column(verdict.capitalize(), lambda claim: str(of(claim)), of, right=True)

    def verdict(claim: Claim) -> Column[tuple[str, str]]:
        return Column(claim.text.capitalize(), lambda names: verdicts[names][claim.text])

    summary: list[Column[Claim]] = [
        Column("Claim and what it means here", lambda claim: (Strong(claim.text), ": ", claim.definition)),
        *map(count, VERDICTS),
    ]
    each: list[Column[tuple[str, str]]] = [
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
    "whole table; otherwise the two are statistically tied; not tested where an lr or a second seed is missing."
)
MEASURES = """\
*Descent after 10 %* of the budget: share of the best lr's whole descent of the validation loss. *Exploded*: diverged \
or ended 5 % above the initial loss, or had a training loss of more than ten times its first."""


def _measures(found: Findings) -> "Table[ClaimMeasures]":
    columns: list[Column[ClaimMeasures]] = [
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
    return Table("high-and-low-lrs", columns, found.claim_measures)


# ---- stability

STATUSES = ["reached", "missed", "diverged", "crashed"]


def stability(found: Findings) -> Section | None:
    """How runs ended, and how steadily they learnt."""
    if not found.endings:
        return None

    def ended(status: str) -> Column[Ending]:
        return Column(status.capitalize(), lambda of: f"{of.count(status):,}", lambda of: of.count(status), right=True)

    def rate(of: Ending) -> float:
        return divergence_rate(of.statuses)

    endings: list[Column[Ending]] = [
        Column("Optimizer, over all lrs", lambda of: Code(of.optimizer)),
        *map(ended, STATUSES),
        Column("Divergence rate", lambda of: text.share(rate(of)), rate, right=True),
    ]
    return Section(
        "Stability",
        [
            Table("endings", endings, found.endings),
            Fold("Stability at each strategy's best lr", [_steadiness(found), Paragraph(prose(STEADINESS))]),
        ],
    )


STEADINESS = """\
*Spikes*: steps whose training loss is over 5 robust deviations above the median of the 25 before. *Oscillation*: \
rises of the smoothed training loss / its net descent. *Seed spread*: standard deviation of the validation metric. \
Spikes and oscillation are medians over seeds."""


def _steadiness(found: Findings) -> "Table[Cell]":
    columns: list[Column[Cell]] = [
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
    return Table("stability", columns, *found.notable_first([found.best_cell(row) for row in found.ranking]))
