"""Studies with a known answer: runs whose curves come from a formula.

Every optimizer has an optimum lr. With ``d`` the distance of an lr from it in decades and ``k = lr / optimum``, the
training descends to ``FLOOR + 0.3 min(d, 2)^2`` at a speed that grows with ``k``, oscillates with an amplitude that
grows with ``k``, and diverges from ``k = 30``. A schedule other than the constant one takes ``0.05`` off the floor.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lrbench.config.cost import Costs, Peak, StepCost, TimedRun
from lrbench.config.outcome import Outcome, Status
from lrbench.config.run import Choice, Run
from lrbench.store import Store, Study, load
from lrbench.store.costs import write_costs

LRS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
OPTIMA = {"sgd(momentum=0.9)": 1e-1, "adam": 1e-2, "adamw(weight_decay=0.1)": 1e-2, "rmsprop": 1e-3}
STEPS, EVERY, START, FLOOR = 60, 3, 2.3, 0.3
CLIFF = 30.0

Change = Callable[[Run, Outcome], Outcome]


def choice(label: str) -> Choice:
    """A choice whose label is its identity."""
    return Choice(name=label.partition("(")[0], revision=1, settings={"label": label}, label=label)


def train(run: Run, *, higher_is_better: bool = True) -> Outcome:
    """The outcome of a run by the formula; the seed shifts it a little, the same for every strategy."""
    name = run.optimizer.label
    k = run.lr / OPTIMA.get(name, 1e-2)
    rng = np.random.default_rng(int(run.key, 16))
    noise = np.random.default_rng(run.seed).normal(0.0, 0.01) + rng.normal(0.0, 0.003)
    floor = FLOOR + 0.3 * min(abs(np.log10(k)), 2.0) ** 2 - 0.05 * (run.schedule.label != "constant") + noise
    t = np.arange(run.steps + 1)
    curve = (
        floor + (START - floor) * np.exp(-0.15 * np.sqrt(k) * t) + 0.02 * np.sqrt(k) * np.abs(np.sin(0.9 * t)) * (t > 0)
    )
    diverged_at = 5 if k >= CLIFF else None
    if diverged_at:
        curve = np.minimum(START * 1.6**t, 1e30)
    done = diverged_at - 1 if diverged_at else run.steps
    step = np.arange(0, done + 1, run.eval_every)
    val_loss = curve[step]
    metric = 1.0 - val_loss / (START + 0.3) if higher_is_better else val_loss
    hit = (metric >= run.target) if higher_is_better else (metric <= run.target)
    falls = run.schedule.label != "constant"
    group_lr = run.lr * (1.0 - 0.99 * falls * step / run.steps)
    return Outcome(
        key=run.key,
        status=Status.DIVERGED if diverged_at else Status.REACHED if hit.any() else Status.MISSED,
        diverged_at=diverged_at,
        eval_step=step.astype(np.int32),
        val_metric=metric.astype(np.float32),
        val_loss=val_loss.astype(np.float32),
        train_loss=float(0.9 * val_loss[-1]),
        step_loss=(curve[:done] + 0.01 * rng.random(done)).astype(np.float32),
        groups=("all",),
        group_lr=group_lr[:, None],
        test_metric=None if diverged_at else float(metric[-1]) - 0.01,
        test_loss=None if diverged_at else float(val_loss[-1]) + 0.01,
        train_seconds=0.01 * done,
        eval_seconds=0.1,
    )


def crash(run: Run, _: Outcome) -> Outcome:
    """The outcome of a run that crashed."""
    return Outcome(key=run.key, status=Status.CRASHED, reason="RuntimeError: out of memory")


def diverge(_: Run, outcome: Outcome) -> Outcome:
    """The outcome of a run that diverged at its first step."""
    first = {
        name: getattr(outcome, name)[:1] for name in ("eval_step", "val_metric", "val_loss", "step_loss", "group_lr")
    }
    return replace(outcome, status=Status.DIVERGED, diverged_at=1, test_metric=None, test_loss=None, **first)


def study(
    folder: Path,
    *,
    workloads: Sequence[str] = ("digits_mlp", "mnist_cnn"),
    optimizers: Sequence[str] = ("sgd(momentum=0.9)", "adam", "rmsprop"),
    layer_lrs: Sequence[str] = ("uniform",),
    schedules: Sequence[str] = ("constant", "cosine"),
    lrs: Sequence[float] = LRS,
    seeds: Sequence[int] = range(5),
    batch_sizes: Sequence[int] = (32,),
    target: float = 0.8,
    higher_is_better: bool = True,
    limits: dict[str, Any] | None = None,
    change: Change | None = None,
    skipped: Sequence[tuple[str, str]] = (),
    machine: dict[str, Any] | None = None,
    costs: Costs | None = None,
) -> Study:
    """Write and load a study of the full product.

    ``change`` may replace any outcome, ``skipped`` pairs an optimizer with a reason, ``limits`` are facts of all
    workloads, such as ``lowest_loss``.
    """
    axes = {"workloads": workloads, "optimizers": optimizers, "layer_lrs": layer_lrs, "schedules": schedules}
    runs = [
        Run(workload=choice(w), optimizer=choice(o), layer_lr=choice(p), schedule=choice(s), lr=lr, batch_size=b, accumulate=1,
            precision="fp32", steps=STEPS, eval_every=EVERY, target=target, seed=seed)
        for w in workloads for o in optimizers for p in layer_lrs for s in schedules for lr in lrs for b in batch_sizes for seed in seeds
    ]  # fmt: skip
    done = [(run, train(run, higher_is_better=higher_is_better)) for run in runs]
    if change:
        done = [(run, change(run, outcome)) for run, outcome in done]
    store = Store(folder)
    store.describe(
        facts(axes, seeds, target, higher_is_better=higher_is_better, **(limits or {})),
        MACHINE | (machine or {}),
        _skipped(skipped, workloads, seeds),
    )
    if costs:
        write_costs(folder, costs)
    half = len(done) // 2
    for name, part in (("a", done[:half]), ("b", done[half:])):
        store.write(name, part)
    return load(folder)


def _skipped(pairs: Sequence[tuple[str, str]], workloads: Sequence[str], seeds: Sequence[int]) -> pd.DataFrame:
    columns = ["key", "workload", "optimizer", "layer_lr", "schedule", "lr", "seed", "reason"]
    rows = [
        (f"{i:02}{w}{s}", w, name, "uniform", "constant", 0.1, s, why)
        for i, (name, why) in enumerate(pairs) for w in workloads for s in seeds
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def facts(
    axes: dict[str, Sequence[str]], seeds: Sequence[int], target: float, *, higher_is_better: bool, **limits: Any
) -> dict[str, Any]:
    """What ``study.toml`` says of such a study."""
    workload = {
        "meaning": "Handwritten digits, 8 x 8, by a small network.",
        "metric": "accuracy" if higher_is_better else "loss",
        "higher_is_better": higher_is_better,
        "target": target,
        "target_reason": "what a tuned baseline reaches in half of the budget",
        "steps": STEPS,
        "batch_size": 32,
        "source": "scikit-learn",
        "licence": "BSD-3",
        "layers": ["input", "hidden", "head"],
        "parameters": 4810,
        "train_examples": 1000,
        "validation_examples": 400,
        "test_examples": 397,
    } | limits
    entry = {"meaning": "An entry | of a catalog.", "source": "somebody 2020, arXiv:2001.00001", "settings": {}}
    return {
        "matrix": {"name": "synthetic", "seeds": list(seeds)},
        "workloads": {label: {"name": label.partition("(")[0]} | workload for label in axes["workloads"]},
        "optimizers": {
            label: {"name": label.partition("(")[0], "default_lr": 1e-3} | entry for label in axes["optimizers"]
        },
        "layer_lrs": {label: {"name": label.partition("(")[0]} | entry for label in axes["layer_lrs"]},
        "schedules": {label: {"name": label.partition("(")[0]} | entry for label in axes["schedules"]},
    }


MACHINE: dict[str, Any] = {
    "slug": "cpu-2", "kind": "cpu", "model": "Synthetic CPU", "count": 1, "cores": 2, "memory_gib": 8, "threads_per_worker": 1,
    "torch": "2.14.1", "python": "3.11.9", "cuda": None, "driver": None, "os": "Linux", "packages": {"numpy": "2.4.0"},
    "commit": "0123456789abcdef", "dirty": False,
}  # fmt: skip


SLOWNESS = {"sgd(momentum=0.9)": 1.0, "adam": 1.5, "rmsprop": 1.25}
"""What a step of each optimizer costs, as a multiple of that of sgd."""


def step_cost(
    workload: str, optimizer: str, seconds: float, *, strategies: Sequence[tuple[str, str, str]] = (), **more: Any
) -> StepCost:
    """A measured step; quartiles 2 % around the median, 50 W, a quarter of the time in the optimizer."""
    case = {
        "device": "fake:0", "layer_lr": "uniform", "schedule": "constant", "batch_size": 32, "accumulate": 1, "precision": "fp32",
        "implementation": "default", "grouping": "policy", "compiled": False, "from_step": 0, "groups": 1,
    }  # fmt: skip
    measured = {
        "seconds": seconds, "seconds_low": 0.98 * seconds, "seconds_high": 1.02 * seconds, "windows": 14, "window_steps": 20,
        "samples_per_second": 32 / seconds, "forward_share": 0.3, "backward_share": 0.4, "optimizer_share": 0.25, "scheduler_share": 0.01,
        "peak_bytes": 3_000_000, "flops": 924_000.0, "flops_per_second": 924_000 / seconds, "peak_share": 0.02, "joules": 50.0 * seconds,
    }  # fmt: skip
    return StepCost(workload=workload, optimizer=optimizer, strategies=tuple(strategies), **(case | measured | more))


def step_costs(
    unit: float = 1e-3,
    *,
    workloads: Sequence[str] = ("digits_mlp", "mnist_cnn"),
    slowness: dict[str, float] | None = None,
    schedules: Sequence[str] = ("constant", "cosine"),
    **more: Any,
) -> Costs:
    """Costs of the strategies of ``study``: ``unit`` seconds a step, times the optimizer's slowness, times 2 on the second workload.

    One case stands for all schedules. Besides, how sgd's groups and implementations cost, in closed form: foreach
    halves the time, each group of a parameter's own adds a tenth.
    """
    found, factor = [], SLOWNESS | (slowness or {})
    for scale, workload in enumerate(workloads, 1):
        for name, slow in factor.items():
            strategies = [(name, "uniform", schedule) for schedule in schedules]
            found.append(step_cost(workload, name, scale * slow * unit, strategies=strategies, **more))
        for how, speed in (("for-loop", 1.0), ("foreach", 0.5)):
            for grouping, count in (("one", 1), ("parameter", 4)):
                seconds = scale * unit * speed * (1 + 0.1 * (count - 1))
                kind = {"implementation": how, "grouping": grouping, "groups": count}
                found.append(step_cost(workload, "sgd(momentum=0.9)", seconds, **(more | kind)))
    found.append(replace(step_cost(workloads[0], "rmsprop", unit, **more), **UNMEASURED))
    return Costs(
        tuple(found), peaks=(Peak("fake:0", "fp32", 1e12, 2048),), conditions={"threads": 1, "load_before": 0.1}
    )


UNMEASURED: dict[str, Any] = dict.fromkeys(
    ["seconds", "seconds_low", "seconds_high", "samples_per_second", "flops_per_second", "peak_share", "joules"]
)
UNMEASURED |= {"implementation": "fused", "reason": "rmsprop has no fused implementation"}


def timed(study: Study, key: str, *, ratio: float) -> TimedRun:
    """A run of a study timed whole, which took ``ratio`` times what the study's costs predict of a run at one cost throughout."""
    row = study.runs.set_index("key").loc[key]
    axes = {axis: row[axis] for axis in ("workload", "optimizer", "layer_lr", "schedule")}
    cost = next(
        c for c in study.costs.costs if c.workload == row.workload and c.optimizer == row.optimizer and c.strategies
    )
    return TimedRun(key=key, device=cost.device, **axes, steps=STEPS, seconds=ratio * (cost.seconds or 0.0) * STEPS)


def fake(letter: str, **facts: Any) -> dict[str, Any]:
    """The facts of an imaginary machine, ``fake-gpu-<letter>``."""
    return {
        "slug": f"fake-gpu-{letter}", "kind": "cuda", "model": f"Fake GPU {letter.upper()}", "count": 1, "driver": "1.0", "cuda": "13.0",
    } | facts  # fmt: skip


def delayed(by: int, optimizer: str) -> Change:
    """Runs of an optimizer learn the same, but every evaluation comes ``by`` steps later."""

    def change(run: Run, outcome: Outcome) -> Outcome:
        late = np.where(outcome.eval_step > 0, outcome.eval_step + by, 0).astype(np.int32)
        return replace(outcome, eval_step=late) if run.optimizer.label == optimizer else outcome

    return change
