"""How to cite a study, and what to say of it: ``lrbench cite``."""

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
    """What there is to print for a study: BibTeX, the text for a paper, or both. Ends with a new line.

    Args: place: its folder, one with this single study below it, or a bundle.

    ``year`` is that of the study's own entry, since a record holds no date; by default the current one.

    Raises: BadInput when the form is unknown or the study cannot be read.
    """
    if form not in FORMS:
        raise BadInput(f"--format {form}: there is no such format. {nearest(form, FORMS)}")
    with unpacked(one_study(place)) as folder:
        study = load(folder)
        entries = bibtex(study, year or datetime.datetime.now(datetime.UTC).year) if form != "text" else ""
        said = _text(study) if form != "bibtex" else ""
    return f"{said}\n# BibTeX\n\n{entries}" if form == "all" else said or entries


def _text(study: Study) -> str:
    found = Findings(study)
    parts = [
        "# Methods",
        "\n".join(map(_wrapped, methods(found).split("\n"))),
        "# Reproducibility",
        "\n".join(item.line() for item in checklist(found)),
        "# Data",
        "\n".join(_licences(study)),
    ]
    return "\n\n".join(parts) + "\n"


def _wrapped(line: str) -> str:
    hanging = "  " if line.startswith("- ") else ""
    return textwrap.fill(line, WIDTH, subsequent_indent=hanging, break_long_words=False, break_on_hyphens=False)


def _licences(study: Study) -> list[str]:
    """A line for each data set that was used."""
    present = set(study.runs.workload)
    told: dict[tuple[str, str], list[str]] = {}
    for label, fact in sorted(study.facts.get("workloads", {}).items()):
        if label in present:
            told.setdefault((str(fact.get("source", "")), str(fact.get("licence", ""))), []).append(label)
    return [
        f"- {', '.join(names)}: {source or 'no source is given'}. Licence: {licence or 'unknown'}."
        for (source, licence), names in told.items()
    ]
