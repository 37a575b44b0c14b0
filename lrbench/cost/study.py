"""All costs of a study: the peaks of each device, its cases, and some runs timed whole to compare with what the costs predict."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch

from lrbench.config.cost import Case, Costs, Peak, StepCost, TimedRun
from lrbench.config.outcome import Status
from lrbench.config.run import Run
from lrbench.cost.cases import cases
from lrbench.cost.earlier import beside_earlier
from lrbench.cost.measure import Bench, Take, Turn, measure, unmeasured
from lrbench.device import Device, Telemetry, matmul_peak, name_of, settle, threads
from lrbench.plan import Plan
from lrbench.train import data_for, train
from lrbench.workloads import WORKLOADS, fetch

WHOLE = 2
"""How many runs of each workload are timed whole."""
WHOLE_SECONDS = 10.0
"""A run that would take longer is not timed whole."""

Tell = Callable[[str], None]


def measure_study(
    plan: Plan, devices: Sequence[Device], tell: Tell, take_on: Callable[[Device], Take], earlier: Costs | None = None
) -> Costs:
    """Measure every case of a plan on each device, one device after the other and nothing beside it.

    ``tell`` is called with a sentence on how far it is; ``take_on`` gives what takes a turn on a device, each in a process
    of its own; what differs from ``earlier`` costs of the same machine is marked.
    """
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    found = [_on_device(plan, device, tell, take_on(device)) for device in devices]
    whole = Costs(
        costs=tuple(cost for part in found for cost in part.costs),
        timed=tuple(run for part in found for run in part.timed),
        peaks=tuple(peak for part in found for peak in part.peaks),
        conditions={"threads": threads(), "torch": torch.__version__, "load_before": load}
        | {k: v for part in found for k, v in part.conditions.items()},
    )
    return beside_earlier(whole, earlier or Costs())


def _on_device(plan: Plan, device: Device, tell: Tell, take: Take) -> Costs:
    settle(device, threads())
    wanted = cases(plan)
    lost = fetch(one.case.run.workload.name for one in wanted)
    telemetry = Telemetry(device)
    peaks = {precision: _peak(device, precision) for precision in sorted({one.case.run.precision for one in wanted})}
    here = [one for one in wanted if one.case.run.workload.name not in lost]
    costs = measure(here, device, {precision: peak for precision, peak in peaks.items() if peak}, take, tell)
    costs += [
        unmeasured(one, device, lost[one.case.run.workload.name])
        for one in wanted
        if one.case.run.workload.name in lost
    ]
    conditions = {"energy_source": telemetry.energy_source, "energy_reason": telemetry.energy_reason}
    timed = _timed_whole(to_time(plan.possible, costs), device, telemetry)
    return Costs(tuple(costs), timed, tuple(peak for peak in peaks.values() if peak), conditions)


@dataclass(frozen=True)
class TurnTrial:
    """A turn as something to measure in a process of its own."""

    cases: tuple[Case, ...]
    first: bool

    def measure(self, device: Device) -> Turn:
        """The visits of the turn."""
        return Bench(device, Telemetry(device)).turn(self.cases, self.first)


def _peak(device: Device, precision: str) -> Peak | None:
    """The fastest matrix product of a precision, or None where the device has none."""
    try:
        flops_per_second, size = matmul_peak(device, precision)
    except (ValueError, RuntimeError):  # told by the cases of that precision, which fail for the same reason
        return None
    return Peak(name_of(device), precision, flops_per_second, size)


def to_time(runs: Iterable[Run], costs: Iterable[StepCost]) -> list[Run]:
    """Of each workload, ``WHOLE`` short runs of different optimizers whose step was measured: the lowest lrs, least apt to diverge."""
    seconds = {
        (cost.workload, *strategy): cost.seconds
        for cost in costs
        if cost.seconds is not None and not cost.varies
        for strategy in cost.strategies
    }
    chosen: dict[str, dict[str, Run]] = {}
    for run in sorted(runs, key=lambda run: (run.lr, run.key)):
        picked = chosen.setdefault(run.workload.label, {})
        step = seconds.get((run.workload.label, run.optimizer.label, run.layer_lr.label, run.schedule.label))
        if (
            len(picked) < WHOLE
            and run.optimizer.name not in picked
            and step is not None
            and step * run.steps <= WHOLE_SECONDS
        ):
            picked[run.optimizer.name] = run
    return [run for picked in chosen.values() for run in picked.values()]


def _timed_whole(runs: Sequence[Run], device: Device, telemetry: Telemetry) -> tuple[TimedRun, ...]:
    """Every run trained twice, in turn with the others; the faster time of each, since disturbances only add to it."""
    turns = [[_whole(run, device, telemetry) for run in runs] for _ in range(2)]
    return tuple(
        min(one, other, key=lambda run: run.seconds) for one, other in zip(*turns, strict=True) if one and other
    )


def _whole(run: Run, device: Device, telemetry: Telemetry) -> TimedRun | None:
    """A run trained whole and alone; None if it diverged, and so ended early.

    Evaluations are taken to draw as much power as training.
    """
    with telemetry.watch() as watched:
        outcome = train(run, WORKLOADS[run.workload.name], data_for(run, device), device)
    if outcome.status == Status.DIVERGED:
        return None
    strategy = {axis: getattr(run, axis).label for axis in ("workload", "optimizer", "layer_lr", "schedule")}
    share = outcome.train_seconds / watched.seconds
    joules = None if watched.joules is None else watched.joules * share
    return TimedRun(
        key=run.key,
        device=name_of(device),
        **strategy,
        steps=outcome.steps,
        seconds=outcome.train_seconds,
        joules=joules,
    )
