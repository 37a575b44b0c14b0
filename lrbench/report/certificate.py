"""The certificate of a reproduction: ``certificate.md`` to read, ``certificate.json`` for programs."""

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from lrbench.analyse import agreement
from lrbench.analyse.agreement import BITWISE, NOT_RUN, TOLERANCE, VERDICTS
from lrbench.analyse.machines import EQUIVALENT_STEPS
from lrbench.analyse.reproduction import Reproduction, Rerun
from lrbench.report import text
from lrbench.report.document import (
    Bullets,
    Code,
    Column,
    Document,
    Fold,
    Paragraph,
    Section,
    Strong,
    Table,
    Words,
    prose,
    slug,
)
from lrbench.report.render import markdown
from lrbench.stats.comparison import DIFFERENT, UNDECIDED
from lrbench.store import write_whole

SCHEMA = 3
HOLM = (
    "Both p-values are corrected by Holm's method over the cells of their measure, so that for normal differences 5 % "
    "bounds the chance of "
    "one false finding among all cells of one measure by one of these tests. Nothing is corrected over the measures, "
    "so for the "
    "certificate as a whole the chance of a false *different* is larger: at most 5 % times the measures that were "
    "tested, and less than "
    "that as far as measures go together."
)
MOST = 100
"""The most rows of a table; certificate.json has all."""
LONG = 30
"""A table of more entries than this has a line for each."""
LIMITS = {
    "step_loss": agreement.TRAJECTORY, "evaluated_loss": agreement.EVALUATED, "examples": agreement.EXAMPLES, "exact": agreement.EXACT,
    "lrs": agreement.SCHEDULED, "margin": agreement.EQUIVALENT_SHARE, "steps_margin": EQUIVALENT_STEPS,
}  # fmt: skip


def write(found: Reproduction, folder: Path) -> Path:
    """Write both files into a folder, each whole. Returns: the path of ``certificate.md``.

    The same outcomes on the same machine give the same bytes: there is no clock in them. ``certificate.json`` has the
    keys of the runs that are equal to the bit in everything, the key and the largest difference of those within
    tolerance, and every verdict of the others.
    """
    write_whole(folder / "certificate.json", _lines(_facts(found)))
    return write_whole(folder / "certificate.md", markdown.document(document(found)))


def default_folder(found: Reproduction) -> Path:
    """Where a certificate goes if nobody says: beside nothing of the study, in the current folder."""
    return Path(f"certificate-{found.name}")


def _facts(found: Reproduction) -> dict[str, Any]:
    plain = {
        "schema": SCHEMA,
        "verdict": found.overall,
        "different": found.differs,
        "study": {"name": found.name, "digest": found.digest, "runs": found.total},
        "sample": found.asked,
        "limits": LIMITS,
        "counts": found.counts,
        "measures": found.measure_counts,
        "recorded_on": found.recorded_on,
        "here": found.here,
        "trained_otherwise": dict(Counter(run.note for run in found.runs if run.note)),
        "bitwise_equal": [run.key for run in found.runs if run.verdict == BITWISE],
        "within_tolerance": {run.key: _rounded(_largest(run)) for run in found.runs if run.verdict == TOLERANCE},
        "runs": [_run(run) for run in found.runs if run.verdict not in (BITWISE, TOLERANCE)],
        "cells": [{name: _rounded(value) for name, value in asdict(test).items()} for test in found.tests],
        "suspicious": found.suspicious,
    }
    return {name: _json(value) for name, value in plain.items()}


def _largest(run: Rerun) -> float:
    """The largest difference that is within tolerance, over all measures."""
    return max(measured.apart for measured in run.measures.values())


def _run(run: Rerun) -> dict[str, Any]:
    """A run that was not shown to agree: what it is, and the measures that have its verdict, with their difference."""
    measures = {name: _rounded(m.apart) for name, m in run.measures.items() if m.verdict == run.verdict}
    facts = {name: getattr(run, name) for name in ("key", "workload", "strategy", "lr", "seed", "status", "verdict")}
    why = run.reason or next((m.why for m in run.measures.values() if m.verdict == run.verdict and m.why), "")
    return facts | {"why": why, "apart": measures}


def _rounded(value: Any) -> Any:
    return float(f"{value:.3g}") if isinstance(value, float) else value


