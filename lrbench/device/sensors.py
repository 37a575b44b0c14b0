"""What a device's sensors are asked. Each answer may be unknown: then it is None, never 0, and for the energy there is a reason."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Snapshot:
    """A device at one moment. None, and no word in ``throttled``, where it cannot be told."""

    clock_mhz: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    throttled: tuple[str, ...] = ()
    """Why the clock is held below what was asked for, such as ``sw power cap``."""
    idle: bool = False
    """Whether the clock is low for want of work. It then says nothing about the clock at work."""


class Sensors(Protocol):
    """The sensors of one device."""

    source: str | None
    """What counts the energy, and of what; None when nothing does."""
    reason: str
    """Why the energy is not known; empty when it is."""
    least_s: float
    """Seconds below which a difference of two readings of the energy means little."""
    steady: bool
    """Whether the clock keeps its pace under a steady load, so that a change of it is worth a word."""

    def energy(self) -> float | None:
        """Joules since a moment that stays the same."""

    def snapshot(self) -> Snapshot:
        """The device now."""

    def sharing(self) -> int | None:
        """How many processes compute on the device beside this one and the one that started it."""


class Silent:
    """The sensors of a device that has none that can be read, and why."""

    source: str | None = None
    least_s = 0.0
    steady = False

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def energy(self) -> None:
        """Not known."""

    def snapshot(self) -> Snapshot:
        """Nothing is known."""
        return Snapshot()

    def sharing(self) -> None:
        """Not known."""
