"""Outcomes: what a run produced. A failed run has an outcome too, never an exception and never a gap."""

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
    """Why it was skipped, or how it crashed; else empty."""
    diverged_at: int | None = None
    """The step (1 = the first update) whose training loss was not finite or exploded; 0: the untrained model's was."""
    eval_step: Ints = field(default_factory=_ints)
    """[E] steps done at each evaluation."""
    val_metric: Floats = field(default_factory=_floats)
    """[E] validation metric, in the workload's units."""
    val_loss: Floats = field(default_factory=_floats)
    """[E] validation loss."""
    step_loss: Floats = field(default_factory=_floats)
    """[T] loss of each step's own batch, before its update."""
    lowest_loss: float = 0.0
    """The lower bound of the workload's loss; minus infinity where it is unknown."""
    groups: tuple[str, ...] = ()
    """[G] names of the parameter groups."""
    group_lr: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))
    """[E, G] the lr of each group's last step; NaN before the group joined."""
    train_loss: float | None = None
    """Final loss on a fixed part of the training set, which has the validation set's size."""
    test_metric: float | None = None
    test_loss: float | None = None
    train_seconds: float = 0.0
    eval_seconds: float = 0.0
    record_seconds: float = 0.0
    trainer: str = "reference"
    mode: str = "eager"
    """``eager``, ``compiled`` or ``graph``; after a colon, which mode failed or what it lacks, and why."""
    width: int = 1
    """How many runs trained together when this one began, itself included; empty slots do not count."""
    population: str = ""
    """The ``population_name`` of all runs that its population was given; empty for a run trained alone."""

    @property
    def steps(self) -> int:
        """Finished optimizer steps."""
        return len(self.step_loss)


def mode_used(mode: str) -> tuple[str, str]:
    """The two parts of an outcome's ``mode``: the mode itself, and the note after the colon, which may be empty.

    >>> mode_used("eager: compiled given up: no compiler"), mode_used("graph")
    (('eager', 'compiled given up: no compiler'), ('graph', ''))
    """
    used, _, note = mode.partition(": ")
    return used, note


def population_name(keys: Iterable[str]) -> str:
    """The name of a set of runs: eight hexadecimal digits of a hash of their keys, in any order."""
    return hashlib.sha256(" ".join(sorted(keys)).encode()).hexdigest()[:8]
