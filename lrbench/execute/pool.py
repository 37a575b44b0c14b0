"""Runs in worker processes. A process that dies takes nothing with it but the runs it was on."""

import multiprocessing
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from lrbench.device import Device, name_of
from lrbench.execute.work import Done, Unit, crashed, start, work
from lrbench.spec.outcome import Outcome
from lrbench.spec.run import Run


class Pool:
    """Worker processes, each with a device of its own; a CPU is one device that several share."""

    def __init__(self, devices: Sequence[Device], checkpoints: Path, plugins: Sequence[Path]) -> None:
        self.devices, self.checkpoints, self.plugins = devices, checkpoints, plugins
        self.context = multiprocessing.get_context("spawn")
        self.stop = self.context.Event()

    def _executor(self, devices: Sequence[Device]) -> ProcessPoolExecutor:
        queue = self.context.Queue()
        for device in devices:
            queue.put(name_of(device))
        arguments = (queue, self.checkpoints, self.stop, self.plugins)
        return ProcessPoolExecutor(len(devices), self.context, start, arguments)

    def outcomes(self, units: Sequence[Unit]) -> Iterator[Done]:
        """The outcome of each run, as their units finish.

        When a process dies, the units in hand are tried again: a population run by run, a single run in a process of its own.
        """
        waiting = list(reversed(units))
        while waiting:
            for unit in (yield from self._until_broken(waiting)):
                if len(unit) > 1:
                    waiting += [[run] for run in unit]
                else:
                    yield unit[0], self._alone(unit[0])

    def _until_broken(self, waiting: list[Unit]) -> Generator[Done, None, list[Unit]]:
        """Work through ``waiting`` from its end; returns the units in hand if a process dies, else none."""
        executor = self._executor(self.devices)
        hand: dict[Future[list[Done]], Unit] = {}
        try:
            while waiting or hand:
                while waiting and len(hand) < 2 * len(self.devices):
                    hand[executor.submit(work, waiting[-1])] = waiting[-1]
                    waiting.pop()
                done, _ = wait(hand, return_when=FIRST_COMPLETED)
                for future in done:
                    found = future.result()
                    del hand[future]
                    yield from found
        except BrokenProcessPool:
            return list(hand.values()) or [waiting.pop()]
        except BaseException:
            self.stop.set()
            raise
        finally:
            executor.shutdown(wait=True, cancel_futures=True)
        return []

    def _alone(self, run: Run) -> Outcome:
        with self._executor(self.devices[:1]) as executor:
            try:
                found = executor.submit(work, [run]).result()
            except BrokenProcessPool:
                return crashed(run, "the worker process died, as it does when memory runs out or a library fails outside Python")
            except BaseException:
                self.stop.set()
                raise
        return found[0][1] if found else crashed(run, "interrupted")
