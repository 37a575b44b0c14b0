"""The only place that knows one kind of device from another."""

from lrbench.device.compile import Compiled, Replayed, without_kernels
from lrbench.device.kernels import missing as kernels_missing
from lrbench.device.load import Load
from lrbench.device.machine import Machine, cpu_cores, describe, provenance
from lrbench.device.memory import extra_memory
from lrbench.device.peak import matmul_peak
from lrbench.device.precision import DTYPES, no_tf32, use_tf32
from lrbench.device.select import (
    Device,
    deterministic,
    fast_modes,
    free_memory,
    is_lost,
    is_out_of_memory,
    memory_limit,
    name_of,
    select,
    settle,
    synchronize,
    use,
)
from lrbench.device.sensors import Snapshot
from lrbench.device.telemetry import OTHERS_CORES, Telemetry, Watched
from lrbench.device.threads import threads, use_threads
from lrbench.device.timing import Marks

__all__ = [
    "DTYPES",
    "OTHERS_CORES",
    "Compiled",
    "Device",
    "Load",
    "Machine",
    "Marks",
    "Replayed",
    "Snapshot",
    "Telemetry",
    "Watched",
    "cpu_cores",
    "describe",
    "deterministic",
    "extra_memory",
    "fast_modes",
    "free_memory",
    "is_lost",
    "is_out_of_memory",
    "kernels_missing",
    "matmul_peak",
    "memory_limit",
    "name_of",
    "no_tf32",
    "provenance",
    "select",
    "settle",
    "synchronize",
    "threads",
    "use",
    "use_tf32",
    "use_threads",
    "without_kernels",
]
