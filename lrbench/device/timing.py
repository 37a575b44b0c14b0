"""Times of the parts of a step, without waiting for the device inside it."""

import time
from itertools import pairwise

import torch

from lrbench.device.select import synchronize


class Marks:
    """Moments within a step. On CUDA they are events in the device's current stream, so marking waits for nothing.

    On a CPU a mark costs less than a microsecond. Other devices are waited for at each mark; this was never tried on
    one.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._events: list[torch.cuda.Event] = []
        self._moments_ns: list[int] = []

    def mark(self) -> None:
        """Mark this moment."""
        if self.device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)
            event.record(torch.cuda.current_stream(self.device))
            self._events.append(event)
        else:
            synchronize(self.device)
            self._moments_ns.append(time.perf_counter_ns())

    def seconds(self) -> list[float]:
        """The time between each mark and the next, s, one fewer than there are marks. Waits for the last of them."""
        if self._events:
            self._events[-1].synchronize()
        ends = pairwise(self._events)
        return [a.elapsed_time(b) / 1e3 for a, b in ends] + [(b - a) / 1e9 for a, b in pairwise(self._moments_ns)]

    def clear(self) -> None:
        """Forget all marks."""
        self._events.clear()
        self._moments_ns.clear()
