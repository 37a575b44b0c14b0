"""One run's whole story."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from lrbench.config.faults import BadInput
from lrbench.config.types import known
from lrbench.store import Study, load, studies

AXES = ("workload", "optimizer", "layer_lr", "schedule")


def story(results: Path, key: str) -> dict[str, Any]:
    """Everything stored of the run whose key begins with ``key``.

    Raises: BadInput when no run or several different ones do.
    """
    found = [
        (study, i)
        for study in map(load, studies(results, record=True))
        for i in study.runs.index[study.runs.key.str.startswith(key)]
    ]
    keys = sorted({study.runs.key[i] for study, i in found})
    if not keys:
        raise BadInput(f"show {key}: no run below {results} has a key that begins so. The keys stand in summary.csv.")
    if len(keys) > 1:
        raise BadInput(
            f"show {key}: begins {len(keys)} keys: {', '.join(keys[:5])}{', ...' if len(keys) > 5 else ''}. Give more "
            f"of it."
        )
    study, i = found[0]
    return _tell(study, i) | {"machines": sorted({study.folder.name for study, _ in found})}


def _tell(study: Study, i: int) -> dict[str, Any]:
    row = study.runs.loc[i]
    plain = {str(name): value for name, value in row.items() if not isinstance(value, np.ndarray) and name != "run"}
    curves = ("eval_step", "val_loss", "val_metric")
    lrs = [list(at) for at in row["group_lr"]]
    return {
        "folder": str(study.folder),
        **{name: known(getattr(value, "item", lambda v=value: v)()) for name, value in plain.items()},
        "run": json.loads(str(row["run"])),
        "groups": list(row["groups"]),
        "evaluations": [
            dict(zip(curves, values, strict=True)) | {"lr": [known(lr) for lr in lrs[n]] if n < len(lrs) else []}
            for n, values in enumerate(zip(*(row[name].tolist() for name in curves), strict=True))
        ],
    }


def story_text(found: dict[str, Any]) -> str:
    """The facts of ``story`` to read."""
    run = found["run"]
    lines = [
        f"run {found['key']}: {found['status']}"
        + (f" at step {found['diverged_at']:.0f}" if found["diverged_at"] else "")
    ]
    lines += [f"  {found['reason']}"] if found["reason"] else []
    lines += [f"  stored in {found['folder']}; on {', '.join(found['machines'])}"]
    for axis in AXES:
        settings = ", ".join(f"{k} = {v}" for k, v in run[axis]["settings"].items())
        lines.append(f"  {axis:<10} {run[axis]['name']}" + (f": {settings}" if settings else ""))
    for name in ("lr", "seed", "batch_size", "accumulate", "precision", "steps", "eval_every", "target"):
        lines.append(f"  {name:<10} {run[name]}")
    lines.append(
        f"  trained by the {found['trainer']} trainer, {found['mode']}, {found['width']} at once, in "
        f"{found['train_seconds']:.3g} s"
    )
    if found["test_metric"] is not None:
        ends = ", ".join(
            f"{name.replace('_', ' ')} {found[name]:.5g}" for name in ("test_metric", "test_loss", "train_loss")
        )
        lines.append(f"  at the end: {ends}")
    lines.append(f"  {'step':>6} {'val loss':>10} {'val metric':>10}  lr of {', '.join(found['groups'])}")
    for at in found["evaluations"]:
        lrs = "  ".join("-" if lr is None else f"{lr:.4g}" for lr in at["lr"])
        lines.append(f"  {at['eval_step']:>6} {at['val_loss']:>10.5g} {at['val_metric']:>10.5g}  {lrs}")
    return "\n".join(lines)
