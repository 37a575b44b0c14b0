"""Runs for tests: any choice by name, everything else small."""

from typing import Any

from lrbench.config.run import Choice, Run
from lrbench.plan.expand import label
from lrbench.plan.vocabulary import vocabulary
from lrbench.workloads import WORKLOADS

NEEDED = {"groups": {"multipliers": {"layer1": 0.1, "head": 0.5}}, "freeze": {"layers": ["layer1"]}}
"""Settings of the entries that have no defaults for them, for a workload with the layers layer1, layer2, head."""


def choice(axis: str, name: str, **settings: Any) -> Choice:
    entry = vocabulary()[axis][name]
    resolved = entry.settings.model_validate(NEEDED.get(name, {}) | settings).model_dump(mode="json")
    return Choice(name=name, revision=entry.revision, settings=resolved, label=label(entry, resolved))


def a_run(
    workload: str = "digits-mlp",
    optimizer: str | tuple[str, dict[str, Any]] = "sgd",
    layer_lr: str | tuple[str, dict[str, Any]] = "uniform",
    schedule: str | tuple[str, dict[str, Any]] = "constant",
    **values: Any,
) -> Run:
    known = WORKLOADS[workload]
    axes = {"optimizer": optimizer, "layer_lr": layer_lr, "schedule": schedule}
    picks = {
        axis: choice(axis, pick) if isinstance(pick, str) else choice(axis, pick[0], **pick[1])
        for axis, pick in axes.items()
    }
    lr = vocabulary()["optimizer"][picks["optimizer"].name].default_lr
    plain = {
        "lr": lr,
        "batch_size": known.batch_size,
        "accumulate": 1,
        "precision": "fp32",
        "steps": 40,
        "eval_every": 10,
        "target": known.target,
        "seed": 0,
    }
    return Run(workload=Choice(name=workload, revision=known.revision, label=workload), **picks, **(plain | values))
