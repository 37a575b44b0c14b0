"""Training, evaluation and recording are timed apart."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray

from lrbench.device import synchronize
from lrbench.train.record import CLOCKS


@dataclass
class Clocks:
    """Seconds spent on each part, added to ``seconds`` [..., 3]. The device is waited for at the edges of a part, never inside it."""

    device: torch.device
    seconds: NDArray[Any]
    share: Any = 1.0
    """What each element of ``seconds`` [...] gets of the time: in a population, every member that is still going an
    equal part."""

    @contextmanager
    def time(self, part: str) -> Iterator[None]:
        """Add the time spent inside the block to ``part``."""
        synchronize(self.device)
        start = time.perf_counter()
        yield
        synchronize(self.device)
        self.seconds[..., CLOCKS.index(part)] += (time.perf_counter() - start) * self.share
