"""The only place that knows one kind of device from another."""

from lrbench.device.compile import Compiled, Replayed
from lrbench.device.machine import Machine, cpu_cores, describe, provenance
from lrbench.device.precision import use_tf32
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
    synchronize,
)
from lrbench.device.threads import threads, use_threads

__all__ = [
    "Compiled",
    "Device",
    "Machine",
    "Replayed",
    "cpu_cores",
    "describe",
    "deterministic",
    "fast_modes",
    "free_memory",
    "is_lost",
    "is_out_of_memory",
    "memory_limit",
    "name_of",
    "provenance",
    "select",
    "synchronize",
    "threads",
    "use_tf32",
    "use_threads",
]
