"""The proof of equality, on the user's own machine and model: populations against the reference trainer, rule by rule."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from lrbench.config.faults import BadInput, nearest
from lrbench.config.matrix import parse_matrix
from lrbench.config.outcome import mode_used
from lrbench.config.run import Run
from lrbench.device import Device, fast_modes
from lrbench.plan import make_plan, vocabulary
from lrbench.train import Population, Training, alone, data_for
from lrbench.train.rules import RULES
from lrbench.workloads import WORKLOADS

STEPS = 50
POLICIES = ("uniform", "depth-decay", "bias-norm", "head-only", "gradual-unfreezing")
SCHEDULES = ("constant", {"name": "cosine", "warmup": 0.2}, "step", "plateau")


@dataclass(frozen=True)
class Finding:
    """One rule in one mode: the largest difference of a weight, a training loss and an lr from the reference trainer's.

    Each relative to the largest number of its parameter, or to itself. ``runs`` members were trained together,
    ``STEPS`` steps in float64; ``compared`` are those that ended. The others diverged, at the same step either way.
    """

    workload: str
    optimizer: str
    mode: str
    runs: int
    weights: float
    losses: float
    lrs: float
    compared: int

    @property
    def bound(self) -> float:
        """What the differences must not exceed."""
        return RULES[self.optimizer].agrees_within

    @property
    def holds(self) -> bool:
        """Whether population and reference trainer agree, in the mode that was asked for, on a run at least."""
        return self.compared > 0 and not self.given_up and max(self.weights, self.losses, self.lrs) <= self.bound

    @property
    def given_up(self) -> bool:
        """Whether the mode that was asked for was not used."""
        used, note = mode_used(self.mode)
        return used == "eager" and bool(note)


def verify(workloads: Sequence[str], device: Device, optimizers: Sequence[str] | None = None) -> Iterator[Finding]:
    """Train the optimizers that have a rule under several policies and schedules, one by one and together, in each mode of the device.

    Raises: BadInput for an unknown workload or optimizer.
    """
    words = vocabulary()
    if unknown := [name for name in workloads if name not in words["workload"]]:
        raise BadInput(
            f"--workload {name}: no workload is called so. {nearest(name, words['workload'])}" for name in unknown
        )
    for name in workloads:
        budget = {name: {"steps": STEPS, "eval_every": STEPS // 5}}
        for optimizer in optimizers or [n for n, entry in words["optimizer"].items() if not entry.needs]:
            matrix = {
                "name": "verify",
                "workload": name,
                "optimizer": optimizer,
                "layer_lr": list(POLICIES),
                "schedule": list(SCHEDULES),
            }
            asked = parse_matrix(matrix | {"seed": 0, "precision": "fp64", "budget": budget}, words)
            possible = make_plan(asked).possible
            runs = [run.but(seed=i % 2) for i, run in enumerate(possible) if not alone(run)]
            if runs:
                yield from _of_rule(runs, device)


def _of_rule(runs: Sequence[Run], device: Device) -> Iterator[Finding]:
    workload, data = WORKLOADS[runs[0].workload.name], data_for(runs[0], device)
    expected = {run.key: _one_by_one(run, device) for run in runs}
    for mode in ("eager", *fast_modes(device)):
        population = Population(runs, workload, data, device, mode=mode, width=len(runs))
        for _ in range(STEPS // runs[0].eval_every):
            population.advance(runs[0].eval_every)
        worst, compared = {"weights": 0.0, "losses": 0.0, "lrs": 0.0}, 0
        for row, member in enumerate(population.members):
            if member:
                weights, losses, lrs, diverged_at = expected[member.run.key]
                if (
                    diverged_at or population.record.diverged_at[row]
                ):  # after it there is nothing to compare; it must be the same step
                    worst["losses"] = max(
                        worst["losses"], 0.0 if diverged_at == population.record.diverged_at[row] else float("inf")
                    )
                    continue
                compared += 1
                found = {name: value[row] for name, value in population.slots.params.items()}
                worst["weights"] = max(worst["weights"], *(_far(found[name], weights[name]) for name in found))
                worst["losses"] = max(
                    worst["losses"], _relative(population.record.loss[row].astype(float), losses, 1e-6)
                )
                worst["lrs"] = max(worst["lrs"], _relative(member.used(STEPS), lrs))
        yield Finding(workload.name, runs[0].optimizer.name, population.mode, len(runs), **worst, compared=compared)


def _one_by_one(run: Run, device: Device) -> tuple[dict[str, Tensor], Any, Any, int]:
    """Weights, losses and lrs of the reference trainer, and the step at which it diverged, or 0."""
    training = Training(run, WORKLOADS[run.workload.name], data_for(run, device), device)
    training.evaluate()
    while training.done < STEPS and not training.diverged:
        training.advance(run.eval_every)
    losses, lrs = (
        training.record.loss[0].astype(float),
        np.concatenate([np.zeros((0, len(training.groups))), *training.lrs]),
    )
    return training.model.state_dict(), losses, lrs, int(training.record.diverged_at[0])


def _far(found: Tensor, expected: Tensor) -> float:
    """The largest difference, of the largest number; infinite where a number is missing."""
    far = float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-300))
    return far if far == far else float("inf")  # noqa: PLR0124 - so NaN is told from all else


def _relative(found: Any, expected: Any, rounding: float = 0.0) -> float:
    """The largest relative difference beyond the rounding with which the numbers are kept; infinite where one is missing."""
    if not (np.isnan(found) == np.isnan(expected)).all():
        return float("inf")
    far = np.abs(found - expected) / np.maximum(np.abs(expected), 1e-300)
    return float(np.nanmax(np.where(far <= rounding, 0.0, far), initial=0.0))


def _verdict(found: Finding) -> str:
    if found.holds:
        return "agrees"
    if found.given_up:
        return "NOT USED"
    if found.compared or found.losses:
        return f"DIFFERS by more than {found.bound:g}"
    return "NOTHING TO COMPARE: all diverged"


def table(findings: Sequence[Finding]) -> list[str]:
    """Findings to read, a line each."""
    return [
        f"{found.workload:<16} {found.optimizer:<12} {found.mode:<9} {found.runs:>3} runs   weights "
        f"{found.weights:.1e}   "
        f"losses {found.losses:.1e}   lrs {found.lrs:.1e}   {_verdict(found)}"
        for found in findings
    ]
