"""How long a plan will take, from a few timed steps of each kind of run."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lrbench.device import Device
from lrbench.execute.work import placed
from lrbench.spec.run import Run
from lrbench.train import Training
from lrbench.workloads import WORKLOADS

STEPS, WARM_UP = 8, 2


@dataclass(frozen=True)
class Estimate:
    """Seconds of one worker for the runs that could be timed, by key, and the wall-clock seconds for all of them on so many workers.

    ``unknown`` names the workloads whose data or weights are not here yet: timing them would fetch or make them.
    """

    seconds: dict[str, float]
    workers: int
    unknown: tuple[str, ...] = ()

    @property
    def wall(self) -> float:
        """The sum over the workers, and a few seconds for them to start."""
        return sum(self.seconds.values()) / self.workers + (3.0 if self.seconds else 0.0)


def estimate(runs: Sequence[Run], device: Device, workers: int) -> Estimate:
    """Time a few steps and one evaluation for each combination of workload, optimizer, batch size and precision."""
    costs: dict[tuple[str, ...], tuple[float, float]] = {}
    seconds = {}
    names = dict.fromkeys(run.workload.name for run in runs)
    unknown = tuple(name for name in names if not WORKLOADS[name].prepared())
    for run in (r for r in runs if r.workload.name not in unknown):
        kind = (run.workload.name, run.optimizer.name, str(run.batch_size), str(run.accumulate), run.precision)
        if kind not in costs:
            try:
                costs[kind] = _measure(run, device)
            except Exception:  # noqa: BLE001 - it will crash, or be skipped for want of data, just as quickly
                costs[kind] = 0.0, 0.0
        step, evaluation = costs[kind]
        seconds[run.key] = step * run.steps + evaluation * (run.steps // run.eval_every + 2)
    return Estimate(seconds, workers, unknown)


def _measure(run: Run, device: Device) -> tuple[float, float]:
    """Seconds of one step and of one evaluation."""
    dtype = torch.float64 if run.precision == "fp64" else torch.float32
    with torch.random.fork_rng(devices=[]):
        long_enough = run.model_copy(update={"steps": max(run.steps, WARM_UP + STEPS)})
        training = Training(long_enough, WORKLOADS[run.workload.name], placed(run.workload.name, device, dtype), device)
        training.evaluate()
        training.advance(WARM_UP)
        before = dict(training.clocks.seconds)
        training.advance(STEPS)
    after = training.clocks.seconds
    return (after["train"] - before["train"]) / STEPS, after["eval"] - before["eval"]


def spoken(seconds: float) -> str:
    """A duration for people.

    >>> spoken(42.3), spoken(95), spoken(7300)
    ('42 s', '1 min 35 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
