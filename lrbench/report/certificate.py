"""The certificate of a reproduction: ``certificate.md`` to read, ``certificate.json`` for programs."""

import json
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from lrbench.analyse import agreement
from lrbench.analyse.agreement import BITWISE, DIFFERENT, NOT_RUN, TOLERANCE, VERDICTS
from lrbench.analyse.machines import ALIKE
from lrbench.analyse.reproduction import Reproduction, Rerun
from lrbench.report import markdown as md
from lrbench.report import text
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
    "lrs": agreement.SCHEDULED, "margin": agreement.MARGIN, "steps_margin": ALIKE,
}  # fmt: skip


def write(found: Reproduction, folder: Path) -> Path:
    """Write both files into a folder, each whole. Returns: the path of ``certificate.md``.

    The same outcomes on the same machine give the same bytes: there is no clock in them. ``certificate.json`` has the
    keys of the runs that are equal to the bit in everything, the key and the largest difference of those within
    tolerance, and every verdict of the others.
    """
    write_whole(folder / "certificate.json", _lines(_facts(found)))
    return write_whole(folder / "certificate.md", _text(found))


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


def _text(found: Reproduction) -> str:
    compared = [run for run in found.runs if run.measures]
    parts = [
        f"# Certificate of reproduction: {md.plain(found.name)}",
        f"**{md.plain(found.overall)}**",
        _what(found),
        md.section(
            "By measure",
            md.table(["Measure", *VERDICTS], _measures(found), right=range(1, 6)) if compared else "None was compared.",
        ),
        _different(found),
        _suspicious(found),
        _undecided(found),
        _not_run(found),
        _otherwise(found),
        _cells(found),
        md.section("Machines", md.table(["", "On record", "Here"], _machines(found))),
        md.section("What the verdicts mean", _meaning()),
        _all(found),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _what(found: Reproduction) -> str:
    size = (
        "All"
        if found.asked is None or found.asked >= found.total
        else "A stratified random sample (fixed generator) of"
    )
    told = f"{size} {len(found.runs):,} of {found.total:,} runs on record"
    kinds = f"{len({r.workload for r in found.runs})} workloads, statuses {', '.join(sorted({r.status for r in found.runs}))}"
    return f"{told}: {kinds}. Digest of the study (SHA-256 of its keys, settings and outcomes): `{found.digest}`."


def _measures(found: Reproduction) -> Iterable[list[str]]:
    for name, counts in found.measure_counts.items():
        yield [name.replace("_", " "), *(f"{counts[verdict]:,}" for verdict in VERDICTS)]


def _who(run: Rerun) -> list[str]:
    return [f"`{run.key}`", md.plain(run.workload), md.code(run.strategy), f"{run.lr:.6g}", str(run.seed)]


WHO = ["Run", "Workload", "Strategy", "lr", "Seed"]


def _listed(title: str, note: str, header: list[str], rows: list[list[str]]) -> str:
    if not rows:
        return ""
    more = f"…and {len(rows) - MOST:,} more, in certificate.json." if len(rows) > MOST else ""
    return md.section(title, note, md.table(header, rows[:MOST]), more)


def _different(found: Reproduction) -> str:
    rows = [
        [*_who(run), md.plain(run.reason) or _why(run, DIFFERENT)] for run in found.runs if run.verdict == DIFFERENT
    ]
    return _listed("Different", "What is on record is not what the same training gives here.", [*WHO, "How"], rows)


def _undecided(found: Reproduction) -> str:
    rows = [[*_who(run), _why(run, agreement.UNDECIDED)] for run in found.runs if run.verdict == agreement.UNDECIDED]
    note = (
        "The training losses parted. Either the seeds of the cell are too few to say more (a larger sample may have "
        "more of them, up to "
        "all on record), as at an lr so large that rounding decides what becomes of a run; or only one of the two "
        "trainings reached the "
        "target, or diverged, which no test here can call consistent."
    )
    return _listed("Undecided", note, [*WHO, "How"], rows)


def _why(run: Rerun, verdict: str) -> str:
    told = [f"{name.replace('_', ' ')}: {_how(m)}" for name, m in run.measures.items() if m.verdict == verdict]
    return md.plain("; ".join(told))


def _how(measured: agreement.Measured) -> str:
    apart = f"{measured.apart:.2g} apart" if math.isfinite(measured.apart) and measured.apart else ""
    return ", ".join(part for part in (apart, measured.why) if part)


def _suspicious(found: Reproduction) -> str:
    runs = {run.key: run for run in found.runs}
    rows = [[*_who(runs[key]), md.plain(why)] for key, why in found.suspicious.items()]
    return _listed("Suspiciously good on record", "Much better on record than when trained again.", [*WHO, "How"], rows)


def _not_run(found: Reproduction) -> str:
    rows = [[*_who(run), md.plain(run.reason)] for run in found.runs if run.verdict == NOT_RUN]
    return _listed("Not trained again", "Nothing is said of these.", [*WHO, "Reason"], rows)


def _otherwise(found: Reproduction) -> str:
    rows = [[*_who(run), md.plain(run.recorded_as), md.plain(run.note)] for run in found.runs if run.note]
    return _listed(
        "Trained otherwise than recorded",
        "Equal to the bit is then not to be expected.",
        [*WHO, "On record", "Here"],
        rows,
    )


def _cells(found: Reproduction) -> str:
    rows = [
        [f"`{t.cell}`", t.measure.replace("_", " "), str(t.seeds), _number(t.difference), _number(t.margin), _number(t.p_equivalent),
         _number(t.p_different), t.verdict]
        for t in found.tests
    ]  # fmt: skip
    header = ["Cell", "Measure", "Seeds", "Mean difference", "Margin", "p equivalent", "p different", "Verdict"]
    note = (
        "A cell is a workload, strategy and lr; it is named by the key of its seed 0. Steps are compared as "
        "logarithms. Seeds are those "
        f"where both trainings have a number. {HOLM}"
    )
    return _listed("Judged over seeds", note, header, rows)


def _number(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else text.NONE


def _machines(found: Reproduction) -> Iterable[list[str]]:
    for name in sorted(found.recorded_on.keys() | found.here.keys()):
        one, two = (md.plain(text.fact(facts.get(name))) for facts in (found.recorded_on, found.here))
        yield [name.replace("_", " "), one, two if one != two else "the same"]


def _meaning() -> str:
    a = agreement
    return md.bullets(
        [
            f"**{BITWISE}**: the same bits; of the training losses of all steps, the same digest.",
            f"**within tolerance**: the training loss of every kept step (1, each half octave, the last two) and the "
            f"mean over the last "
            f"tenth within {a.TRAJECTORY:g} (relative; one rounding of float32 is 6e-08, and some hundred steps that "
            f"sum in another order "
            f"make it some thousand times larger), evaluated losses within "
            f"{a.EVALUATED:g}, shares of examples within {a.EXAMPLES:g} of the examples or one; lrs, computed in "
            f"float64, within "
            f"{a.SCHEDULED:g}. Where every training loss is the same to the bit, evaluated values must agree to "
            f"{a.EXACT:g}.",
            f"**statistically consistent**: the training losses part at some step, as rounding makes them do; over the "
            f"seeds of the cell "
            f"a paired equivalence test (5 %, Holm-corrected over cells, within each measure) finds the difference "
            f"within "
            f"{text.share(a.MARGIN)} of what the training improves (steps to target: {text.share(ALIKE)}). Said of a "
            f"run only if both of "
            "its trainings have a number in that test.",
            "**undecided**: parted, and neither shown to be equivalent nor to differ; a run that reached the target, "
            "or diverged, in one "
            "training only, however its cell's other seeds agree, unless they differ.",
            "**different**: another loss at the first step; an evaluation that disagrees while the training losses "
            "agree; other lrs; a "
            "record that contradicts itself; a paired test over seeds that differs; a record better than its re-run by "
            "more than two "
            "seeds differ by chance; or anything beyond tolerance where both were computed alike: same machine, "
            "software and way of "
            "training, in a way that gives the same bits whatever else is trained.",
        ]
    )


def _all(found: Reproduction) -> str:
    rows = [
        [
            *_who(run),
            md.plain(run.status),
            md.plain(run.recorded_as),
            md.plain(run.trained_as) or text.NONE,
            run.verdict,
        ]
        for run in found.runs[:MOST]
    ]
    more = f"\n\n…and {len(found.runs) - MOST:,} more, in certificate.json." if len(found.runs) > MOST else ""
    return md.details("Every run", md.table([*WHO, "Status", "On record", "Here", "Verdict"], rows) + more)
