"""How far a study is: a bar on a terminal, a line now and then elsewhere."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar
from rich.status import Status as Spinner

from lrbench.config.outcome import Status

LINE_SECONDS = 15.0


class Live:
    """What shows on standard error how far something is: in one place on a terminal, with a line now and then elsewhere."""

    def __init__(self, make: Callable[[Console], Bar | Spinner]) -> None:
        console = Console(stderr=True)
        self.live = make(console) if console.is_terminal else None
        self.shown = time.monotonic()

    def __enter__(self) -> Self:
        if self.live:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self.live.stop()

    def say(self, sentence: str) -> None:
        """Say a sentence that stays: above what shows how far it is, if anything does."""
        if self.live:
            self.live.console.print(sentence, markup=False, highlight=False)
        else:
            print(sentence, file=sys.stderr, flush=True)

    def line(self, sentence: str, *, now: bool = False) -> None:
        """Say a sentence, if it is time to."""
        if now or time.monotonic() - self.shown >= LINE_SECONDS:
            self.shown = time.monotonic()
            print(sentence, file=sys.stderr, flush=True)


class Progress(Live):
    """Counts finished runs by status, and shows on standard error what part of the expected work is done and how long the rest takes."""

    def __init__(self, total: int) -> None:
        self.total, self.counts = total, Counter[Status]()
        self.expected: dict[str, float] = {}
        self.work = self.worked = 0.0
        self.started = time.monotonic()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[pace]}"),
        )
        super().__init__(lambda console: Bar(*columns, console=console))
        self.task = self.live.add_task("runs", total=total, pace="") if isinstance(self.live, Bar) else None

    def begin(self, sentence: str) -> None:
        """Say what is done before the training begins, or after it."""
        if isinstance(self.live, Bar) and self.task is not None:
            self.live.update(self.task, pace=sentence)
        else:
            self.line(sentence, now=True)

    def expect(self, seconds: Mapping[str, float]) -> None:
        """Begin the training, now that it is known what each run, by its key, is expected to cost."""
        self.expected, self.work, self.started = dict(seconds), sum(seconds.values()), time.monotonic()

    def add(self, key: str, status: Status) -> None:
        """One more run is finished."""
        self.counts[status] += 1
        self.worked += self.expected.get(key, 0.0)
        done = sum(self.counts.values())
        if isinstance(self.live, Bar) and self.task is not None:
            self.live.update(self.task, completed=done, pace=f"{self.rate()}{self.left()}")
        else:
            counts = ", ".join(f"{n} {status}" for status, n in sorted(self.counts.items()))
            self.line(f"{done}/{self.total} runs, {self.rate()}{self.left()}: {counts}", now=done == self.total)

    def rate(self) -> str:
        """The finished runs per second, or per minute where that is more readable."""
        per_second = sum(self.counts.values()) / max(time.monotonic() - self.started, 1e-3)
        return f"{per_second:.3g} runs/s" if per_second >= 1.0 else f"{60 * per_second:.2g} runs/min"

    def left(self) -> str:
        """How long the rest takes if it goes as what is done, in words; nothing where that cannot be said."""
        if not self.worked or self.worked < 0.02 * self.work:
            return ""
        return f", about {spoken((time.monotonic() - self.started) * max(0.0, self.work - self.worked) / self.worked)} left"


class Ticker(Live):
    """Says a sentence about how far something is."""

    def __init__(self) -> None:
        super().__init__(lambda console: console.status(""))

    def __call__(self, sentence: str) -> None:
        """Say it."""
        if isinstance(self.live, Spinner):
            self.live.update(sentence)
        else:
            self.line(sentence)


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
