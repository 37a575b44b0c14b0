"""What a block of work cost in energy, and what may have disturbed its timing."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from lrbench.device import nvml
from lrbench.device.load import STAT, Load, cores_of_others, load
from lrbench.device.processor import CPUS, POWERCAP, Processor
from lrbench.device.select import synchronize
from lrbench.device.sensors import Sensors, Silent, Snapshot

OTHERS_CORES = 0.2
"""Cores used by others that are noise: a desktop left alone uses less than half of this, and a step on one core may
lose this share."""
CLOCK_CHANGE = 0.05
"""The relative change of a GPU's clock that is noise: steps take about as much longer, which is what comparisons try to
tell apart."""


@dataclass
class Watched:
    """What was seen of a block. Filled when it ends."""

    seconds: float = 0.0
    joules: float | None = None
    joules_reason: str = "the block has not ended"
    """Why ``joules`` is None; empty if it is not."""
    others: float | None = None
    """The cores that other processes used."""
    noise: tuple[str, ...] = ()
    """A sentence for each thing that may have disturbed the block."""


class Telemetry:
    """The sensors of a device: NVML's on CUDA, Linux' on a CPU. On other devices, nothing is read.

    What cannot be read here is None. ``powercap``, ``cpus`` and ``stat`` are where Linux shows a CPU's energy, clocks
    and load.
    """

    def __init__(
        self, device: torch.device, *, powercap: Path = POWERCAP, cpus: Path = CPUS, stat: Path = STAT
    ) -> None:
        self.device = device
        self._stat = stat
        self._sensors = _sensors(device, powercap, cpus)

    @property
    def energy_source(self) -> str | None:
        """What counts the energy, and of what."""
        return self._sensors.source

    @property
    def energy_reason(self) -> str:
        """Why the energy is not known; empty when it is."""
        return self._sensors.reason

    @property
    def shortest(self) -> float:
        """Seconds that a block must last for its energy to be known; 0 where the energy is not known at all."""
        return self._sensors.least_s if self.energy_source else 0.0

    def energy(self) -> float | None:
        """Joules since a moment that stays the same."""
        return self._sensors.energy()

    def snapshot(self) -> Snapshot:
        """The device now."""
        return self._sensors.snapshot()

    def sharing(self) -> int | None:
        """How many processes compute on the GPU beside this one and the one that started it; None if unknown, and for a CPU."""
        return self._sensors.sharing()

    def load(self) -> Load | None:
        """The processor time used until now."""
        return load(self._stat)

    def busy_with_others(self, since: Load | None) -> float | None:
        """The processor cores that other processes used on average since an earlier ``load()``, at least 0.2 s ago."""
        return cores_of_others(since, self.load())

    @contextmanager
    def watch(self) -> Iterator[Watched]:
        """Watch a block, which starts and ends with the device idle. It costs a block nothing inside, and milliseconds at its edges.

        >>> with Telemetry(torch.device("cpu")).watch() as watched:
        ...     product = torch.ones(64, 64) @ torch.ones(64, 64)
        >>> watched.seconds > 0
        True
        """
        watched = Watched()
        before, load_before = self.snapshot(), self.load()
        synchronize(self.device)
        energy_before, start = self.energy(), time.perf_counter()
        yield watched
        synchronize(self.device)
        watched.seconds = time.perf_counter() - start
        energy_after = self.energy()
        shortest, refusal = self._sensors.least_s, self.energy_reason
        watched.joules, watched.joules_reason = joules_between(
            energy_before, energy_after, watched.seconds, shortest, refusal
        )
        watched.others = self.busy_with_others(load_before)
        watched.noise = noise(before, self.snapshot(), watched.others, self.sharing(), steady=self._sensors.steady)


def joules_between(
    before: float | None, after: float | None, seconds: float, least_s: float, refusal: str
) -> tuple[float | None, str]:
    """The joules between two readings of a counter that are ``seconds`` apart, or None and why; ``refusal`` is why it cannot be read.

    >>> joules_between(10.0, 12.5, 2.0, 1.0, ""), joules_between(None, None, 2.0, 1.0, "no RAPL here")
    ((2.5, ''), (None, 'no RAPL here'))
    """
    if before is None or after is None:
        return None, refusal
    if seconds < least_s:
        return None, f"the block took {seconds:.2g} s, too short for a counter that needs {least_s:g} s"
    if after <= before:
        return None, "the energy counter did not move"
    return after - before, ""


def noise(
    before: Snapshot, after: Snapshot, others: float | None, sharing: int | None, *, steady: bool = True
) -> tuple[str, ...]:
    """A sentence for each thing that may have disturbed what ran between two snapshots of a device.

    >>> before, after = Snapshot(clock_mhz=1980), Snapshot(clock_mhz=1410, throttled=("sw power cap",))
    >>> for sentence in noise(before, after, 0.6, 1):
    ...     print(sentence)
    other processes used 0.6 cores
    the clock changed from 1980 to 1410 MHz
    throttled: sw power cap
    another process computes on this GPU
    """
    said = []
    if others is not None and others >= OTHERS_CORES:
        said.append(f"other processes used {others:.1f} cores")
    if steady and clock_changed(before, after):
        said.append(f"the clock changed from {before.clock_mhz:.0f} to {after.clock_mhz:.0f} MHz")
    said += [f"throttled: {word}" for word in dict.fromkeys(before.throttled + after.throttled)]
    if sharing:
        said.append(
            "another process computes on this GPU" if sharing == 1 else f"{sharing} other processes compute on this GPU"
        )
    return tuple(said)


def clock_changed(before: Snapshot, after: Snapshot) -> bool:
    """Whether the clock at work changed by more than ``CLOCK_CHANGE``; not if it is unknown, or was seen at rest."""
    if before.clock_mhz is None or after.clock_mhz is None or before.idle or after.idle:
        return False
    return abs(after.clock_mhz - before.clock_mhz) > CLOCK_CHANGE * before.clock_mhz


def _sensors(device: torch.device, powercap: Path, cpus: Path) -> Sensors:
    if device.type == "cpu":
        return Processor(powercap, cpus)
    if device.type == "cuda":
        return nvml.gpu(device)
    return Silent(f"no sensor of {device.type} devices is read")
