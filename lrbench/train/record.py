"""What a run writes down while it trains, and the outcome made of it."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lrbench.spec.outcome import Floats, Outcome, Status

Lrs = NDArray[np.float64]
EXPLOSION = 1e4
"""A run has diverged when a training loss is not finite, or this many times the first one."""


@dataclass
class Record:
    """The curves of a run, grown at each evaluation."""

    eval_step: list[int] = field(default_factory=list)
    evaluations: list[list[float]] = field(default_factory=list)
    """(validation loss, validation metric, training loss) of each evaluation."""
    losses: list[Floats] = field(default_factory=list)
    """One array per interval, [steps]."""
    lrs: list[Lrs] = field(default_factory=list)
    """One array per interval, [steps, G]: the lr of each group, NaN before it joined."""
    diverged_at: int | None = None

    def add_steps(self, losses: Floats, lrs: Lrs) -> None:
        """Append an interval's training losses and lrs; after a divergence, only up to the step where it happened."""
        limit = EXPLOSION * abs(float((self.losses or [losses])[0][0]))
        if not losses.max() <= limit or np.isinf(limit):  # one comparison where all is well, and a NaN fails it
            bad = ~np.isfinite(losses) | (losses > limit)
            keep = int(bad.argmax()) + 1
            self.diverged_at = sum(map(len, self.losses)) + keep
            losses, lrs = losses[:keep], lrs[:keep]
        self.losses.append(losses)
        self.lrs.append(lrs)

    def add_evaluation(self, done: int, values: list[float]) -> None:
        """Append an evaluation; one that is not finite means that the last update diverged."""
        if np.isfinite(values).all():
            self.eval_step.append(done)
            self.evaluations.append(values)
        else:
            self.diverged_at = max(done, 1)

    def outcome(self, key: str, target: float, *, higher_is_better: bool, **rest: Any) -> Outcome:
        """The finished outcome."""
        curves = np.asarray(self.evaluations, np.float32).reshape(-1, 3)
        metric = curves[1:, 1] if higher_is_better else -curves[1:, 1]
        met = bool((metric >= np.float32(target if higher_is_better else -target)).any())
        status = Status.DIVERGED if self.diverged_at else Status.REACHED if met else Status.MISSED
        before = np.maximum(np.asarray(self.eval_step, np.int64) - 1, 0)
        return Outcome(
            key=key,
            status=status,
            diverged_at=self.diverged_at,
            eval_step=np.asarray(self.eval_step, np.int32),
            val_loss=curves[:, 0],
            val_metric=curves[:, 1],
            train_loss=curves[:, 2],
            step_loss=np.concatenate([np.zeros(0, np.float32), *self.losses]),
            group_lr=self.lr_array()[before] if self.lrs else self.lr_array(),
            **rest,
        )

    def lr_array(self) -> Lrs:
        """[T, G] the lrs of all steps; [0, 0] if there was none."""
        return np.concatenate(self.lrs) if self.lrs else np.zeros((0, 0))

    def state_dict(self) -> dict[str, Any]:
        """Plain values and float64 tensors, so that a restored record is the same to the bit."""
        return {
            "eval_step": self.eval_step,
            "diverged_at": self.diverged_at,
            "evaluations": torch.tensor(self.evaluations, dtype=torch.float64),
            "losses": [torch.from_numpy(part) for part in self.losses],
            "lrs": [torch.from_numpy(part) for part in self.lrs],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` saved."""
        self.diverged_at = state["diverged_at"]
        self.eval_step, self.evaluations = list(state["eval_step"]), state["evaluations"].tolist()
        self.losses, self.lrs = ([part.numpy() for part in state[name]] for name in ("losses", "lrs"))
