"""One run on one device, whatever happens: the function that workers call."""

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
from lrbench.train import Checkpoint, Interrupted, train
from lrbench.workloads import WORKLOADS, Data


@dataclass
class Worker:
    """What a worker process knows: its device, where checkpoints go, and whether it was asked to stop."""

    device: Device
    checkpoints: Path
    stop: Callable[[], bool] = field(default=lambda: False)

    def carry_out(self, run: Run) -> Outcome | None:
        """Train a run; an error becomes a crashed outcome. None if asked to stop: the run goes on from its checkpoint next time."""
        checkpoint = Checkpoint(self.checkpoints / f"{run.key}.pt", stop=self.stop)
        dtype = torch.float64 if run.precision == "fp64" else torch.float32
        try:
            outcome = train(run, WORKLOADS[run.workload.name], placed(run.workload.name, self.device, dtype), self.device, checkpoint)
        except Interrupted:
            return None
        except Exception as error:  # noqa: BLE001 - a failed run is a value; the study goes on
            checkpoint.clear()
            return crashed(run, f"{type(error).__name__}: {error} ({_where(error)})")
        checkpoint.clear()
        return outcome


def crashed(run: Run, reason: str) -> Outcome:
    """The outcome of a run that failed."""
    return Outcome(key=run.key, status=Status.CRASHED, reason=" ".join(reason.split())[:500])


def _where(error: Exception) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"


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


def work(run: Run) -> Outcome | None:
    """What a worker process does with a run."""
    return _worker.carry_out(run)
