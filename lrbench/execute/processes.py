"""Executors that are processes on this machine, each with a device of its own.

A process or a device that fails takes nothing with it but what it was on.
"""

import itertools
import multiprocessing
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lrbench.device import Device, describe, name_of, threads
from lrbench.execute.executor import Answer, Executor, Result, Task, Trial
from lrbench.execute.work import Done, Lost, crashed, measure, measure_alone, ready, start, work

TRIES = 2
"""How often a single run is begun before the death of its process, or the loss of its device, counts as the run's own
crash."""
Tries = Counter[tuple[str, int]]
"""How often a task was begun, by its first run and their number."""
DIED = "the worker process died, as it does when memory runs out or a library fails outside Python"
SAID_BYTES = 65536
"""Room for the lines that workers say once."""
AHEAD = 2
"""Tasks that a worker has been given, so that it need not wait for the next."""


@dataclass
class WorkerProcess:
    """One worker process, and its tasks, oldest first: the first is the one it is on; before any, None to see if it lives."""

    device: Device
    executor: ProcessPoolExecutor
    tasks: dict[Future[Any], Task | None] = field(default_factory=dict)
    lives: bool = False

    def ask(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Have the process call a function; where it has died already, the answer is that."""
        try:
            return self.executor.submit(function, *arguments)
        except BrokenProcessPool as error:
            future: Future[Any] = Future()
            future.set_exception(error)
            return future

    def give(self, function: Callable[..., Any], task: Task | None = None) -> None:
        """Give it something to do."""
        self.tasks[self.ask(function, *([task] if task else []))] = task

    def completed(self) -> list[Done]:
        """Results completed after shutdown."""
        answers = [future.result() for future in self.tasks if not future.cancelled() and not future.exception()]
        return [done for answer in answers if isinstance(answer, list) for done in answer]

    def close(self) -> None:
        """Let the process end once it is done with what it is on."""
        self.executor.shutdown(wait=True, cancel_futures=True)


class Processes(Executor):
    """Worker processes; a CPU is one device that several share, a GPU belongs to one.

    ``fault`` is why a worker could not be started.
    """

    def __init__(self, devices: Sequence[Device], checkpoints: Path, plugins: Sequence[Path]) -> None:
        self.devices, self.checkpoints, self.plugins = devices, checkpoints, plugins
        self.machine = describe(list(dict.fromkeys(devices))).slug
        self.fault = ""
        self._main_file: str | None = None
        self.context = multiprocessing.get_context("spawn")
        self.stop = self.context.Event()
        self.said = self.context.Array("c", SAID_BYTES)
        self.processes: list[WorkerProcess] = []
        self.workers = len(devices)

    def _start(self, device: Device) -> WorkerProcess:
        given = (name_of(device), threads(), self.checkpoints, self.stop, self.plugins, self.said)
        return WorkerProcess(device, ProcessPoolExecutor(1, self.context, start, given))

    def __enter__(self) -> Self:
        main: Any = sys.modules.get("__main__")
        file = getattr(main, "__file__", None)
        if file and not Path(file).is_file():  # standard input, which a new process would look for as a file
            main.__file__, self._main_file = None, file
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._main_file:
            vars(sys.modules["__main__"])["__file__"] = self._main_file
        if error:
            self.stop.set()
        for future in [future for worker in self.processes for future in worker.tasks]:
            future.cancel()
        late: list[Done] = []
        for worker in self.processes:
            worker.close()
            late += worker.completed()
        self.late = self._results(late)

    def _results(self, done: Sequence[Done]) -> list[Result]:
        return [Result(run, outcome, self.machine) for run, outcome in done]

    def _begin(self) -> None:
        self.processes = self.processes or [self._start(device) for device in self.devices]

    def measure(self, trials: Sequence[Trial[Answer]]) -> list[Answer]:
        """What the trials come to, made side by side as the work will be. If a process dies, its trials tell nothing."""
        if not trials:
            return []
        self._begin()
        asked = [
            (worker, worker.ask(measure, trial))
            for worker, trial in zip(itertools.cycle(self.processes), trials, strict=False)
        ]
        answers, failed = [], {}
        for worker, future in asked:
            try:
                answer = future.result()
            except BrokenProcessPool:
                answer = Lost(DIED)
            if isinstance(answer, Lost):
                failed[id(worker)] = worker
            else:
                answers.append(answer)
        for worker in failed.values():
            self._restart(worker)
        return answers

    def run(self, tasks: Sequence[Task]) -> Iterator[Result]:
        """The result of each run, as their tasks finish.

        When a process dies, the task it was on is tried again, a population run by run. When a device is lost, its task
        is tried again as it is, elsewhere if the device does not come back. Nothing else is touched.
        """
        self._begin()
        for worker in self.processes:
            worker.give(ready)
        waiting, tries = list(reversed(tasks)), Tries()
        while waiting or any(worker.tasks for worker in self.processes):
            if not self.processes:
                reason = f"no worker process could be started: {self.fault}"
                yield from self._results([(run, crashed(run, reason)) for task in waiting for run in task.runs])
                return
            self._feed(waiting)
            done, _ = wait(
                [future for worker in self.processes for future in worker.tasks], return_when=FIRST_COMPLETED
            )
            for worker in list(self.processes):
                yield from self._results(list(self._collect(worker, done, waiting, tries)))

    def _feed(self, waiting: list[Task]) -> None:
        """Give the workers that live what they have room for, those with least first."""
        for room in range(AHEAD):
            for worker in self.processes:
                if waiting and worker.lives and len(worker.tasks) <= room:
                    worker.give(work, waiting.pop())

    def _collect(
        self, worker: WorkerProcess, done: set[Future[Any]], waiting: list[Task], tries: Tries
    ) -> Iterator[Done]:
        """What a worker has finished; what it failed at goes back to ``waiting`` or, tried often enough, crashes."""
        for future in [future for future in worker.tasks if future in done]:
            try:
                answer = future.result()
            except BrokenProcessPool:
                yield from self._on_crash(worker, DIED, waiting, tries, whole=False)
                return
            if isinstance(answer, Lost):
                yield from self._on_crash(worker, answer.reason, waiting, tries, whole=True)
                return
            del worker.tasks[future]
            worker.lives = True
            yield from answer

    def _on_crash(
        self, worker: WorkerProcess, reason: str, waiting: list[Task], tries: Tries, *, whole: bool
    ) -> Iterator[Done]:
        """Take back a worker's tasks, and start another worker in its place unless it never lived."""
        first, *others = worker.tasks.values()
        waiting += [task for task in reversed(others) if task]
        if first is None:
            self.fault = reason
            self._close(worker)
            return
        self._restart(worker).give(ready)
        at = (first.runs[0].key, len(first.runs))
        tries[at] += 1
        if tries[at] < TRIES and (whole or len(first.runs) == 1):
            waiting.append(first)
        elif len(first.runs) > 1:
            waiting += [Task((run,)) for run in first.runs]
        else:
            yield first.runs[0], crashed(first.runs[0], reason)

    def _restart(self, worker: WorkerProcess) -> WorkerProcess:
        """Another process on the same device, in the place of one that is of no use."""
        self._close(worker)
        self.processes.append(self._start(worker.device))
        return self.processes[-1]

    def _close(self, worker: WorkerProcess) -> None:
        self.processes.remove(worker)
        worker.close()


class FreshProcesses(Executor):
    """A new process for each trial, one after the other: nothing that came before it disturbs a measurement."""

    def __init__(self, device: Device, plugins: Sequence[Path]) -> None:
        self.device, self.plugins = device, plugins
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # so that its profiler is silent on what came before it
        self.context = multiprocessing.get_context("spawn")

    def measure(self, trials: Sequence[Trial[Answer]]) -> list[Answer]:
        """What the trials come to, in order."""
        return [self._alone(trial) for trial in trials]

    def _alone(self, trial: Trial[Answer]) -> Answer:
        with ProcessPoolExecutor(1, self.context) as executor:
            return executor.submit(measure_alone, name_of(self.device), threads(), self.plugins, trial).result()

    def run(self, tasks: Sequence[Task]) -> Iterator[Result]:
        """Runs are not trained so: their workers would start anew for each."""
        raise NotImplementedError
