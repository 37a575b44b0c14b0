"""A study as something to read: tables, figures, Markdown. Needs no torch, and the same study gives the same bytes."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import pandas as pd

from lrbench.analyse import per_run
from lrbench.config.faults import BadInput
from lrbench.report import drawing, machines, text
from lrbench.report.drawing import write_figures
from lrbench.report.findings import Findings
from lrbench.report.page import page as whole_page
from lrbench.report.prices import parse_prices
from lrbench.report.render import write_files, write_tables
from lrbench.report.render.markdown import document as as_markdown
from lrbench.report.study import costs, opening, report
from lrbench.store import RECORD, Study, in_record, load, studies, write_whole

EXPORT = "export"
"""The folder for figures in formats for print."""

__all__ = ["results", "verdict_text", "write", "write_reports"]


def write(study: Study, *, folder: Path | None = None, export: bool = False) -> Path:
    """Write the report of a study, by default into its own folder.

    ``report.md`` is the short report with ``figures/*.png``, ``report.html`` the whole one, ``tables/`` has every table as
    CSV and LaTeX, ``summary.csv`` one row per workload, strategy and lr. Where step costs were measured, also ``costs.csv``
    and ``times.csv``; with ``export``, every figure as SVG and PDF in ``export/``. Files of an earlier report that this one
    does not have are removed. Returns: the path of ``report.md``.
    """
    folder = folder or study.folder
    found = Findings(study)
    whole = report(found)
    pictures = {figure.name: drawing.picture(figure) for figure in whole.figures()}
    brief = whole.brief()
    shown = {f"{figure.name}.png": pictures[figure.name] for figure in brief.figures()}
    write_files(folder / "figures", shown, ["*.png"])
    write_tables(folder, whole)
    if export:
        write_figures(folder / EXPORT, whole.figures(), formats=("svg", "pdf"))
    write_whole(folder / "summary.csv", found.cell_table.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    for name, table in {"costs.csv": costs.cases_csv, "times.csv": costs.times_csv}.items():
        if not found.cases:
            (folder / name).unlink(missing_ok=True)
        else:
            write_whole(folder / name, table(found))
    write_whole(folder / "report.html", whole_page(found, whole, lambda figure: pictures[figure.name]))
    return write_whole(folder / "report.md", as_markdown(brief))


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
    together = machines.together(found)
    known = parse_prices(prices, [name for part in together.values() for name in part])
    return [write(study, export=export) for study in found] + [
        machines.write(place, part, known) for place, part in together.items()
    ]


def results(folder: str | PathLike[str]) -> pd.DataFrame:
    """Every stored run of the studies at or below a folder, one row each: strategy, outcome, measures, and the machine's slug.

    Raises: BadInput when there is no study, or one is damaged.
    """
    return pd.concat(
        [per_run(study).assign(machine=study.machine["slug"]) for study in map(load, studies(Path(folder)))],
        ignore_index=True,
    )


def verdict_text(study: Study) -> str:
    """The verdicts for a terminal: what was run, a line for each workload, and how many warnings the report opens with."""
    found = Findings(study)
    warnings = text.count(len(opening.warnings(found)), "warning")
    lines = [opening.verdict_line(found, verdict) for verdict in found.verdicts]
    return "\n".join([opening.summary(found), *lines, f"{warnings} in the report."])
