"""How busy this process and all others keep the processor."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

STAT = Path("/proc/stat")
LEAST_S = 0.2
"""Linux counts processor time in ticks of 10 ms: over this, a tick too many in each of two cores counts as a tenth of
one."""


@dataclass(frozen=True)
class Load:
    """Seconds of processor time, all cores together, up to a moment."""

    at_s: float
    """The moment, on the clock of ``time.perf_counter``."""
    busy_s: float
    """Used by anyone since the machine started, what its host took away included."""
    own_s: float
    """Used by this process and by the children that it has waited for."""


def load(stat: Path = STAT) -> Load | None:
    """The processor time used until now, or None where the system does not show it."""
    try:
        busy_s = busy(stat.read_text(encoding="ascii")) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        return None
    times = os.times()
    return Load(time.perf_counter(), busy_s, time.process_time() + times.children_user + times.children_system)


def busy(stat: str) -> int:
    """The ticks that a ``/proc/stat`` counts as anything but idle or waiting for a disk.

    The columns are user, nice, system, idle, iowait, irq, softirq, steal, and guests, which are in user and nice
    already.

    Raises: ValueError when it is no such text.
    """
    label, *columns = stat.partition("\n")[0].split()
    if label != "cpu" or len(columns) < 4:
        raise ValueError("not a /proc/stat")
    ticks = [int(column) for column in columns]
    return sum(ticks[:3]) + sum(ticks[5:8])


def cores_of_others(before: Load | None, after: Load | None) -> float | None:
    """The cores that other processes kept busy between two moments, on average; None if unknown or over less than ``LEAST_S``."""
    if before is None or after is None or after.at_s - before.at_s < LEAST_S:
        return None
    others_s = (after.busy_s - before.busy_s) - (after.own_s - before.own_s)
    return max(others_s / (after.at_s - before.at_s), 0.0)
