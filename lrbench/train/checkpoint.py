"""Where an unfinished run leaves what it needs to go on, bit for bit."""

import io
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from lrbench.store import write_whole

ASK_SECONDS = 0.1
"""How often a training is looked at whether it is to stop: asking other processes takes as long as a step of a small model."""


class Interrupted(Exception):  # noqa: N818 - not an error: the run goes on from its checkpoint
    """Training was asked to stop, and has saved its checkpoint."""


@dataclass
class Checkpoint:
    """One run's checkpoint file, written at most every ``every_seconds`` and only at the edge of an evaluation interval.

    ``stop`` says whether training is asked to stop; it then saves after the step that it is at, whatever the time.
    """

    path: Path
    every_seconds: float = 60.0
    stop: Callable[[], bool] = field(default=lambda: False)
    _last: float = field(default_factory=time.monotonic)
    _asked: float = field(default_factory=time.monotonic)

    def is_asked(self) -> bool:
        """Whether training is asked to stop, as known within ``ASK_SECONDS``."""
        if time.monotonic() - self._asked < ASK_SECONDS:
            return False
        self._asked = time.monotonic()
        return self.stop()

    def visit(self, state: Callable[[], dict[str, Any]]) -> None:
        """Save if it is time to, or if asked to stop.

        Raises: Interrupted when asked to stop.
        """
        stop = self.stop()
        if stop or time.monotonic() - self._last >= self.every_seconds:
            self.save(state())
        if stop:
            raise Interrupted

    def save(self, state: dict[str, Any]) -> None:
        """Write the state whole."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_whole(self.path, buffer.getvalue())
        self._last = time.monotonic()

    def load(self, key: str) -> dict[str, Any] | None:
        """The state that a run saved, or None if there is none that can be read: the run then starts again."""
        if not self.path.is_file():
            return None
        try:
            state: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
            return state if state["key"] == key else None
        except Exception:  # noqa: BLE001 - a damaged file can fail in any way, and means no more than starting again
            return None

    def clear(self) -> None:
        """Remove the file: the run is finished."""
        self.path.unlink(missing_ok=True)