def _lines(facts: dict[str, Any]) -> str:
    """JSON with one line for each item of each list, and of what is within tolerance."""
    dumps = partial(json.dumps, sort_keys=True, allow_nan=False)

    def told(value: Any) -> str:
        if isinstance(value, list):
            return "[\n" + ",\n".join(map(dumps, value)) + "\n]"
        if isinstance(value, dict) and len(value) > LONG:
            return "{\n" + ",\n".join(f"{dumps(name)}: {dumps(v)}" for name, v in sorted(value.items())) + "\n}"
        return dumps(value)

    return "{\n" + ",\n".join(f"{dumps(name)}: {told(value)}" for name, value in sorted(facts.items())) + "\n}\n"


def _json(value: Any) -> Any:
    """A value as JSON has it: null for what is not a number, a word for what is infinite."""
    if isinstance(value, dict):
        return {str(name): _json(v) for name, v in value.items()}
    if isinstance(value, list | tuple):
        return [_json(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf"
    return value


def document(found: Reproduction) -> Document:
    """The certificate to read."""
    sections = [
        _by_measure(found),
        _different(found),
        _suspicious(found),
        _undecided(found),
        _not_run(found),
        _otherwise(found),
        _cells(found),
        _machines(found),
        Section(
            "What the verdicts mean", [Bullets([prose(line) for line in MEANING]), Fold("Every run", [_runs(found)])]
        ),
    ]
    return Document(
        f"Certificate of reproduction: {found.name}",
        [Paragraph(Strong(found.overall)), Paragraph(_what(found))],
        [section for section in sections if section],
    )


def _what(found: Reproduction) -> Words:
    size = (
        "All"
        if found.asked is None or found.asked >= found.total
        else "A stratified random sample (fixed generator) of"
    )
    statuses = ", ".join(sorted({run.status for run in found.runs}))
    sentence = (
        f"{size} {len(found.runs):,} of {found.total:,} runs on record: {len({run.workload for run in found.runs})} workloads, "
        f"statuses {statuses}. Digest of the study (SHA-256 of its keys, settings and outcomes): `{found.digest}`."
    )
    return prose(sentence)


def _by_measure(found: Reproduction) -> Section:
    if not any(run.measures for run in found.runs):
        return Section("By measure", [Paragraph("None was compared.")])
    counts = found.measure_counts

    def count(verdict: str) -> Column[str]:
        return Column(
            verdict, lambda name: f"{counts[name][verdict]:,}", lambda name: counts[name][verdict], right=True
        )

    measure: Column[str] = Column("Measure", lambda name: name.replace("_", " "))
    return Section("By measure", [Table("measures", [measure, *map(count, VERDICTS)], list(counts))])


WHO: list[Column[Rerun]] = [
    Column("Run", lambda run: Code(run.key)),
    Column("Workload", lambda run: run.workload),
    Column("Strategy", lambda run: Code(run.strategy)),
    Column("lr", lambda run: f"{run.lr:.6g}", lambda run: run.lr),
    Column("Seed", lambda run: str(run.seed), lambda run: run.seed),
]
"""The columns that say which run it is."""


def _listed(title: str, note: str, runs: Sequence[Rerun], *more: Column[Rerun]) -> Section | None:
    """A section with a row for each of some runs; nothing without any."""
    if not runs:
        return None
    return Section(title, [Paragraph(note), Table(slug(title), [*WHO, *more], runs, MOST, rest="in certificate.json")])


def _different(found: Reproduction) -> Section | None:
    how: Column[Rerun] = Column("How", lambda run: run.reason or _why(run, DIFFERENT))
    runs = [run for run in found.runs if run.verdict == DIFFERENT]
    return _listed("Different", "What is on record is not what the same training gives here.", runs, how)


def _undecided(found: Reproduction) -> Section | None:
    how: Column[Rerun] = Column("How", lambda run: _why(run, UNDECIDED))
    runs = [run for run in found.runs if run.verdict == UNDECIDED]
    return _listed("Undecided", UNDECIDED_NOTE, runs, how)


UNDECIDED_NOTE = """\
The training losses parted. Either the seeds of the cell are too few to say more (a larger sample may have more of them, up \
to all on record), as at an lr so large that rounding decides what becomes of a run; or only one of the two trainings reached \
the target, or diverged, which no test here can call consistent."""


def _why(run: Rerun, verdict: str) -> str:
    return "; ".join(f"{name.replace('_', ' ')}: {_how(m)}" for name, m in run.measures.items() if m.verdict == verdict)


def _how(measured: agreement.Measured) -> str:
    apart = f"{measured.apart:.2g} apart" if math.isfinite(measured.apart) and measured.apart else ""
    return ", ".join(part for part in (apart, measured.why) if part)


def _suspicious(found: Reproduction) -> Section | None:
    runs = {run.key: run for run in found.runs}
    how: Column[Rerun] = Column("How", lambda run: found.suspicious[run.key])
    note = "Much better on record than when trained again."
    return _listed("Suspiciously good on record", note, [runs[key] for key in found.suspicious], how)


def _not_run(found: Reproduction) -> Section | None:
    why: Column[Rerun] = Column("Reason", lambda run: run.reason)
    runs = [run for run in found.runs if run.verdict == NOT_RUN]
    return _listed("Not trained again", "Nothing is said of these.", runs, why)


RECORDED: Column[Rerun] = Column("On record", lambda run: run.recorded_as)


def _otherwise(found: Reproduction) -> Section | None:
    here: Column[Rerun] = Column("Here", lambda run: run.note)
    note = "Equal to the bit is then not to be expected."
    return _listed("Trained otherwise than recorded", note, [run for run in found.runs if run.note], RECORDED, here)


def _cells(found: Reproduction) -> Section | None:
    if not found.tests:
        return None

    def number(title: str, value: Callable[[agreement.CellTest], float]) -> Column[agreement.CellTest]:
        def show(test: agreement.CellTest) -> str:
            return f"{value(test):.3g}" if math.isfinite(value(test)) else text.NONE

        return Column(title, show, value)

    columns: list[Column[agreement.CellTest]] = [
        Column("Cell", lambda test: Code(test.cell)),
        Column("Measure", lambda test: test.measure.replace("_", " ")),
        Column("Seeds", lambda test: str(test.seeds), lambda test: test.seeds),
        number("Mean difference", lambda test: test.difference),
        number("Margin", lambda test: test.margin),
        number("p equivalent", lambda test: test.p_equivalent),
        number("p different", lambda test: test.p_different),
        Column("Verdict", lambda test: test.verdict),
    ]
    note = (
        "A cell is a workload, strategy and lr; it is named by the key of its seed 0. Steps are compared as logarithms. Seeds "
        f"are those where both trainings have a number. {HOLM}"
    )
    table = Table("cells", columns, found.tests, MOST, rest="in certificate.json")
    return Section("Judged over seeds", [Paragraph(note), table])


def _machines(found: Reproduction) -> Section:
    names = sorted(found.recorded_on.keys() | found.here.keys())

    def here(name: str) -> str:
        one, two = (text.fact(facts.get(name)) for facts in (found.recorded_on, found.here))
        return two if one != two else "the same"

    columns: list[Column[str]] = [
        Column("", lambda name: name.replace("_", " ")),
        Column("On record", lambda name: text.fact(found.recorded_on.get(name))),
        Column("Here", here),
    ]
    return Section("Machines", [Table("", columns, names)])


def _runs(found: Reproduction) -> "Table[Rerun]":
    columns: list[Column[Rerun]] = [
        *WHO,
        Column("Status", lambda run: run.status),
        RECORDED,
        Column("Here", lambda run: run.trained_as or text.NONE),
        Column("Verdict", lambda run: run.verdict),
    ]
    return Table("runs", columns, found.runs, MOST, rest="in certificate.json")


MEANING = [
    f"**{BITWISE}**: the same bits; of the training losses of all steps, the same digest.",
    "**within tolerance**: the training loss of every kept step (1, each half octave, the last two) and the mean over the "
    f"last tenth within {agreement.TRAJECTORY:g} (relative; one rounding of float32 is 6e-08, and some hundred steps that "
    "sum in another order make it some thousand times larger), evaluated losses within "
    f"{agreement.EVALUATED:g}, shares of examples within {agreement.EXAMPLES:g} of the examples or one; lrs, computed in "
    f"float64, within {agreement.SCHEDULED:g}. Where every training loss is the same to the bit, evaluated values must agree "
    f"to {agreement.EXACT:g}.",
    "**statistically consistent**: the training losses part at some step, as rounding makes them do; over the seeds of the "
    "cell a paired equivalence test (5 %, Holm-corrected over cells, within each measure) finds the difference within "
    f"{text.share(agreement.EQUIVALENT_SHARE)} of what the training improves (steps to target: "
    f"{text.share(EQUIVALENT_STEPS)}). Said of a run only if both of its trainings have a number in that test.",
    "**undecided**: parted, and neither shown to be equivalent nor to differ; a run that reached the target, or diverged, in "
    "one training only, however its cell's other seeds agree, unless they differ.",
    "**different**: another loss at the first step; an evaluation that disagrees while the training losses agree; other lrs; "
    "a record that contradicts itself; a paired test over seeds that differs; a record better than its re-run by more than "
    "two seeds differ by chance; or anything beyond tolerance where both were computed alike: same machine, software and way "
    "of training, in a way that gives the same bits whatever else is trained.",
]
