"""How far a study is: a bar on a terminal, a line now and then elsewhere."""

import sys
import time
from collections import Counter
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from lrbench.spec.outcome import Status

LINE_SECONDS = 15.0
EARLY = 0.005
"""The share of the runs before which no line is shown: the first results come after preparations, and would promise a long time."""


class Progress:
    """Counts finished runs by status and shows rate and time left on standard error."""

    def __init__(self, total: int) -> None:
        self.total, self.counts = total, Counter[Status]()
        self.started = self.shown = time.monotonic()
        console = Console(stderr=True)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        self.bar = Bar(*columns, console=console) if console.is_terminal else None
        self.task = self.bar.add_task("runs", total=total, rate="") if self.bar else None

    def __enter__(self) -> Self:
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.bar:
            self.bar.stop()

    def add(self, status: Status) -> None:
        """One more run is finished."""
        self.counts[status] += 1
        done, seconds = sum(self.counts.values()), time.monotonic() - self.started
        rate = done / max(seconds, 1e-9)
        if self.bar and self.task is not None:
            self.bar.update(self.task, completed=done, rate=f"{rate:.1f} runs/s")
        elif (time.monotonic() - self.shown >= LINE_SECONDS and done >= EARLY * self.total) or done == self.total:
            self.shown = time.monotonic()
            counts = ", ".join(f"{n} {status}" for status, n in sorted(self.counts.items()))
            left = (self.total - done) / rate
            print(f"{done}/{self.total} runs, {rate:.1f} runs/s, {left:.0f} s left: {counts}", file=sys.stderr, flush=True)
