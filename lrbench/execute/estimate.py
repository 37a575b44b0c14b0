"""How long a plan will take, from a few timed steps of each kind of run."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lrbench.config.run import Run
from lrbench.device import Device
from lrbench.execute.autotune import STEPS, WARM_UP, StepTimings, cost, divide, kind
from lrbench.execute.executor import Task
from lrbench.train import Training, data_for
from lrbench.workloads import WORKLOADS


@dataclass(frozen=True)
class Estimate:
    """The tasks that the runs would be divided into, each with its seconds, and the wall-clock seconds for all of them on so many workers.

    ``unknown`` names the workloads whose data or weights are not here yet: timing them would fetch or make them.
    """

    tasks: tuple[Task, ...]
    workers: int
    unknown: tuple[str, ...] = ()

    @property
    def wall(self) -> float:
        """The sum over the workers, and a few seconds for them to start."""
        return sum(task.seconds for task in self.tasks) / self.workers + (3.0 if self.tasks else 0.0)


def estimate(runs: Sequence[Run], device: Device, workers: int) -> Estimate:
    """Time a few steps of each kind of run, as it would be trained. Writes nothing, and makes nothing that takes longer than it saves.

    Faster modes count as far as they were measured by an earlier run.
    """
    costs: dict[tuple[str, ...], float] = {}
    names = dict.fromkeys(run.workload.name for run in runs)
    unknown = tuple(name for name in names if not WORKLOADS[name].prepared())
    here = [run for run in runs if run.workload.name not in unknown]
    timings = StepTimings(device, workers)
    known = timings.known | {
        kind(run): timing for run, timing in (trial.measure(device) for trial in timings.unknown(here, fast=False))
    }
    tasks = divide(here, known, workers)
    singles = [
        replace(task, seconds=task.runs[0].steps * _alone(task.runs[0], device, costs))
        for task in tasks
        if task.is_single
    ]
    return Estimate((*(task for task in tasks if not task.is_single), *singles), workers, unknown)


def _alone(run: Run, device: Device, costs: dict[tuple[str, ...], float]) -> float:
    known = (run.workload.name, run.optimizer.name, str(run.batch_size), str(run.accumulate), run.precision)
    if known not in costs:
        try:
            costs[known] = _measure(run, device)
        except Exception:  # noqa: BLE001 - it will crash, or be skipped for want of data, just as quickly
            costs[known] = 0.0
    return costs[known]


def _measure(run: Run, device: Device) -> float:
    """Seconds of one step and its share of an evaluation."""
    workload = WORKLOADS[run.workload.name]
    data = data_for(run, device)
    long_enough = run.but(steps=max(run.steps, WARM_UP + STEPS))
    return cost(lambda: Training(long_enough, workload, data, device), run.eval_every)
