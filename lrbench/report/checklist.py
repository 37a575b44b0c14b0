"""A checklist for reproducibility: what a study has and what it lacks, answered from its facts."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from lrbench.analyse.frames import STRATEGY
from lrbench.config.cost import IN_DOUBT
from lrbench.config.run import Run
from lrbench.report import text
from lrbench.report.bibliography import used
from lrbench.report.findings import Findings
from lrbench.stats.estimates import ENOUGH_SEEDS
from lrbench.store import Study, digest
from lrbench.store.study import CERTIFICATE


@dataclass(frozen=True)
class Item:
    """One requirement, whether the study meets it, and the evidence."""

    met: bool
    asks: str
    evidence: str

    def line(self) -> str:
        """The item to read."""
        return f"- [{'x' if self.met else ' '}] {self.asks}: {self.evidence}"


def checklist(findings: Findings) -> list[Item]:
    """All items, in a fixed order. An item without an answer in the facts is not met."""
    study = findings.study
    return [
        *_settings(study),
        *_conduct(study),
        *_choice(findings),
        *_measured(study),
        *_machine(study),
        *_sources(study),
        _certificate(study),
    ]


def _settings(study: Study) -> Iterator[Item]:
    wrong = sum(not _is_itself(key, run) for key, run in study.runs[["key", "run"]].itertuples(index=False))
    asks = "Every run has all of its settings stored with it, and they are those of its key"
    yield Item(
        not wrong and len(study.runs) > 0,
        asks,
        f"{text.count(wrong, 'run')} with others" if wrong else f"{len(study.runs):,} of {len(study.runs):,} runs",
    )


def _is_itself(key: Any, run: Any) -> bool:
    try:
        return bool(Run.model_validate_json(run).key == key)
    except (ValidationError, ValueError):
        return False


def _conduct(study: Study) -> Iterator[Item]:
    runs = study.runs
    least = int(runs.groupby([*STRATEGY, "lr"]).seed.nunique().min()) if len(runs) else 0
    yield Item(
        least >= ENOUGH_SEEDS, f"At least {ENOUGH_SEEDS} seeds for every strategy and lr", f"the least is {least}"
    )
    counts = runs.status.value_counts()
    crashed, diverged = int(counts.get("crashed", 0)), int(counts.get("diverged", 0))
    yield Item(not crashed, "No run crashed", f"{crashed:,} of {len(runs):,} did")
    yield Item(
        True,
        "Failed and skipped runs are kept, with step or reason",
        f"{diverged:,} diverged, {len(study.skipped):,} were skipped",
    )
    ended = runs[runs.status.isin(["reached", "missed"])]
    tested = int(ended.test_metric.notna().sum())
    asks = "The lr was selected on validation data, and every finished run was tested once, at its end"
    yield Item(
        len(ended) > 0 and tested == len(ended), asks, f"{tested:,} of {len(ended):,} finished runs have a test result"
    )


def _choice(findings: Findings) -> Iterator[Item]:
    verdicts = findings.verdicts
    doubts = [f"{v.workload}: {v.edge or 'no run ended'}" for v in verdicts if v.edge or not math.isfinite(v.lr)]
    asks = "The best lr of the best strategy lies inside its grid"
    evidence = f"not on {'; '.join(doubts)}" if doubts else f"on {text.count(len(verdicts), 'workload')}"
    yield Item(len(verdicts) > 0 and not doubts, asks, evidence)


def _measured(study: Study) -> Iterator[Item]:
    doubtful = sum(bool(cost.noise) for cost in study.costs.costs)
    meaning = f" ({IN_DOUBT})" if doubtful else ""
    evidence = (
        f"{len(study.costs.costs):,} measured, {doubtful:,} of them in doubt{meaning}"
        if study.costs.costs
        else "none was measured"
    )
    yield Item(bool(study.costs.costs) and not doubtful, "Step costs were measured alone and without doubt", evidence)


VERSIONS = ("python", "torch", "numpy", "lrbench")


def _machine(study: Study) -> Iterator[Item]:
    machine = study.machine
    known = machine.get("packages", {}) | {name: machine[name] for name in ("python", "torch") if machine.get(name)}
    lacking = [name for name in VERSIONS if name not in known]
    evidence = ", ".join(f"{name} {known[name]}" for name in VERSIONS if name in known)
    yield Item(
        not lacking,
        "The versions of the software are recorded",
        evidence + (f"; not {', '.join(lacking)}" if lacking else ""),
    )
    commit, dirty = machine.get("commit"), machine.get("dirty")
    asks = "The code is a known commit without changes"
    yield Item(
        bool(commit) and dirty is False,
        asks,
        f"{str(commit)[:12]}{' with changes' if dirty else ''}" if commit else "no commit is recorded",
    )
    flags = {name: machine.get(name) for name in ("precision", "determinism")}
    asks = "Hardware, precision and determinism settings are recorded"
    yield Item(
        all(flags.values()),
        asks,
        f"{machine.get('model', 'no model')}; " + "; ".join(f"{n} {text.fact(v)}" for n, v in flags.items()),
    )


def _sources(study: Study) -> Iterator[Item]:
    everything = used(study)
    own = [one.name for one in everything if one.own]
    of = f"{len(everything) - len(own)} of {len(everything)} workloads, optimizers, policies and schedules"
    evidence = of + (f"; only their own text is known of {', '.join(own)}" if own else "")
    yield Item(not own, "Everything that was used has a publication to cite", evidence)
    present = set(study.runs.workload)
    lacking = sorted(
        label
        for label, fact in study.facts.get("workloads", {}).items()
        if label in present and not fact.get("licence")
    )
    evidence = f"not of {', '.join(lacking)}" if lacking else f"of {text.count(len(present), 'workload')}"
    yield Item(not lacking and bool(present), "The licences of the data are known", evidence)


def _certificate(study: Study) -> Item:
    """Whether there is a certificate in the study's folder, for this record."""
    asks = "The record was trained again, and a certificate is with it"
    if study.certificate is None:
        return Item(False, asks, f"there is no {CERTIFICATE} in its folder: lrbench reproduce STUDY --output STUDY")
    try:
        facts = json.loads(study.certificate)
        same, evidence, different = (
            facts["study"]["digest"] == digest(study.runs),
            str(facts["verdict"]),
            bool(facts["different"]),
        )
        compared = sum(facts["counts"].values()) - facts["counts"]["not re-run"]
    except (ValueError, LookupError, TypeError, AttributeError):
        return Item(False, asks, f"its {CERTIFICATE} is damaged: lrbench reproduce STUDY --output STUDY")
    if not same:
        return Item(False, asks, f"its {CERTIFICATE} is of another record")
    return Item(not different and compared > 0, asks, evidence)
