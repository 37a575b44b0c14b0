"""The sensors of a CPU: RAPL's counters of energy and the clocks, as Linux shows them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from lrbench.device.sensors import Snapshot

POWERCAP = Path("/sys/class/powercap")
CPUS = Path("/sys/devices/system/cpu")


class Processor:
    """The sensors of this machine's processors. The energy is that of all their cores and caches, whoever uses them."""

    least_s = 0.1
    """RAPL's counters move each millisecond: within a tenth of a second, they err by a hundredth."""

    steady = False

    def __init__(self, powercap: Path = POWERCAP, cpus: Path = CPUS) -> None:
        self._cpus = cpus
        self._packages, self.reason = packages(powercap)
        self.source = "RAPL: the processor packages" if self._packages else None

    def energy(self) -> float | None:
        """Joules since this object was made."""
        if not self._packages:
            return None
        try:
            return sum(package.microjoules() for package in self._packages) / 1e6
        except (OSError, ValueError) as error:
            self.reason = _refusal(error)
            return None

    def snapshot(self) -> Snapshot:
        """The mean clock of the cores, MHz."""
        return Snapshot(clock_mhz=mean_clock(self._cpus))

    def sharing(self) -> None:
        """Not known for a CPU, where everything computes; see ``load``."""


@dataclass
class Package:
    """One processor package's counter, which starts again at 0 after ``range_uj`` microjoules (minutes to hours at full load).

    It must be read at least once in that time.
    """

    counter: Path
    range_uj: int
    last_uj: int
    total_uj: int = 0

    @classmethod
    def of(cls, folder: Path) -> Self:
        """The package that a folder of powercap describes. Raises: OSError, ValueError."""
        counter = folder / "energy_uj"
        return cls(counter, _number(folder / "max_energy_range_uj"), _number(counter))

    def microjoules(self) -> int:
        """Microjoules since this object was made. Raises: OSError, ValueError."""
        now_uj = _number(self.counter)
        self.total_uj += counted(self.last_uj, now_uj, self.range_uj)
        self.last_uj = now_uj
        return self.total_uj


def packages(powercap: Path) -> tuple[list[Package], str]:
    """The packages whose energy can be read, all or none, and the reason if none.

    Only they are summed: the domains inside a package (cores, memory) are part of it, and ``psys`` has it as a part.
    """
    try:
        zones = [zone for zone in sorted(powercap.glob("intel-rapl:*")) if zone.name.count(":") == 1]
        found = [
            Package.of(zone) for zone in zones if (zone / "name").read_text(encoding="ascii").startswith("package")
        ]
    except (OSError, ValueError) as error:
        return [], _refusal(error)
    return found, "" if found else "no RAPL here"


def counted(before_uj: int, after_uj: int, range_uj: int) -> int:
    """What a counter that starts again after ``range_uj`` counted between two readings.

    >>> counted(10, 30, 100), counted(90, 10, 100)
    (20, 20)
    """
    return after_uj - before_uj + (range_uj if after_uj < before_uj else 0)


def mean_clock(cpus: Path = CPUS) -> float | None:
    """The mean clock of the cores, MHz."""
    try:
        clocks_khz = [_number(path) for path in cpus.glob("cpu[0-9]*/cpufreq/scaling_cur_freq")]
    except (OSError, ValueError):
        return None
    return sum(clocks_khz) / len(clocks_khz) / 1e3 if clocks_khz else None


def governor(cpus: Path = CPUS) -> str | None:
    """What chooses the clocks, such as ``performance``; more than one where the cores differ."""
    try:
        names = {path.read_text(encoding="ascii").strip() for path in cpus.glob("cpu[0-9]*/cpufreq/scaling_governor")}
    except (OSError, ValueError):
        return None
    return ", ".join(sorted(names)) or None


def _number(path: Path) -> int:
    return int(path.read_text(encoding="ascii"))


def _refusal(error: OSError | ValueError) -> str:
    """Why RAPL cannot be read, without the path, which is the same everywhere."""
    why = error.strerror if isinstance(error, OSError) else "it holds no number"
    return f"RAPL is there but not readable by this user: {why}"
