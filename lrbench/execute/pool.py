"""Runs in worker processes, each with a device of its own. A process or a device that fails takes nothing with it but what it was on."""

import itertools
import multiprocessing
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lrbench.config.run import Run
from lrbench.device import Device, name_of, threads
from lrbench.execute.units import Pace, Trial
from lrbench.execute.work import Done, Lost, Unit, crashed, measure, ready, start, work

TRIES = 2
"""How often a single run is begun before the death of its process, or the loss of its device, counts as the run's own
crash."""
Tries = Counter[tuple[str, int]]
"""How often a unit was begun, by its first run and their number."""
DIED = "the worker process died, as it does when memory runs out or a library fails outside Python"
SAID_BYTES = 65536
"""Room for the lines that workers say once."""
AHEAD = 2
"""Units that a worker has in hand, so that it need not wait for the next."""


@dataclass
class Hand:
    """One worker process, and the units it was given, oldest first: the first is the one it is on; before any, None to see if it lives."""

    device: Device
    executor: ProcessPoolExecutor
    given: dict[Future[Any], Unit | None] = field(default_factory=dict)
    lives: bool = False

    def ask(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Have the process call a function; where it has died already, the answer is that."""
        try:
            return self.executor.submit(function, *arguments)
        except BrokenProcessPool as error:
            future: Future[Any] = Future()
            future.set_exception(error)
            return future

    def give(self, function: Callable[..., Any], unit: Unit | None = None) -> None:
        """Hand it something to do."""
        self.given[self.ask(function, *([unit] if unit else []))] = unit

    def finished(self) -> list[Done]:
        """What it did of what it was given, once it is closed."""
        answers = [future.result() for future in self.given if not future.cancelled() and not future.exception()]
        return [done for answer in answers if isinstance(answer, list) for done in answer]

    def close(self) -> None:
        """Let the process end once it is done with what it is on."""
        self.executor.shutdown(wait=True, cancel_futures=True)


class Pool:
    """Worker processes; a CPU is one device that several share, a GPU belongs to one.

    ``late`` is what the workers had finished when the work was interrupted; ``fault`` is why a worker could not be
    started.
    """

    def __init__(self, devices: Sequence[Device], checkpoints: Path, plugins: Sequence[Path]) -> None:
        self.devices, self.checkpoints, self.plugins = devices, checkpoints, plugins
        self.late: list[Done] = []
        self.fault = ""
        self._main_file: str | None = None
        self.context = multiprocessing.get_context("spawn")
        self.stop = self.context.Event()
        self.said = self.context.Array("c", SAID_BYTES)
        self.hands: list[Hand] = []

    def _process(self, device: Device) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            1, self.context, start, (name_of(device), threads(), self.checkpoints, self.stop, self.plugins, self.said)
        )

    def __enter__(self) -> Self:
        main: Any = sys.modules.get("__main__")
        file = getattr(main, "__file__", None)
        if (
            file and not Path(file).is_file()
        ):  # the script is standard input, which a process that is spawned would look for as a file
            main.__file__, self._main_file = None, file
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._main_file:
            vars(sys.modules["__main__"])["__file__"] = self._main_file
        if error:
            self.stop.set()
        for future in [future for hand in self.hands for future in hand.given]:
            future.cancel()
        for hand in self.hands:
            hand.close()
            self.late += hand.finished()

    def _begin(self) -> None:
        self.hands = self.hands or [Hand(device, self._process(device)) for device in self.devices]

    def measured(self, trials: Sequence[Trial]) -> list[tuple[Run, Pace]]:
        """What the trials come to, made side by side as the work will be. If a process dies, its trials tell nothing."""
        if not trials:
            return []
        self._begin()
        hands = itertools.cycle(self.hands)
        asked = [(hand, hand.ask(measure, trial)) for hand, trial in zip(hands, trials, strict=False)]
        found, failed = [], {}
        for hand, future in asked:
            try:
                answer = future.result()
            except BrokenProcessPool:
                answer = Lost(DIED)
            if isinstance(answer, Lost):
                failed[id(hand)] = hand
            else:
                found.append(answer)
        for hand in failed.values():
            self._again(hand)
        return found

    def outcomes(self, units: Sequence[Unit]) -> Iterator[Done]:
        """The outcome of each run, as their units finish.

        When a process dies, the unit it was on is tried again, a population run by run. When a device is lost, its unit
        is tried again as it is, elsewhere if the device does not come back. Nothing else is touched.
        """
        self._begin()
        for hand in self.hands:
            hand.give(ready)
        waiting, tries = list(reversed(units)), Tries()
        while waiting or any(hand.given for hand in self.hands):
            if not self.hands:
                yield from (
                    (run, crashed(run, f"no worker process could be started: {self.fault}"))
                    for unit in waiting
                    for run in unit.runs
                )
                return
            self._feed(waiting)
            done, _ = wait([future for hand in self.hands for future in hand.given], return_when=FIRST_COMPLETED)
            for hand in list(self.hands):
                yield from self._taken(hand, done, waiting, tries)

    def _feed(self, waiting: list[Unit]) -> None:
        """Give the workers that live what they have room for, those with least first."""
        for room in range(AHEAD):
            for hand in self.hands:
                if waiting and hand.lives and len(hand.given) <= room:
                    hand.give(work, waiting.pop())

    def _taken(self, hand: Hand, done: set[Future[Any]], waiting: list[Unit], tries: Tries) -> Iterator[Done]:
        """What a worker has finished; what it failed at goes back to ``waiting`` or, tried often enough, crashes."""
        for future in [future for future in hand.given if future in done]:
            try:
                found = future.result()
            except BrokenProcessPool:
                yield from self._fallen(hand, DIED, waiting, tries, whole=False)
                return
            if isinstance(found, Lost):
                yield from self._fallen(hand, found.reason, waiting, tries, whole=True)
                return
            del hand.given[future]
            hand.lives = True
            yield from found

    def _fallen(self, hand: Hand, reason: str, waiting: list[Unit], tries: Tries, *, whole: bool) -> Iterator[Done]:
        """Take back what a worker was given, and start another in its place unless it never lived."""
        first, *others = hand.given.values()
        waiting += [unit for unit in reversed(others) if unit]
        if first is None:
            self.fault = reason
            self._bury(hand)
            return
        self._again(hand).give(ready)
        tries[(first.runs[0].key, len(first.runs))] += 1
        begun = tries[(first.runs[0].key, len(first.runs))]
        if begun < TRIES and (whole or len(first.runs) == 1):
            waiting.append(first)
        elif len(first.runs) > 1:
            waiting += [Unit((run,)) for run in first.runs]
        else:
            yield first.runs[0], crashed(first.runs[0], reason)

    def _again(self, hand: Hand) -> Hand:
        """Another process on the same device, in the place of one that is of no use."""
        self._bury(hand)
        self.hands.append(Hand(hand.device, self._process(hand.device)))
        return self.hands[-1]

    def _bury(self, hand: Hand) -> None:
        self.hands.remove(hand)
        hand.close()
