"""Some runs on one device, whatever happens: the function that workers call."""

import os
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from lrbench.config.faults import message_of, one_line
from lrbench.config.outcome import Outcome, Status
from lrbench.config.run import Run
from lrbench.device import Device, free_memory, is_lost, is_out_of_memory, name_of, settle
from lrbench.execute.executor import Answer, Task, Trial
from lrbench.plan import changed, load_plugins
from lrbench.train import Checkpoint, Interrupted, Population, data_for, rule_of, share, train, try_out
from lrbench.workloads import WORKLOADS

Done = tuple[Run, Outcome]
OTHER = "a worker process imported something else: was a file edited meanwhile, or is something at random when it is imported?"


@dataclass
class Worker:
    """What a worker process knows: its device, where checkpoints go, and whether it was asked to stop."""

    device: Device
    checkpoints: Path
    stop: Callable[[], bool] = field(default=lambda: False)

    def carry_out(self, task: Task) -> Iterator[Done]:
        """Train the runs of a task. What is missing of the answer was interrupted."""
        if task.is_single:
            for run in task.runs:
                if not (self.stop() and run is not task.runs[0]):
                    yield from (
                        (run, replace(outcome, mode=_noted(outcome.mode, task.note)))
                        for run, outcome in self._alone(run)
                    )
            return
        left = {run.key: run for run in task.runs}
        width, note = 1, task.note
        try:
            workload, data = WORKLOADS[task.runs[0].workload.name], data_for(task.runs[0], self.device)
            try_out(task.runs[0], workload, data, self.device)
            for run, outcome in Population(
                task.runs, workload, data, self.device, width=task.width, mode=task.mode
            ).train(self.stop):
                del left[run.key]
                yield run, outcome
        except Interrupted:
            return
        except Exception as error:  # noqa: BLE001 - one member's fault is no other's: trained alone, each tells its own
            _raise_if_lost(error, self.device)
            note = f"population given up: {message_of(error)}"
            if is_out_of_memory(error):
                width = -(-min(task.width, len(task.runs)) // 2)
        if left:
            free_memory(self.device)  # not before the error is gone, which holds on to the population
            for runs in _pieces(tuple(left.values()), width):
                yield from self.carry_out(replace(task, runs=runs, width=width, note=note))

    def _alone(self, run: Run) -> list[Done]:
        """Train a run with the reference trainer; an error becomes a crashed outcome. Interrupted, it goes on from its checkpoint later."""
        checkpoint = Checkpoint(self.checkpoints / f"{run.key}.pt", stop=self.stop)
        try:
            outcome = train(run, WORKLOADS[run.workload.name], data_for(run, self.device), self.device, checkpoint)
        except Interrupted:
            return []
        except Exception as error:  # noqa: BLE001 - a failed run is a value; the study goes on
            _raise_if_lost(error, self.device)
            checkpoint.clear()
            return [(run, crashed(run, f"{type(error).__name__}: {error} ({_where(error)})"))]
        checkpoint.clear()
        return [(run, outcome)]


def _noted(mode: str, note: str) -> str:
    return f"{mode}: {note}" if note else mode


def _pieces(runs: tuple[Run, ...], width: int) -> list[tuple[Run, ...]]:
    """Runs as populations of so many slots can take them: those of one rule at once, as slots are used again, others in pieces."""
    whole = width == 1 or len({rule_of(run) for run in runs}) == 1
    return [runs] if whole else [runs[i : i + width] for i in range(0, len(runs), width)]


class DeviceLost(Exception):  # noqa: N818 - a described fact about a device
    """A device that fails at everything from here on, until a new process has opened it."""


def _raise_if_lost(error: Exception, device: Device) -> None:
    if is_lost(error):
        raise DeviceLost(f"{name_of(device)} was lost: {one_line(error, 300)}") from error


def crashed(run: Run, reason: str) -> Outcome:
    """The outcome of a run that failed."""
    return Outcome(key=run.key, status=Status.CRASHED, reason=one_line(reason, 500))


def _where(error: Exception) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"


@dataclass(frozen=True)
class Lost:
    """What a worker answers when its device failed: the process is of no further use, and the runs are not to blame."""

    reason: str


_worker: Worker | Lost


def start(device: str, threads: int, checkpoints: Path, stop: Any, plugins: Sequence[Path], said: Any = None) -> None:
    """Set a worker process up. Ctrl-C is the parent's to handle."""
    global _worker  # noqa: PLW0603 - a process pool has no other place for what a worker keeps
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    share(said)
    try:
        load_plugins(plugins)
        _worker = Worker(torch.device(device), checkpoints, stop.is_set)
        settle(_worker.device, threads)
        torch.ones(1, device=_worker.device).item()  # a device that cannot do this is none
    except Exception as error:  # noqa: BLE001 - whatever it is, this process cannot work, and says why when it is asked
        _worker = Lost(f"{device}: {one_line(error, 300)}")


def ready() -> list[Done] | Lost:
    """What a worker process answers first: nothing yet, or why it cannot work."""
    return _worker if isinstance(_worker, Lost) else []


def work(task: Task) -> list[Done] | Lost:
    """What a worker process does with a task."""
    if isinstance(_worker, Lost):
        return _worker
    others = {run.key: reason for run in task.runs if (reason := changed(run))}
    done = [(run, crashed(run, f"{OTHER}: {others[run.key]}")) for run in task.runs if run.key in others]
    rest = tuple(run for run in task.runs if run.key not in others)
    try:
        return done + (list(_worker.carry_out(replace(task, runs=rest))) if rest else [])
    except DeviceLost as error:
        return Lost(str(error))


def measure(trial: Trial[Answer]) -> Answer | Lost:
    """What a worker process does with a trial."""
    return _worker if isinstance(_worker, Lost) else trial.measure(_worker.device)


def measure_alone(device: str, threads: int, plugins: Sequence[Path], trial: Trial[Answer]) -> Answer:
    """What a process does that was started for one trial. It compiles alone: processes that did so for it would disturb it."""
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    load_plugins(plugins)
    here = torch.device(device)
    settle(here, threads)
    return trial.measure(here)
