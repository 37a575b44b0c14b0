"""The record of runs under way, the clocks, and the outcomes made of both."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lrbench.config.outcome import Floats, Outcome, Status
from lrbench.config.run import Run
from lrbench.device import synchronize

Lrs = NDArray[np.float64]
DIVERGED_RISE = 1e4
"""A run has diverged when a training loss is not finite, or its distance to the lowest possible loss is so many times
that of the first loss."""
EASY_BATCH = 1e-3
"""A first loss that is nearer to the lowest possible one than this share of the untrained model's is of an easy batch,
and no measure of a rise."""
LARGEST_LOSS = 1e30
"""Where no lowest loss is known, a run has diverged when a loss is not finite, or above this."""
CLOCKS = ("train", "eval", "record")
UNTRAINED = -1
"""In place of the step at which a run diverged: before the first step."""


class Record:
    """The curves of N runs under way, which may be at different steps.

    Shapes: ``loss`` [N, T] the training loss of each step; ``evaluations`` [N, E, 2] validation loss and metric, the
    first before any update; ``done`` [N] finished steps; ``evaluated`` [N] finished evaluations; ``diverged_at`` [N]
    the step, 0 for none, ``UNTRAINED`` where the untrained model was not finite; ``seconds`` [N, 3] of training,
    evaluation and recording.
    """

    def __init__(self, runs: int, steps: int, eval_every: int, lowest: float = 0.0) -> None:
        self.lowest = lowest
        self.eval_step = np.minimum(np.arange(-(-steps // eval_every) + 1) * eval_every, steps).astype(np.int32)
        self.loss = np.zeros((runs, steps), np.float32)
        self.evaluations = np.zeros((runs, len(self.eval_step), 2))
        self.done, self.evaluated, self.diverged_at = (np.zeros(runs, np.int64) for _ in range(3))
        self.seconds = np.zeros((runs, len(CLOCKS)))

    def reset(self, rows: Sequence[int]) -> None:
        """Begin new runs in some rows."""
        for part in (self.done, self.evaluated, self.diverged_at, self.seconds):
            part[rows] = 0

    def add_steps(self, losses: Floats) -> None:
        """Append an interval's training losses [N, steps]. Diverged runs stay as they are."""
        rows, steps = np.arange(len(losses)), losses.shape[1]
        fits = np.minimum(self.done[:, None] + np.arange(steps), self.loss.shape[1] - 1)
        going = np.flatnonzero(self.diverged_at == 0)
        self.loss[going[:, None], fits[going]] = losses[going]
        bad = ~(np.isfinite(losses) & (losses <= self._limits()))
        if bad[going].any():
            first = np.where(bad.any(1), bad.argmax(1) + 1, 0)
            ends = rows[(first > 0) & (self.diverged_at == 0)]
            self.diverged_at[ends] = self.done[ends] + first[ends]
        self.done += np.where(self.diverged_at == 0, steps, 0)

    def _limits(self) -> NDArray[np.float64]:
        """[N, 1] the limit above which a training loss is a divergence."""
        if not np.isfinite(self.lowest):
            return np.full((len(self.loss), 1), LARGEST_LOSS)
        first, untrained = self.loss[:, :1].astype(float) - self.lowest, self.evaluations[:, :1, 0] - self.lowest
        height = np.where(first > EASY_BATCH * untrained, first, untrained)
        return self.lowest + np.where(height > 0.0, DIVERGED_RISE * height, LARGEST_LOSS)

    def add_evaluation(self, values: NDArray[np.float64], now: NDArray[np.bool_]) -> None:
        """Append an evaluation [N, 2] of the runs marked ``now``. A loss that is not finite is a divergence.

        The divergence is that of the last update, if any. A metric that is not finite, such as a precision before
        anything is predicted, is no divergence and meets no target.
        """
        now = now & (self.diverged_at == 0)
        finite = np.isfinite(values[:, 0])
        self.diverged_at[now & ~finite] = np.where(self.done, self.done, UNTRAINED)[now & ~finite]
        rows = np.flatnonzero(now & finite)
        self.evaluations[rows, self.evaluated[rows]] = values[rows]
        self.evaluated[rows] += 1

    def keep(self, rows: Sequence[int]) -> None:
        """Forget all other rows."""
        for name in _STATE:
            setattr(self, name, getattr(self, name)[rows])

    def seen(self, row: int) -> NDArray[np.float64]:
        """[E, 2] the evaluations of a run, without the untrained model's."""
        return self.evaluations[row, 1 : self.evaluated[row]]

    def steps(self, row: int) -> int:
        """How many steps of a run are recorded; after a divergence, those up to it."""
        return max(0, int(self.diverged_at[row] or self.done[row]))

    def outcome(self, row: int, run: Run, lrs: Lrs, *, higher_is_better: bool, **rest: Any) -> Outcome:
        """The outcome of a run that ended; ``lrs`` [at least T, G] are its steps', NaN before a group joined."""
        evaluated, diverged_at = int(self.evaluated[row]), self.steps(row) if self.diverged_at[row] else None
        curves = self.evaluations[row, :evaluated].astype(np.float32)
        metric = curves[1:, 1] if higher_is_better else -curves[1:, 1]
        met = bool((metric >= np.float32(run.target if higher_is_better else -run.target)).any())
        eval_step = self.eval_step[:evaluated].copy()
        before = np.maximum(eval_step - 1, 0)
        return Outcome(
            key=run.key,
            status=Status.DIVERGED if diverged_at is not None else Status.REACHED if met else Status.MISSED,
            diverged_at=diverged_at,
            eval_step=eval_step,
            val_loss=curves[:, 0],
            val_metric=curves[:, 1],
            step_loss=self.loss[row, : self.steps(row)].copy(),
            lowest_loss=self.lowest,
            group_lr=lrs[before] if len(lrs) else lrs,
            train_seconds=float(self.seconds[row, 0]),
            eval_seconds=float(self.seconds[row, 1]),
            record_seconds=float(self.seconds[row, 2]),
            **rest,
        )

    def state_dict(self) -> dict[str, Any]:
        """The record as tensors, so that it is restored to the bit."""
        return {name: torch.from_numpy(getattr(self, name)) for name in _STATE}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` saved."""
        for name in _STATE:
            getattr(self, name)[...] = state[name].numpy()


_STATE = ("loss", "evaluations", "done", "evaluated", "diverged_at", "seconds")


@dataclass
class Clocks:
    """Times training, evaluation and recording separately, in ``seconds`` [..., 3].

    They wait for the device before and after a part, never inside it.
    """

    device: torch.device
    seconds: NDArray[Any]
    share: Any = 1.0
    """The share of each element of ``seconds`` [...]. In a population, members under way have equal shares."""

    @contextmanager
    def time(self, part: str) -> Iterator[None]:
        """Add the time spent inside the block to ``part``."""
        synchronize(self.device)
        start = time.perf_counter()
        yield
        synchronize(self.device)
        self.seconds[..., CLOCKS.index(part)] += (time.perf_counter() - start) * self.share
