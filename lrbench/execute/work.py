"""Some runs on one device, whatever happens: the function that workers call."""

import signal
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch

from lrbench.device import Device, deterministic
from lrbench.plan import load_plugins
from lrbench.spec.outcome import Outcome, Status
from lrbench.spec.run import Run
from lrbench.train import Checkpoint, Interrupted, Population, dtype_of, train
from lrbench.workloads import WORKLOADS, Data

Unit = Sequence[Run]
"""Runs that one worker trains at a time: a single one, or a population."""
Done = tuple[Run, Outcome]


@dataclass
class Worker:
    """What a worker process knows: its device, where checkpoints go, and whether it was asked to stop."""

    device: Device
    checkpoints: Path
    stop: Callable[[], bool] = field(default=lambda: False)

    def carry_out(self, unit: Unit) -> list[Done]:
        """Train the runs of a unit, together if they are several. What is missing of the answer was interrupted."""
        if len(unit) == 1:
            return self._alone(unit[0])
        try:
            population = Population(unit, WORKLOADS[unit[0].workload.name], data_for(unit[0], self.device), self.device)
            return list(population.train(self.stop))
        except Interrupted:
            return []
        except torch.OutOfMemoryError:
            half = len(unit) // 2
            torch.cuda.empty_cache()
            return self.carry_out(unit[:half]) + self.carry_out(unit[half:])
        except Exception:  # noqa: BLE001 - one member's fault is no other's: trained alone, each tells its own
            return [done for run in unit for done in self._alone(run)]

    def _alone(self, run: Run) -> list[Done]:
        """Train a run with the reference trainer; an error becomes a crashed outcome. Interrupted, it goes on from its checkpoint later."""
        checkpoint = Checkpoint(self.checkpoints / f"{run.key}.pt", stop=self.stop)
        try:
            outcome = train(run, WORKLOADS[run.workload.name], data_for(run, self.device), self.device, checkpoint)
        except Interrupted:
            return []
        except Exception as error:  # noqa: BLE001 - a failed run is a value; the study goes on
            checkpoint.clear()
            return [(run, crashed(run, f"{type(error).__name__}: {error} ({_where(error)})"))]
        checkpoint.clear()
        return [(run, outcome)]


def crashed(run: Run, reason: str) -> Outcome:
    """The outcome of a run that failed."""
    return Outcome(key=run.key, status=Status.CRASHED, reason=" ".join(reason.split())[:500])


def _where(error: Exception) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"


def data_for(run: Run, device: Device) -> Data:
    """The data that a run trains on, in its type."""
    return placed(run.workload.name, device, dtype_of(run))


@cache
def placed(name: str, device: Device, dtype: torch.dtype) -> Data:
    """A workload's data on a device; loaded and moved once per process."""
    return WORKLOADS[name].data().to(device, dtype)


_worker: Worker


def start(devices: Any, checkpoints: Path, stop: Any, plugins: Sequence[Path]) -> None:
    """Set a worker process up; ``devices`` is a queue from which each takes one. Ctrl-C is the parent's to handle."""
    global _worker  # noqa: PLW0603 - a process pool has no other place for what a worker keeps
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    load_plugins(plugins)
    device = torch.device(devices.get())
    deterministic()
    _worker = Worker(device, checkpoints, stop.is_set)


def work(unit: Unit) -> list[Done]:
    """What a worker process does with a unit of runs."""
    return _worker.carry_out(unit)
