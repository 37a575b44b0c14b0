"""How far a study is: a bar on a terminal, a line now and then elsewhere."""

import sys
import time
from collections import Counter
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar

from lrbench.spec.outcome import Status

LINE_SECONDS = 15.0


class Progress:
    """Counts finished runs by status, and shows on standard error what part of the expected work is done and how long the rest takes."""

    def __init__(self, total: int) -> None:
        self.total, self.counts = total, Counter[Status]()
        self.expected: dict[str, float] = {}
        self.work = self.worked = 0.0
        self.started = self.shown = time.monotonic()
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[left]}"))
        self.bar = Bar(*columns, console=console) if console.is_terminal else None
        self.task = self.bar.add_task("runs", total=total, left="") if self.bar else None

    def __enter__(self) -> Self:
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.bar:
            self.bar.stop()

    def expect(self, seconds: Mapping[str, float]) -> None:
        """Begin the training, now that it is known what each run, by its key, is expected to cost."""
        self.expected, self.work, self.started = dict(seconds), sum(seconds.values()), time.monotonic()

    def add(self, key: str, status: Status) -> None:
        """One more run is finished."""
        self.counts[status] += 1
        self.worked += self.expected.get(key, 0.0)
        done = sum(self.counts.values())
        if self.bar and self.task is not None:
            self.bar.update(self.task, completed=done, left=self.left())
        elif time.monotonic() - self.shown >= LINE_SECONDS or done == self.total:
            self.shown = time.monotonic()
            counts = ", ".join(f"{n} {status}" for status, n in sorted(self.counts.items()))
            print(f"{done}/{self.total} runs{self.left()}: {counts}", file=sys.stderr, flush=True)

    def left(self) -> str:
        """How long the rest takes if it goes as what is done, in words; nothing where that cannot be said."""
        if not self.worked or self.worked < 0.02 * self.work:
            return ""
        return f", about {spoken((time.monotonic() - self.started) * max(0.0, self.work - self.worked) / self.worked)} left"


class Ticker:
    """Says a sentence about how far something is: in one place on a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self.status = console.status("") if console.is_terminal else None
        self.shown = time.monotonic()

    def __enter__(self) -> Self:
        if self.status:
            self.status.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.status:
            self.status.stop()

    def __call__(self, sentence: str) -> None:
        """Say it, if it is time to."""
        if self.status:
            self.status.update(sentence)
        elif time.monotonic() - self.shown >= LINE_SECONDS:
            self.shown = time.monotonic()
            print(sentence, file=sys.stderr, flush=True)


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
