"""An executor that is this process: for one worker, and for entries that no other process can import."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from lrbench.device import Device, describe
from lrbench.execute.executor import Answer, Executor, Result, Task, Trial
from lrbench.execute.interrupt import saving
from lrbench.execute.work import Worker


class InProcess(Executor):
    """Tasks one after the other, here. The first Ctrl-C saves the run in hand, the second interrupts at once."""

    def __init__(self, device: Device, checkpoints: Path, reason: str = "") -> None:
        self.device, self.reason = device, reason
        self.worker = Worker(device, checkpoints)
        self.machine = describe([device]).slug

    def measure(self, trials: Sequence[Trial[Answer]]) -> list[Answer]:
        """One trial after the other."""
        return [trial.measure(self.device) for trial in trials]

    def run(self, tasks: Sequence[Task]) -> Iterator[Result]:
        """The result of each run, in order."""
        with saving() as stop:
            self.worker.stop = stop
            for task in tasks:
                for run, outcome in self.worker.carry_out(task):
                    yield Result(run, outcome, self.machine)
                if stop():
                    raise KeyboardInterrupt
