"""What carries out tasks: the contract, and which executor suits some runs on this machine.

A task is picklable and names all that it needs; a result says which machine made it. This process and processes on this
machine are two executors, each in one file; another is one more.
"""

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch

from lrbench.config.outcome import Outcome
from lrbench.config.run import Run

Answer = TypeVar("Answer")
Measured_co = TypeVar("Measured_co", covariant=True)


class Trial(Protocol[Measured_co]):
    """Something to measure on a device. It can be pickled."""

    def measure(self, device: torch.device) -> Measured_co:
        """What was measured."""


@dataclass(frozen=True)
class Task:
    """Runs that one worker trains: a single one by the reference trainer, or several as a population with so many slots."""

    runs: tuple[Run, ...]
    mode: str = "eager"
    width: int = 1
    seconds: float = 0.0
    """What it is expected to take."""
    why: str = ""
    """Why a single run is not in a population, or what a population gains."""
    note: str = ""
    """Why a population that it was to be trained in was given up."""

    @property
    def is_single(self) -> bool:
        """Whether the reference trainer trains it."""
        return self.width == 1


@dataclass(frozen=True)
class Result:
    """The outcome of a run, and the machine that made it: its slug, as it names the folder of a study."""

    run: Run
    outcome: Outcome
    machine: str


class Executor(AbstractContextManager["Executor"], ABC):
    """What measures and trains. It is entered before either is asked of it.

    ``late`` holds, once it is left, the results that were finished after it was told to stop. ``reason`` says why it is
    not the executor that was asked for, if so.
    """

    late: Sequence[Result] = ()
    reason: str = ""
    workers: int = 1
    """How many tasks it carries out at the same time."""

    def __exit__(self, *_: Any) -> None:
        """Let go of what it holds."""

    @abstractmethod
    def measure(self, trials: Sequence[Trial[Answer]]) -> list[Answer]:
        """What the trials come to, in any order; those that could not be made are left out."""

    @abstractmethod
    def run(self, tasks: Sequence[Task]) -> Iterator[Result]:
        """The result of each run of each task, as they come.

        A run that fails has a crashed outcome: an error of a run never ends the others.
        Raises: KeyboardInterrupt on Ctrl-C, when what must not be lost is saved.
        """


def results_of(executor: Executor, tasks: Sequence[Task], late: list[Result]) -> Generator[Result]:
    """The results of some tasks by an executor that is entered and left here; closed early, ``late`` has the last ones."""
    try:
        with executor:
            yield from executor.run(tasks)
    finally:
        late += executor.late
