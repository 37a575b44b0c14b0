"""``lrbench cite``: BibTeX for a study, and the text about its methods."""

import datetime
import textwrap
from pathlib import Path

from lrbench.config.faults import BadInput, nearest
from lrbench.report.bibliography import bibtex
from lrbench.report.checklist import checklist
from lrbench.report.findings import Findings
from lrbench.report.methods import methods
from lrbench.store import Study, load, one_study, unpacked

FORMS = ("all", "bibtex", "text")
WIDTH = 110


def cited(place: Path, form: str = "all", year: int | None = None) -> str:
    """The output for a study: BibTeX, the text for a paper, or both. It ends with a newline.

    Args:
        place: the study's folder, a folder with this study alone below it, or a bundle.
        form: one of ``FORMS``.
        year: that of the study's own entry, by default the current one; a record holds no date.

    Raises: BadInput when the form is unknown, or the study cannot be read.
    """
    if form not in FORMS:
        raise BadInput(f"--format {form}: there is no such format. {nearest(form, FORMS)}")
    with unpacked(one_study(place)) as folder:
        study = load(folder)
        entries = bibtex(study, year or datetime.datetime.now(datetime.UTC).year) if form != "text" else ""
        said = _text(study) if form != "bibtex" else ""
    return f"{said}\n# BibTeX\n\n{entries}" if form == "all" else said or entries


def _text(study: Study) -> str:
    findings = Findings(study)
    parts = [
        "# Methods",
        "\n".join(map(_wrapped, methods(findings).split("\n"))),
        "# Reproducibility",
        "\n".join(item.line() for item in checklist(findings)),
        "# Data",
        "\n".join(_licences(study)),
    ]
    return "\n\n".join(parts) + "\n"


def _wrapped(line: str) -> str:
    hanging = "  " if line.startswith("- ") else ""
    return textwrap.fill(line, WIDTH, subsequent_indent=hanging, break_long_words=False, break_on_hyphens=False)


def _licences(study: Study) -> list[str]:
    """One line for each data set."""
    present = set(study.runs.workload)
    labels: dict[tuple[str, str], list[str]] = {}
    for label, fact in sorted(study.facts.get("workloads", {}).items()):
        if label in present:
            labels.setdefault((str(fact.get("source", "")), str(fact.get("licence", ""))), []).append(label)
    return [
        f"- {', '.join(names)}: {source or 'no source is given'}. Licence: {licence or 'unknown'}."
        for (source, licence), names in labels.items()
    ]
