"""Trials of plug-ins before their first run: can it be repeated and resumed, and is the update proportional to lr?"""

from collections import deque
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lrbench.config.faults import message_of
from lrbench.config.run import Run
from lrbench.device import deterministic
from lrbench.strategies import OPTIMIZERS
from lrbench.strategies.composite import innermost
from lrbench.train.checkpoint import from_bytes, to_bytes
from lrbench.train.notices import say_once
from lrbench.train.reference import Training
from lrbench.train.seeds import own_generators
from lrbench.workloads import Data, Split, Workload

STEPS = 4
"""A trial has twice as many steps, with an evaluation after each half."""
OF_TORCH = {
    "_opt_called",
    "_step_count",
    "_get_lr_called_within_step",
    "_is_initial",
    "optimizer",
    "defaults",
    "_numel_cache",
}
"""Attributes that torch's optimizers and schedulers hold for themselves, or of each other."""
PROPORTIONALITY_TOLERANCE = 1e-3
"""How far twice the update at half the lr may be from the update, as a share of the update."""


class UnrepeatableError(Exception):
    """A strategy gives another result each time, so that its results would be chance."""


@dataclass(frozen=True)
class Findings:
    """What is wrong with the runs of a strategy, as messages; empty where nothing is."""

    unrepeatable: str = ""
    unresumable: str = ""
    disproportionate: str = ""


class Trial(Training):
    """A training for a trial. It evaluates one batch, and records no evaluation."""

    def evaluate(self) -> None:
        """Evaluate as a training does after an interval."""
        part, n = self.data.validation, self.run.batch_size
        self.last = self._score(Split(part.x[:n], part.y[:n])).cpu()
        if self.done:
            self.pacer.after_evaluation(*self.last.tolist())

    def go_on(self, *parts: int) -> "Trial":
        """Train some parts of so many steps, with an evaluation before the first part and after each."""
        if not self.done:
            self.evaluate()
        for steps in parts:
            if steps and not self.diverged:
                self.advance(steps)
        return self

    def results(self) -> dict[str, Any]:
        """Losses, lrs, the last evaluation and weights, to be compared bit for bit."""
        curves = {"losses": self.record.loss[0], "lrs": np.concatenate(self.lrs), "evaluations": self.last}
        weights = {f"weights: {k}": v for k, v in self.model.state_dict().items() if isinstance(v, Tensor)}
        return {name: plainly(value) for name, value in (curves | weights).items()}

    def state(self) -> dict[str, Any]:
        """All attributes of optimizer and scheduler, in ``state_dict`` or not, as plain values."""
        holders = (innermost(self.optimizer), getattr(self.pacer, "scheduler", None))
        each = {type(holder).__name__: plainly(holder) for holder in holders}
        held = {owner: values for owner, values in each.items() if isinstance(values, dict)}
        return {f"{owner}.{name}": value for owner, values in held.items() for name, value in values.items()}


Make = Callable[[Run], Trial]
_known: dict[Hashable, Findings] = {}


def try_out(run: Run, workload: Workload, data: Data, device: torch.device) -> Findings:
    """Try runs like this one, once per process, and print what is wrong. Runs without a plug-in need no trial.

    Raises: UnrepeatableError when they give another result each time; whatever the run would raise in its first steps.
    """
    if not run.has_plugin:
        return Findings()
    parts = tuple(c.model_dump_json() for c in (run.workload, run.optimizer, run.layer_lr, run.schedule))
    key = (parts, workload, run.batch_size, run.accumulate, run.precision, device)
    if key not in _known:
        deterministic()
        with own_generators(device):
            _known[key] = findings = tried(run, lambda run: Trial(run, workload, data, device))
        if findings.unresumable:
            say_once(
                f"{run.workload.label}: {run.strategy}: {findings.unresumable}; no checkpoint is saved: a run that is "
                f"interrupted starts again"
            )
        if findings.disproportionate:
            say_once(findings.disproportionate)
    if _known[key].unrepeatable:
        raise UnrepeatableError(_known[key].unrepeatable)
    return _known[key]


