"""The only place that knows one kind of device from another."""

from lrbench.device.compile import Compiled, Replayed
from lrbench.device.machine import Machine, cpu_cores, describe, provenance
from lrbench.device.select import (
    Device,
    deterministic,
    fast_modes,
    free_memory,
    is_out_of_memory,
    memory_limit,
    name_of,
    select,
    synchronize,
)

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
    "is_out_of_memory",
    "memory_limit",
    "name_of",
    "provenance",
    "select",
    "synchronize",
]
