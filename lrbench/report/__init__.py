"""A study as something to read: tables, figures, Markdown. Needs no torch, and the same study gives the same bytes."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import pandas as pd

from lrbench.analyse import per_run, rows
from lrbench.config.faults import BadInput
from lrbench.report import (
    axes,
    background,
    cards,
    comparison,
    costs,
    measured,
    opening,
    overall,
    profile,
    standing,
    text,
    tuned,
)
from lrbench.report import export as for_papers
from lrbench.report.document import Section
from lrbench.report.drawing import write_figures
from lrbench.report.figures import galleries
from lrbench.report.findings import Findings
from lrbench.report.html import page
from lrbench.report.prices import parse_prices
from lrbench.report.render import markdown as rendering
from lrbench.store import RECORD, Study, in_record, load, studies, write_whole

__all__ = ["results", "verdict_text", "write", "write_reports"]


def write(study: Study, *, folder: Path | None = None, export: bool = False) -> Path:
    """Write ``summary.csv``, ``report.md``, ``report.html`` and ``figures/*.png``, by default into the study's own folder.

    Where step costs were measured, also ``costs.csv`` and ``times.csv``; with ``export``, every table as LaTeX and CSV
    and every figure as SVG and PDF into ``export/``. Files of an earlier report that this one does not have are
    removed. Returns: the path of ``report.md``.
    """
    folder = folder or study.folder
    found = Findings(study)
    drawn = galleries(found) | {standing.KIND: standing.pictures(found), overall.KIND: overall.pictures(found)}
    write_figures(folder, [figure for part in drawn.values() for figure in part.figures])
    write_whole(folder / "summary.csv", found.cells.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    for name, table in {"costs.csv": costs.cases_csv, "times.csv": costs.times_csv}.items():
        if found.step_costs.empty:
            (folder / name).unlink(missing_ok=True)
        else:
            write_whole(folder / name, table(found))
    write_whole(folder / "report.html", page(found))
    told = _report(found, drawn)
    if export:
        for_papers.export(folder, told, drawn.values())
    return write_whole(folder / "report.md", told)


def write_reports(folder: str | PathLike[str], prices: Sequence[str] = (), *, export: bool = False) -> list[Path]:
    """Write the report of every study at or below a folder, into the study, and a comparison beside studies of one matrix.

    Args: prices: ``NAME=PRICE``, what an hour of a whole machine costs; see ``prices.parse_prices``. export: see
    ``write``.
    Returns: the paths of the reports, then of the comparisons.
    Raises: BadInput when there is no study, or one is damaged, or a price makes no sense; nothing is written then.
    """
    places = studies(Path(folder))
    if not in_record(Path(folder)) and any(map(in_record, places)):
        raise BadInput(f"{folder}: holds no study but the record. To write that anew, give {Path(folder) / RECORD}.")
    found = [load(path) for path in places]
    together = comparison.together(found)
    known = parse_prices(prices, [name for part in together.values() for name in part])
    return [write(study, export=export) for study in found] + [
        comparison.write(place, part, known) for place, part in together.items()
    ]


def results(folder: str | PathLike[str]) -> pd.DataFrame:
    """Every stored run of the studies at or below a folder, one row each: strategy, outcome, measures, and the machine's slug.

    Raises: BadInput when there is no study, or one is damaged.
    """
    return pd.concat(
        [per_run(study).assign(machine=study.machine["slug"]) for study in map(load, studies(Path(folder)))],
        ignore_index=True,
    )


def _report(found: Findings, drawn: measured.Galleries) -> str:
    parts = [
        opening.title(found),
        opening.warnings(found),
        opening.verdict(found),
        cards.cards(found, drawn["lr-by-layer"]),
        standing.section(found, drawn),
        overall.section(found, drawn),
        measured.lr_response(found, drawn),
        tuned.tuning(found, drawn["tuning"]),
        measured.learning_curves(drawn),
        measured.side_by_side(drawn),
        axes.contributing(found, drawn),
        measured.large_and_small(found),
        measured.stability(found),
        profile.section(found, drawn[profile.NAME]),
        costs.times(found),
        costs.steps(found),
        background.catalog(found),
        background.not_run(found),
        background.workloads(found),
        background.machine(found),
    ]
    return "\n\n".join(rendering.section(part) if isinstance(part, Section) else part for part in parts if part) + "\n"


def verdict_text(study: Study) -> str:
    """The verdicts for a terminal: what was run, a line for each workload, and how many warnings the report opens with."""
    found = Findings(study)
    warnings = text.count(len(opening.cautions(found)), "warning")
    return "\n".join(
        [
            opening.summary(found),
            *(opening.verdict_line(found, v) for v in rows(found.verdicts)),
            f"{warnings} in the report.",
        ]
    )
