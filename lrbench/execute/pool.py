"""Runs in worker processes. A process that dies takes nothing with it but the run it was on."""

import multiprocessing
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from lrbench.device import Device, name_of
from lrbench.execute.work import crashed, start, work
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

    def outcomes(self, runs: Sequence[Run]) -> Iterator[tuple[Run, Outcome]]:
        """The outcome of each run, as they finish. Runs that were in hand when a process died are tried once more, each alone."""
        waiting = list(reversed(runs))
        while waiting:
            suspects = yield from self._until_broken(waiting)
            for run in suspects:
                yield run, self._alone(run)

    def _until_broken(self, waiting: list[Run]) -> Generator[tuple[Run, Outcome], None, list[Run]]:
        """Work through ``waiting`` from its end; returns the runs in hand if a process dies, else none."""
        executor = self._executor(self.devices)
        hand: dict[Future[Outcome | None], Run] = {}
        try:
            while waiting or hand:
                while waiting and len(hand) < 2 * len(self.devices):
                    hand[executor.submit(work, waiting[-1])] = waiting[-1]
                    waiting.pop()
                done, _ = wait(hand, return_when=FIRST_COMPLETED)
                for future in done:
                    outcome = future.result()
                    run = hand.pop(future)
                    if outcome is not None:
                        yield run, outcome
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
                outcome = executor.submit(work, run).result()
            except BrokenProcessPool:
                return crashed(run, "the worker process died, as it does when memory runs out or a library fails outside Python")
            except BaseException:
                self.stop.set()
                raise
        return outcome or crashed(run, "interrupted")
