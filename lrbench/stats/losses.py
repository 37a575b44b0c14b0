"""What is kept of the training losses of a run: measures that need every step, a digest, and a thinned curve.

A study of ten thousand runs has some million training losses. Reports read a few measures of them; a later training of
the same run is compared with a curve. The measures are computed once, from every step. The digest tells whether two
trainings are *equal to the bit*, and the thinned curve whether they are near, or from which steps on they are not.
"""

import hashlib
from typing import Any, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lrbench.stats.stability import loss_spikes, oscillation

PER_OCTAVE = 2
"""The kept steps per doubling of the step: rounding differences grow with time, so early steps are kept more
densely."""
DIGITS = 16
"""Hexadecimal digits of a digest, as many as a run key has."""
LATE = 10
"""The late loss is the mean over the last tenth of the steps."""

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]


class Losses(TypedDict):
    """The training losses of T steps.

    Shapes: ``loss_step`` and ``loss_at_step`` [K], the kept steps (1 = the first update) and their losses, float32.
    ``loss_digest`` is of all T losses. ``highest_loss`` is the largest, infinity among them; ``late_loss`` the mean
    over the last tenth; both are NaN where no loss is a number. ``spikes`` and ``oscillation`` are as in
    ``stats.stability``.
    """

    steps: int
    loss_step: Ints
    loss_at_step: Floats
    loss_digest: str
    highest_loss: float
    late_loss: float
    spikes: int
    oscillation: float


def summary(step_loss_T: ArrayLike, lowest: float = 0.0) -> Losses:
    """Everything that is kept of the losses of T steps; ``lowest`` is what no loss can be below, minus infinity where it is unknown."""
    loss_T = np.asarray(step_loss_T, np.float32)
    step_K = kept_steps(len(loss_T))
    numbers = loss_T[~np.isnan(loss_T)]
    return Losses(
        steps=len(loss_T),
        loss_step=step_K,
        loss_at_step=loss_T[step_K - 1],
        loss_digest=digest(loss_T),
        highest_loss=float(numbers.max()) if len(numbers) else float("nan"),
        late_loss=late(loss_T),
        spikes=loss_spikes(loss_T, lowest),
        oscillation=oscillation(loss_T),
    )


def kept_steps(steps: int) -> Ints:
    """The steps whose losses are kept: 1, every half octave, and the last two.

    >>> kept_steps(40).tolist()
    [1, 2, 3, 4, 6, 8, 11, 16, 23, 32, 39, 40]
    """
    octaves = np.arange(PER_OCTAVE * max(steps, 1).bit_length()) / PER_OCTAVE
    kept = np.union1d(np.round(2.0**octaves), [steps - 1, steps]).astype(np.int32)
    return kept[(kept >= 1) & (kept <= steps)]


def digest(step_loss_T: ArrayLike) -> str:
    """SHA-256 of the losses as little-endian float32, every NaN the same one; its first sixteen hexadecimal digits."""
    loss_T = np.array(step_loss_T, "<f4")
    loss_T[np.isnan(loss_T)] = np.nan
    return hashlib.sha256(loss_T.tobytes()).hexdigest()[:DIGITS]


def late(step_loss_T: ArrayLike) -> float:
    """The mean loss over the last tenth of the steps, one step at least; NaN without any."""
    loss_T: NDArray[Any] = np.asarray(step_loss_T, np.float64)
    with np.errstate(invalid="ignore"):  # infinity less infinity is no number, which is what the mean then is
        return float(loss_T[-max(1, len(loss_T) // LATE) :].mean()) if len(loss_T) else float("nan")