def tried(run: Run, make: Make) -> Findings:
    """Train a few steps of a run several times. Leaves the global generators in any state."""
    half = max(1, min(STEPS, run.steps // 2))
    rest = min(half, run.steps - half)
    expected = make(run).go_on(half, rest).results()
    again = make(run).go_on(half)
    state = again.state()
    try:
        saved: bytes | Exception = to_bytes(again.state_dict())
    except Exception as error:  # noqa: BLE001 - a plug-in's state may refuse in any way
        saved = error
    if differing := _first_difference(expected, again.go_on(rest).results()):
        return Findings(
            unrepeatable=f"trained twice from the same seed, it gave other {differing}. Likely causes: a generator "
            "that is not seeded, such as numpy.random.default_rng(); one that all runs share; an order that depends on "
            "hashes or ids; the time"
        )
    return Findings(
        unresumable=_unresumable(run, make, saved, state, expected, rest),
        disproportionate=_disproportionate(run, make, half),
    )


def _unresumable(
    run: Run, make: Make, saved: bytes | Exception, state: dict[str, Any], expected: dict[str, Any], rest: int
) -> str:
    if isinstance(saved, Exception):
        return f"its state cannot be saved ({message_of(saved)})"
    try:
        resumed = make(run)
        resumed.load_state_dict(from_bytes(saved))
        if lacking := _first_difference(state, resumed.state()):
            return f"what it saves is not all of its state: it leaves out {lacking}"
        differing = _first_difference(expected, resumed.go_on(rest).results()) if rest else ""
    except Exception as error:  # noqa: BLE001 - as above
        return f"its saved state cannot be restored ({message_of(error)})"
    return f"what it saves is not all of its state: gone on from there, it gave other {differing}" if differing else ""


def _first_difference(expected: dict[str, Any], actual: dict[str, Any]) -> str:
    return next((name for name in expected if name not in actual or actual[name] != expected[name]), "")


def plainly(value: Any, depth: int = 6) -> Any:
    """A value as plain values to compare: tensors and arrays as bytes, objects as their attributes, without code."""
    if isinstance(value, Tensor | np.ndarray | np.generic):
        array = value.detach().cpu().resolve_conj() if isinstance(value, Tensor) else torch.from_numpy(np.array(value))
        dense = array.to_dense() if array.layout != torch.strided else array
        return (
            str(dense.dtype),
            tuple(dense.shape),
            dense.reshape(-1).contiguous().view(torch.uint8).numpy().tobytes(),
        )
    if isinstance(value, bool | int | float | str | bytes | None):
        return repr(value)
    if depth == 0 or callable(value):
        return type(value).__name__
    if isinstance(value, Mapping):
        return {repr(plainly(k, depth - 1)): plainly(v, depth - 1) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset | deque):
        return [plainly(item, depth - 1) for item in value]
    held = {name: v for name, v in getattr(value, "__dict__", {}).items() if name not in OF_TORCH and not callable(v)}
    if isinstance(value, Optimizer):
        held = {name: v for name, v in held.items() if name not in ("state", "param_groups")} | Optimizer.state_dict(
            value
        )
    return {name: plainly(v, depth - 1) for name, v in held.items() if not isinstance(v, nn.Module)}


def _disproportionate(run: Run, make: Make, done: int) -> str:
    """A message if an optimizer's update, weight decay apart, is not proportional to lr, unless its flags say so."""
    if OPTIMIZERS[run.optimizer.name].flags & {"no_schedule", "not_proportional"}:
        return ""
    try:
        whole, half = (_update(make(run.but(precision="fp64")).go_on(done), share) for share in (1.0, 0.5))
    except Exception:  # noqa: BLE001 - such as a model that computes in float32 alone: then nothing is known
        return ""
    far = max(float((2.0 * h - w).norm() / w.norm().clamp(min=1e-300)) for w, h in zip(whole, half, strict=True))
    if not far > PROPORTIONALITY_TOLERANCE:
        return ""
    return (
        f"the update of {run.optimizer.label!r} is not proportional to the lr: twice the update at half the lr is "
        f"{far:.2g} of it away. Schedules and layer multipliers do not scale its steps as they say; the flag "
        "not_proportional tells that this is meant"
    )


def _update(trial: Trial, share: float) -> list[Tensor]:
    """The change of each parameter in the next step, at a share of its lr."""
    if trial.is_staged:
        trial.optimizer.join(trial.done)
    for group in trial.optimizer.param_groups:
        group["lr"] = group["lr"] * share
        if "weight_decay" in group:
            group["weight_decay"] = 0.0
    before = [p.detach().clone() for p in trial.model.parameters()]
    trial.step(trial.order(trial.done))
    return [p.detach() - b for p, b in zip(trial.model.parameters(), before, strict=True)]
