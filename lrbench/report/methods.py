"""The methods section of a paper about a study: a paragraph, the grids of each workload, and every setting."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd

from lrbench.analyse import groups
from lrbench.analyse.frames import AXES
from lrbench.report import text
from lrbench.report.bibliography import KINDS, choices, study_key, used
from lrbench.report.findings import Findings
from lrbench.store import Study, digest


def methods(findings: Findings) -> str:
    """The section as text. Works are cited by their BibTeX keys in brackets, such as ``[kingma2015adam]``."""
    return "\n\n".join(
        [
            _paragraph(findings.study),
            _listed(_workloads(findings)),
            SETTINGS,
            _listed(_settings(findings.study)),
            _cited(findings.study),
        ]
    )


SETTINGS = (
    "All settings, defaults among them. A span of a schedule is a share of the budget where it has a decimal point; a "
    "whole number counts "
    "steps, epochs where per = epoch, and evaluations for plateau."
)


def _listed(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _paragraph(study: Study) -> str:
    runs, machine = study.runs, study.machine
    strategies = len(runs[AXES].drop_duplicates())
    seeds = sorted({int(seed) for seed in runs.seed})
    ended = Counter(str(status) for status in runs.status)
    return " ".join(
        part
        for part in (
            f"We compared {text.count(strategies, 'strategy')} (optimizer x layer-lr policy x schedule) on "
            f"{text.count(runs.workload.nunique(), 'workload')} in {text.count(len(runs), 'run')} "
            f"[{study_key(study, digest(runs))}] with lrbench {machine.get('packages', {}).get('lrbench', '')} "
            f"[lrbench]"
            f"{' (commit ' + str(machine['commit'])[:12] + ')' if machine.get('commit') else ''}.",
            f"Each was trained at every lr of its grid with the seeds {_span(seeds)}, which decide initialisation and "
            f"batches, so that "
            "strategies are paired by seed.",
            f"{_ended(ended)}; a diverged run counts as the untrained model.",
            f"Precision: {', '.join(sorted(set(runs.precision)))}. {_trainers(runs)}",
            "The lr of each strategy was selected on the validation set, by the highest interquartile mean over seeds "
            "of the final "
            "metric (ties: lower loss, then smaller lr); test results are those of the best strategy alone.",
            "We report interquartile means with percentile bootstrap 95 % intervals over seeds [agarwal2021deep], "
            "steps to a target "
            "fixed beforehand [dahl2023benchmarking], and paired t-tests, Bonferroni-corrected against the best of a "
            "workload and "
            "Holm-corrected over the pairs of a table [holm1979simple].",
            _machine(machine),
        )
        if part
    )


def _machine(machine: dict[str, Any]) -> str:
    many = text.count(int(machine.get("count") or 1), "core" if machine.get("kind") == "cpu" else "GPU")
    threads = text.count(int(machine.get("threads_per_worker") or 1), "CPU thread")
    cuda = f", CUDA {machine['cuda']}" if machine.get("cuda") else ""
    others = "".join(
        f", {name} {v}" for name, v in sorted(machine.get("packages", {}).items()) if name not in ("lrbench", "torch")
    )
    return (
        f"Machine: {machine.get('model', 'unknown')}, {many}, {machine.get('os', 'system unknown')}, {threads} per "
        f"worker{cuda}; "
        f"Python {machine.get('python', 'unknown')}, PyTorch {machine.get('torch', 'unknown')} "
        f"[paszke2019pytorch]{others}."
    )


def _ended(counts: Counter[str]) -> str:
    return "Of the runs " + ", ".join(f"{counts[name]:,} {words}" for name, words in _ENDS.items() if counts[name])


_ENDS = {
    "reached": "reached their target",
    "missed": "did not reach their target",
    "diverged": "diverged",
    "crashed": "crashed",
}


def _trainers(runs: pd.DataFrame) -> str:
    each = [f"{len(part):,} runs by the {trainer} trainer" for (trainer,), part in groups(runs, ["trainer"])]
    return f"Trained: {', '.join(each)}."


def _span(values: list[int]) -> str:
    """Whole numbers; a range without gaps as its two ends."""
    row = len(values) > 2 and values == list(range(values[0], values[-1] + 1))
    return f"{values[0]} to {values[-1]}" if row else ", ".join(map(str, values))


def _workloads(findings: Findings) -> Iterator[str]:
    for (label,), part in groups(findings.runs, ["workload"]):
        facts = findings.fact(str(label))
        metric = findings.metric(str(label))
        first = part.iloc[0]
        sizes = " / ".join(
            f"{facts[f'{name}_examples']:,}" for name in ("train", "validation", "test") if f"{name}_examples" in facts
        )
        seeds = sorted({int(seed) for seed in part.seed})
        yield (
            f"{label} ({str(facts.get('meaning', '')).rstrip('.')}; {facts.get('parameters', 0):,} parameters; {sizes} "
            f"examples to train, "
            f"validate and test): {first.budget:,} steps of {_batch(first)}, evaluated every "
            f"{facts.get('eval_every', '-')} steps, "
            f"target {metric.name} {'>=' if metric.higher_is_better else '<='} {metric.show(float(first.target))}, "
            f"seeds {_span(seeds)}. "
            f"lrs: {'; '.join(_grids(part))}."
        )


def _batch(run: Any) -> str:
    return f"{run.batch_size:,} examples" + (f" x {run.accumulate} accumulated" if run.accumulate > 1 else "")


def _grids(runs: pd.DataFrame) -> Iterator[str]:
    """The lr grids, each with its optimizers."""
    on: dict[tuple[float, ...], list[str]] = {}
    for (optimizer,), part in groups(runs, ["optimizer"]):
        on.setdefault(tuple(sorted(set(part.lr))), []).append(str(optimizer))
    for grid, optimizers in sorted(on.items(), key=lambda pair: pair[1]):
        yield f"{', '.join(f'{value:.4g}' for value in grid)} ({', '.join(optimizers)})"


def _settings(study: Study) -> Iterator[str]:
    """One line for each choice with settings."""
    for axis, choice in choices(study):
        settings = ", ".join(f"{name} = {_value(value)}" for name, value in choice["settings"].items())
        if settings:
            yield f"{KINDS[axis]} {choice['label']}: {settings}."


def _value(value: Any) -> str:
    """A setting as a matrix file writes it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {_value(one)}" for name, one in value.items()) + "}"
    return "[" + ", ".join(map(_value, value)) + "]" if isinstance(value, list) else json.dumps(value)


def _cited(study: Study) -> str:
    """The citation keys of each catalog entry that was used."""
    return "Sources: " + "; ".join(f"{one.name} [{', '.join(one.keys)}]" for one in used(study)) + "."
