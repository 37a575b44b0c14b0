"""The BibTeX entries of a study: itself, lrbench, and the work behind everything that it used."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lrbench.report.references import BY_KEY, METHODS, Reference, named_in
from lrbench.report.render.latex import SPECIAL
from lrbench.store import Study, digest

PARTS = {"workloads": "workload", "optimizers": "optimizer", "layer_lrs": "layer_lr", "schedules": "schedule"}
"""The tables of ``study.toml``, and the column that names their entries."""
KINDS = {
    "workload": "workload",
    "optimizer": "optimizer",
    "layer_lr": "layer-lr policy",
    "schedule": "learning-rate schedule",
}
LATEX = {
    "ä": r"{\"a}",
    "é": r"{\'e}",
    "ö": r"{\"o}",
    "ü": r"{\"u}",
    "á": r"{\'a}",
    "ç": r"{\c c}",
    "ß": r"{\ss}",
    "ø": r"{\o}",
}


@dataclass(frozen=True)
class Used:
    """An entry of a catalog that a study used, with the keys of what to cite for it."""

    axis: str
    name: str
    source: str
    keys: tuple[str, ...]
    own: bool
    """Whether it has an entry made of its own text, because it is a plug-in's or its source is not known here."""


def used(study: Study) -> list[Used]:
    """Everything that the runs of a study used, each name once, in the order of ``PARTS`` and then of names."""
    plugins = _plugins(study)
    found = {}
    for part, axis in PARTS.items():
        present = set(study.runs[axis])
        for _, facts in sorted(study.facts.get(part, {}).items()):
            name, source = str(facts["name"]), str(facts.get("source", ""))
            if (axis, name) not in found and any(label.partition("(")[0] == name for label in present):
                known, unknown = named_in(source)
                own = (axis, name) in plugins or not known or bool(unknown)
                keys = tuple(reference.key for reference in known) + ((_own_key(axis, name),) if own else ())
                found[axis, name] = Used(axis, name, source, keys, own)
    return [found[key] for key in sorted(found, key=lambda key: (list(PARTS.values()).index(key[0]), key[1]))]


def _plugins(study: Study) -> set[tuple[str, str]]:
    """What comes from a plug-in: its revision is a digest of its text, not a number."""
    return {(axis, str(choice["name"])) for axis, choice in choices(study) if isinstance(choice["revision"], str)}


def choices(study: Study) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each choice of each axis as its runs hold it: name, revision, label, and every setting; in the order of axes and labels."""
    for axis in PARTS.values():
        for run in study.runs[[axis, "key", "run"]].sort_values([axis, "key"]).drop_duplicates(axis).run:
            yield axis, json.loads(str(run))[axis]


def _own_key(axis: str, name: str) -> str:
    return f"lrbench-{axis.replace('_', '-')}-{re.sub(r'[^A-Za-z0-9]+', '-', name).strip('-')}"


def study_key(study: Study, found: str) -> str:
    """The key of the study's own entry; ``found`` is its digest."""
    return f"lrbench-study-{re.sub(r'[^A-Za-z0-9]+', '-', study.name).strip('-')}-{found[:8]}"


def bibtex(study: Study, year: int) -> str:
    """The entries: the study, lrbench, then what was used and what the statistics rest on, sorted by key. Keys are unique."""
    found = digest(study.runs)
    everything = used(study)
    keys = sorted({key for one in everything for key in one.keys if key in BY_KEY} | set(METHODS))
    own = [_own(one) for one in everything if one.own]
    entries = [_study(study, found, year), _software(study, year), *(BY_KEY[key] for key in keys), *own]
    return "\n\n".join(entry.bibtex() for entry in entries) + "\n"


def _study(study: Study, found: str, year: int) -> Reference:
    machine = study.machine
    fields = {
        "title": f"{{{latex(study.name)}}}: Learning-Rate Strategies Compared with lrbench",
        "year": str(year),
        "version": f"digest {found[:16]}",
        "note": "; ".join(
            latex(part)
            for part in (
                f"{len(study.runs):,} runs on {machine.get('model', machine['slug'])} ({machine['slug']})",
                f"SHA-256 of keys and outcomes {found}",
                f"lrbench {_version(study)}",
                f"commit {machine['commit']}" if machine.get("commit") else "",
            )
            if part
        ),
    }
    return Reference(study_key(study, found), "misc", tuple(fields.items()), ())


def _version(study: Study) -> str:
    """The version of lrbench that made the record."""
    return str(study.machine.get("packages", {}).get("lrbench", "unknown"))


def _software(study: Study, year: int) -> Reference:
    commit = study.machine.get("commit")
    fields = {
        "author": "{The lrbench authors}",
        "title": "{lrbench}: A Benchmark Suite for Learning-Rate Strategies",
        "year": str(year),
        "version": _version(study),
    } | ({"note": f"Commit {commit}"} if commit else {})
    return Reference("lrbench", "misc", tuple(fields.items()), ())


def _own(one: Used) -> Reference:
    fields = {"title": f"{{{latex(one.name)}}}, a {KINDS[one.axis]}", "note": latex(one.source) or "no source is given"}
    return Reference(_own_key(one.axis, one.name), "misc", tuple(fields.items()), ())


def latex(text: str) -> str:
    """Plain text as LaTeX and BibTeX read it."""
    return "".join(_letters(" ".join(text.split())))


def _letters(text: str) -> Iterator[str]:
    for letter in text:
        yield LATEX.get(letter) or BRACES.get(letter) or SPECIAL.get(letter, letter)


BRACES: dict[str, Any] = {"{": r"\textbraceleft{}", "}": r"\textbraceright{}"}
"""BibTeX counts braces, escaped ones too."""
