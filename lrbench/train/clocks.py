"""Training, evaluation and recording are timed apart."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from lrbench.device import synchronize


@dataclass
class Clocks:
    """Seconds spent on each part of a run. The device is waited for at the edges of a part, never inside it."""

    device: torch.device
    seconds: dict[str, float] = field(default_factory=lambda: {"train": 0.0, "eval": 0.0, "record": 0.0})

    @contextmanager
    def time(self, part: str) -> Iterator[None]:
        """Add the time spent inside the block to ``part``."""
        synchronize(self.device)
        start = time.perf_counter()
        yield
        synchronize(self.device)
        self.seconds[part] += time.perf_counter() - start
