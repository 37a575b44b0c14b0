"""A complete study taken into the record: the folder of results that is tracked, reviewed and cited.

Everything else below ``results/`` is work in progress. What enters the record was trained whole by a known state of the
code, and a sample of it, trained again, was not different. It comes with its report, its methods, its citation and the
certificate of the sample.
"""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lrbench.analyse.reproduction import Reproduction
from lrbench.config.faults import BadInput
from lrbench.config.outcome import Status
from lrbench.execute.reproduce import reproduce
from lrbench.report import certificate as certificates
from lrbench.report import cite, machines, write
from lrbench.store import RECORD, Study, in_record, load, one_study, studies, unpacked
from lrbench.store.study import LEFT_OUT, RETIRED

SAMPLE = 60
"""How many runs are trained again, unless told otherwise."""
METHODS, CITATION = "methods.md", "citation.bib"


def publish(
    place: Path,
    *,
    record: Path = Path("results") / RECORD,
    sample: int = SAMPLE,
    replace: bool = False,
    device: str = "auto",
    workers: int | None = None,
    plugins: Sequence[Path] = (),
    year: int | None = None,
) -> Path:
    """Take a study (its folder, one with this single study below it, or a bundle) into the record, ``<record>/<matrix>/<machine>/``.

    ``sample`` runs, drawn by the same rule as for ``lrbench reproduce``, are trained again first. A study of the same
    matrix and machine that is in the record already is kept unless ``replace`` is set. The comparison of the matrix's
    machines is written anew.

    Returns: the folder in the record.
    Raises: BadInput when the study is incomplete, its code had uncommitted changes, it is in the record, or the sample
    was different.
    """
    name = one_study(place)
    with unpacked(name) as folder:
        study = load(folder)
        target = record / study.name / str(study.machine["slug"])
        _refuse(name, study, target, replace=replace)
        found = reproduce(folder, sample=sample, device=device, workers=workers, plugins=plugins)
        if found.differs or not any(run.measures for run in found.runs):
            written = certificates.write(found, certificates.default_folder(found))
            raise BadInput(f"{name}: does not enter the record: {found.overall}. What was found: {written}.")
        if found.here.get("dirty"):
            raise BadInput(
                "publish: the checkout of lrbench has uncommitted changes. Commit them, so that others can repeat the "
                "certificate."
            )
        _enter(folder, found, target, year)
    for place_of, of_one_matrix in machines.together(load(path) for path in studies(target.parent)).items():
        machines.write(place_of, of_one_matrix)
    return target


def _refuse(name: Path, study: Study, target: Path, *, replace: bool) -> None:
    """Tell, before anything is trained, why a study cannot enter the record."""
    planned, crashed = int(study.facts["matrix"].get("runs", -1)), int((study.runs.status == Status.CRASHED).sum())
    if in_record(name):
        raise BadInput(f"{name}: is in the record already. Give a study of your own, results/<matrix>/<machine>.")
    if len(study.runs) != planned:
        told = (
            f"has {len(study.runs):,} of {planned:,} runs"
            if planned >= 0
            else "does not say how many runs its matrix has"
        )
        raise BadInput(f"{name}: is not complete: it {told}. Give `lrbench run` with its matrix again, then publish.")
    if not planned:
        raise BadInput(f"{name}: has no run.")
    if crashed:
        raise BadInput(
            f"{name}: is not complete: {crashed:,} of its runs crashed. Mend or exclude them, run it again, then "
            f"publish."
        )
    if study.machine.get("dirty"):
        raise BadInput(
            f"{name}: was run by code with uncommitted changes, which nobody can repeat. Commit them, then train it "
            f"anew."
        )
    if target.exists() and not replace:
        raise BadInput(f"{target}: is in the record already. Give --replace to put this study in its place.")


def _enter(folder: Path, found: Reproduction, target: Path, year: int | None) -> None:
    """Write the study and all that goes with it beside its place, then move it there whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".", suffix=".tmp") as beside:
        made = Path(beside) / target.name
        _copy(folder, made)
        certificates.write(found, made)
        write(load(made))
        (made / METHODS).write_text(cite.cited(made, "text", year), encoding="utf-8")
        (made / CITATION).write_text(cite.cited(made, "bibtex", year), encoding="utf-8")
        if target.exists():
            target.rename(Path(beside) / "replaced")
        made.rename(target)


def _copy(folder: Path, made: Path) -> None:
    shutil.copytree(folder, made, ignore=shutil.ignore_patterns(*LEFT_OUT, RETIRED, ".*", "*.tmp", "figures", "export"))
