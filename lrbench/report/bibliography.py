"""The BibTeX entries of a study: itself, lrbench, and the works behind everything that it used."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from lrbench.config.run import has_fingerprint
from lrbench.report.render.latex import SPECIAL
from lrbench.store import Study, digest

TABLES = {"workload": "workloads", "optimizer": "optimizers", "layer_lr": "layer_lrs", "schedule": "schedules"}
"""The axes, and the tables of ``study.toml`` that describe their entries."""
KINDS = {
    "workload": "workload",
    "optimizer": "optimizer",
    "layer_lr": "layer-lr policy",
    "schedule": "learning-rate schedule",
}
METHODS = ("agarwal2021deep", "dahl2023benchmarking", "holm1979simple", "paszke2019pytorch")
"""The works behind the methods, cited for every study."""

IDENTIFIER = re.compile(r"arXiv:\d{4}\.\d{4,5}|doi:10\.\d+/[^\s,;]+")
"""Identifiers of works in the text of a source."""
WORDS = {
    "Sutskever et al. 2013": "sutskever2013importance",
    "Dozat 2016": "dozat2016incorporating",
    "Duchi, Hazan & Singer 2011": "duchi2011adaptive",
    "Hinton, Srivastava & Swersky 2012": "hinton2012lecture",
    "Riedmiller & Braun 1993": "riedmiller1993direct",
    "Polyak & Juditsky 1992": "polyak1992acceleration",
    "Liu & Nocedal 1989": "liu1989limited",
    "Jordan et al. 2024": "jordan2024muon",
    "fastai's": "howard2020fastai",
    "Caffe's": "jia2014caffe",
    "textbook convex quadratic": "goh2017momentum",
    "torch.optim": "paszke2019pytorch",
    "scikit-learn": "pedregosa2011scikit",
    "mlxtend": "raschka2018mlxtend",
    "torchvision": "torchvision2016",
    "Holm 1979": "holm1979simple",
}
"""Words that name a work without an identifier, in plug-ins, and in studies stored before there were citation keys."""


@cache
def references() -> dict[str, str]:
    """The entries of ``references.bib`` by key, in its order."""
    text = (files("lrbench.report") / "references.bib").read_text(encoding="utf-8")
    return {entry[1]: entry[0] for entry in re.finditer(r"^@\w+\{(\w+),\n.*?^\}$", text, re.MULTILINE | re.DOTALL)}


@cache
def named_in(source: str) -> tuple[frozenset[str], tuple[str, ...]]:
    """The keys of the works that the text of a source names, and the identifiers in it without a reference."""
    named = {key for words, key in WORDS.items() if words in source}
    unknown = []
    for identifier in dict.fromkeys(name.rstrip(".") for name in IDENTIFIER.findall(source)):
        kind, _, value = identifier.partition(":")
        field = f"  {'eprint' if kind == 'arXiv' else kind} = {{{value}}}"
        keys = [key for key, entry in references().items() if field in entry]
        named |= set(keys)
        unknown += [] if keys else [identifier]
    return frozenset(named), tuple(unknown)


@dataclass(frozen=True)
class Used:
    """A catalog entry that a study used, with the citation keys for it."""

    axis: str
    name: str
    source: str
    keys: tuple[str, ...]
    own: bool
    """Whether an entry is made of its text, because it is a plug-in's, or its source has no reference."""


def used(study: Study) -> list[Used]:
    """The catalog entries that the runs of a study used, each once, in the order of ``TABLES``, then by name."""
    is_plugin: dict[tuple[str, str], bool] = {}
    for axis, choice in choices(study):
        at = (axis, str(choice["name"]))
        is_plugin[at] = is_plugin.get(at, False) or has_fingerprint(choice["revision"])
    entries: dict[tuple[str, str], Used] = {}
    for axis, table in TABLES.items():
        for _, facts in sorted(study.facts.get(table, {}).items()):
            at = (axis, str(facts["name"]))
            if at in is_plugin and at not in entries:
                source = str(facts.get("source", ""))
                named, unknown = named_in(source)
                keys = tuple(key for key in references() if key in named or key in facts.get("cites", ()))
                own = is_plugin[at] or not keys or bool(unknown)
                entries[at] = Used(*at, source, keys + ((_own_key(*at),) if own else ()), own)
    return sorted(entries.values(), key=lambda one: (list(TABLES).index(one.axis), one.name))


def choices(study: Study) -> Iterator[tuple[str, dict[str, Any]]]:
    """The choices of the stored runs (name, revision, label, settings), by axis, then by label."""
    for axis in TABLES:
        for run in study.runs[[axis, "key", "run"]].sort_values([axis, "key"]).drop_duplicates(axis).run:
            yield axis, json.loads(str(run))[axis]


def _own_key(axis: str, name: str) -> str:
    return f"lrbench-{axis.replace('_', '-')}-{_plain(name)}"


def study_key(study: Study, digest_of_runs: str) -> str:
    """The key of the study's own entry."""
    return f"lrbench-study-{_plain(study.name)}-{digest_of_runs[:8]}"


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")


def bibtex(study: Study, year: int) -> str:
    """The entries: the study, lrbench, then the works behind what was used and the methods, by key. Keys are unique."""
    everything = used(study)
    keys = sorted({key for one in everything for key in one.keys if key in references()} | set(METHODS))
    own = [
        _entry(
            _own_key(one.axis, one.name),
            title=f"{{{latex(one.name)}}}, a {KINDS[one.axis]}",
            note=latex(one.source) or "no source is given",
        )
        for one in everything
        if one.own
    ]
    entries = [*_study_and_software(study, str(year)), *(references()[key] for key in keys), *own]
    return "\n\n".join(entries) + "\n"


def _study_and_software(study: Study, year: str) -> Iterator[str]:
    machine, hashed = study.machine, digest(study.runs)
    version, commit = str(machine.get("packages", {}).get("lrbench", "unknown")), machine.get("commit")
    said = [
        f"{len(study.runs):,} runs on {machine.get('model', machine['slug'])} ({machine['slug']})",
        f"SHA-256 of keys and outcomes {hashed}",
        f"lrbench {version}",
        *([f"commit {commit}"] if commit else []),
    ]
    yield _entry(
        study_key(study, hashed),
        title=f"{{{latex(study.name)}}}: Learning-Rate Strategies Compared with lrbench",
        year=year,
        version=f"digest {hashed[:16]}",
        note="; ".join(map(latex, said)),
    )
    yield _entry(
        "lrbench",
        author="{The lrbench authors}",
        title="{lrbench}: A Benchmark Suite for Learning-Rate Strategies",
        year=year,
        version=version,
        **({"note": f"Commit {commit}"} if commit else {}),
    )


def _entry(key: str, **fields: str) -> str:
    lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
    return f"@misc{{{key},\n{lines}\n}}"


LETTERS = str.maketrans(
    SPECIAL
    | {"{": r"\textbraceleft{}", "}": r"\textbraceright{}"}  # BibTeX counts braces, escaped ones too
    | {"ä": r"{\"a}", "é": r"{\'e}", "ö": r"{\"o}", "ü": r"{\"u}", "á": r"{\'a}", "ç": r"{\c c}"}
    | {"ß": r"{\ss}", "ø": r"{\o}"}
)


def latex(text: str) -> str:
    """Plain text as LaTeX and BibTeX read it."""
    return " ".join(text.split()).translate(LETTERS)
