"""What a run produced. A failed run is an outcome too: never an exception, never a gap."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]


class Status(StrEnum):
    """How a run ended."""

    REACHED = "reached"
    MISSED = "missed"
    DIVERGED = "diverged"
    SKIPPED = "skipped"
    CRASHED = "crashed"


def _floats() -> Floats:
    return np.zeros(0, np.float32)


def _ints() -> Ints:
    return np.zeros(0, np.int32)


@dataclass(frozen=True)
class Outcome:
    """The record of one run.

    Shapes: E evaluations (the first before any update, at step 0), T finished steps, G parameter groups.
    After a divergence the curves end where it happened; nothing is filled in.
    """

    key: str
    status: Status
    reason: str = ""
    """Why it was skipped or how it crashed; empty otherwise."""
    diverged_at: int | None = None
    """The step (1 = the first update) whose training loss was not finite or exploded; 0 if the untrained model was not
    finite."""
    eval_step: Ints = field(default_factory=_ints)
    """[E] steps done at each evaluation."""
    val_metric: Floats = field(default_factory=_floats)
    """[E] validation metric, in the workload's units."""
    val_loss: Floats = field(default_factory=_floats)
    """[E] validation loss."""
    step_loss: Floats = field(default_factory=_floats)
    """[T] loss of each step's own batch, before its update."""
    lowest_loss: float = 0.0
    """What no loss of the workload can be below; minus infinity where it is unknown."""
    groups: tuple[str, ...] = ()
    """[G] names of the parameter groups."""
    group_lr: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))
    """[E, G] the lr each group was last stepped with; NaN before it joined."""
    train_loss: float | None = None
    """Loss at the end on a fixed part of the training set, as large as the validation set and evaluated like it."""
    test_metric: float | None = None
    test_loss: float | None = None
    train_seconds: float = 0.0
    eval_seconds: float = 0.0
    record_seconds: float = 0.0
    trainer: str = "reference"
    mode: str = "eager"
    """``eager``, ``compiled`` or ``graph``; behind a colon, what was given up, or what a mode does without, and why."""
    width: int = 1
    """How many runs were being trained together when this one began, itself among them; empty slots of a population do
    not count."""
    population: str = ""
    """The name of the set of runs that were given to its population, as ``population_name`` makes it; empty for a run
    trained alone."""

    @property
    def steps(self) -> int:
        """Finished optimizer steps."""
        return len(self.step_loss)


def mode_used(mode: str) -> tuple[str, str]:
    """The mode of an outcome, and why a faster one was given up or what it does without; empty where there is nothing.

    >>> mode_used("eager: compiled given up: no compiler"), mode_used("graph")
    (('eager', 'compiled given up: no compiler'), ('graph', ''))
    """
    used, _, note = mode.partition(": ")
    return used, note


def population_name(keys: Iterable[str]) -> str:
    """The name of a set of runs by their keys, whatever their order: eight hexadecimal digits."""
    return hashlib.sha256(" ".join(sorted(keys)).encode()).hexdigest()[:8]
