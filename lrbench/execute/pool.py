"""Runs in worker processes. A process that dies takes nothing with it but the runs it was on."""

import multiprocessing
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lrbench.device import Device, name_of
from lrbench.execute.units import Pace, Trial
from lrbench.execute.work import Done, Unit, crashed, measure, start, work
from lrbench.spec.outcome import Outcome
from lrbench.spec.run import Run


class Pool:
    """Worker processes, each with a device of its own; a CPU is one device that several share."""

    def __init__(self, devices: Sequence[Device], checkpoints: Path, plugins: Sequence[Path]) -> None:
        self.devices, self.checkpoints, self.plugins = devices, checkpoints, plugins
        self.context = multiprocessing.get_context("spawn")
        self.stop = self.context.Event()
        self.executor: ProcessPoolExecutor | None = None

    def _processes(self, devices: Sequence[Device]) -> ProcessPoolExecutor:
        queue = self.context.Queue()
        for device in devices:
            queue.put(name_of(device))
        arguments = (queue, self.checkpoints, self.stop, self.plugins)
        return ProcessPoolExecutor(len(devices), self.context, start, arguments)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error:
            self.stop.set()
        if self.executor:
            self.executor.shutdown(wait=True, cancel_futures=True)

    def measured(self, trials: Sequence[Trial]) -> list[tuple[Run, Pace]]:
        """What the trials come to, made side by side as the work will be. If a process dies, nothing: the runs go one by one."""
        try:
            return [future.result() for future in [self._submit(measure, trial) for trial in trials]]
        except BrokenProcessPool:
            self._bury()
            return []

    def outcomes(self, units: Sequence[Unit]) -> Iterator[Done]:
        """The outcome of each run, as their units finish.

        When a process dies, the units in hand are tried again: a population run by run, a single run in a process of its own.
        """
        waiting = list(reversed(units))
        while waiting:
            for unit in (yield from self._until_broken(waiting)):
                if len(unit.runs) > 1:
                    waiting += [Unit((run,)) for run in unit.runs]
                else:
                    yield unit.runs[0], self._alone(unit)

    def _until_broken(self, waiting: list[Unit]) -> Generator[Done, None, list[Unit]]:
        """Work through ``waiting`` from its end; returns the units in hand if a process dies, else none."""
        hand: dict[Future[list[Done]], Unit] = {}
        try:
            while waiting or hand:
                while waiting and len(hand) < 2 * len(self.devices):
                    hand[self._submit(work, waiting[-1])] = waiting[-1]
                    waiting.pop()
                done, _ = wait(hand, return_when=FIRST_COMPLETED)
                for future in done:
                    found = future.result()
                    del hand[future]
                    yield from found
        except BrokenProcessPool:
            self._bury()
            return list(hand.values()) or [waiting.pop()]
        return []

    def _submit(self, function: Callable[..., Any], argument: Any) -> Future[Any]:
        self.executor = self.executor or self._processes(self.devices)
        return self.executor.submit(function, argument)

    def _bury(self) -> None:
        if self.executor:
            self.executor.shutdown(wait=True, cancel_futures=True)
        self.executor = None

    def _alone(self, unit: Unit) -> Outcome:
        with self._processes(self.devices[:1]) as executor:
            try:
                found = executor.submit(work, unit).result()
            except BrokenProcessPool:
                return crashed(unit.runs[0], "the worker process died, as it does when memory runs out or a library fails outside Python")
            except BaseException:
                self.stop.set()
                raise
        return found[0][1] if found else crashed(unit.runs[0], "interrupted")
