"""The report of a study as a document: its sections in order, one file for each theme."""

from lrbench.report.document import Document, Section
from lrbench.report.findings import Findings
from lrbench.report.study import axes, background, claims, costs, opening, overall, ranking, record, response, tuning


def report(found: Findings) -> Document:
    """The whole report; ``Document.brief`` is what a reviewer reads."""
    sections: list[Section | None] = [
        *opening.verdict(found),
        ranking.ranking(found),
        response.lr_response(found),
        response.learning_curves(found),
        tuning.tuning(found),
        axes.axes(found),
        record.changed(found),
        background.not_run(found),
        ranking.cards(found),
        overall.overall(found),
        overall.performance_profile(found),
        response.heat_maps(found),
        claims.claims(found),
        claims.stability(found),
        costs.times(found),
        costs.steps(found),
        background.catalog(found),
        background.workloads(found),
        background.machine(found),
    ]
    return Document(found.study.name, opening.opening(found), [section for section in sections if section])
